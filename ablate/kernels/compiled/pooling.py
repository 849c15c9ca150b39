"""Pooling of K lanes' maps, channels innermost: `[K, B, H, W, C]` -> `[K, B, H', W', C]`, both contiguous.

    the largest of each window    torch's MaxPool2d(window): windows lie side by side, H' = ⌊H / h⌋, W' = ⌊W / w⌋, and rows and
                                  columns left over are in none
    the mean of a map             torch's AdaptiveAvgPool2d(1): H' = W' = 1

A window's gradient goes to one place, the one that torch takes: row by row the first that holds the largest number, or the last
that holds NaN. Which one it was is found again from x, neither places nor y are kept. Every channel is computed by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import Code, Count, Value, width_of
from ablate.kernels.compiled.jit import Function

SUMS = 4
"""Parts of a mean that are summed side by side: place i goes to part i mod 4."""


@disk_cached
def largest(window: tuple[int, int], sides: tuple[int, int], channels: int, *, backward: bool) -> Function:
    """(x, y, K, B); backward (gradient of y, x, where the gradient of x goes, K, B), which writes all of it.

    `window` h, w is no larger than `sides` H, W. A window's h · w places are written out one by one: small windows are meant.
    """
    code = Code(["gradient", "x", "to_x"] if backward else ["x", "y"], ["lanes", "examples"])
    of, (high, wide), (height, length) = code.argument, window, sides
    rows, columns, width = height // high, length // wide, width_of(channels)
    with code.loop(code.times(of["lanes"], of["examples"])) as example:
        of_x, of_y = (
            code.times(example, numbers * channels) for numbers in (height * length, rows * columns)
        )
        with code.loop(rows) as row:
            top = code.sum(of_x, code.times(row, high * length * channels))
            with code.loop(columns) as column, code.loop(channels, step=width) as channel:
                corner = code.sum(top, code.times(column, wide * channels), channel)
                places = [
                    code.sum(corner, (i * length + j) * channels) for i in range(high) for j in range(wide)
                ]
                own = code.times(code.sum(code.times(row, columns), column), channels)
                at = code.sum(of_y, own, channel)
                value, raises = _climbed(code, [code.load(of["x"], place, width) for place in places])
                if backward:
                    _hand(code, code.load(of["gradient"], at, width), raises, places)
                else:
                    code.store(value, of["y"], at)
            if backward and length % wide:
                rest, line = columns * wide * channels, length * channels
                for i in range(high):
                    code.fill(0, of["to_x"], code.sum(top, i * line + rest), line - rest)
        if backward and height % high:
            rest, numbers = rows * high * length * channels, height * length * channels
            code.fill(0, of["to_x"], code.sum(of_x, rest), numbers - rest)
    return code.compiled()


def _climbed(code: Code, values: Sequence[Value]) -> tuple[Value, list[Value]]:
    """The largest of `values`, and for each but the first whether it took the place of those before it."""
    best, *others = values
    raises = []
    for value in others:
        is_more = code.write.fcmp_ordered(">", value, best)
        raises.append(code.write.or_(is_more, code.write.fcmp_unordered("!=", value, value)))
        best = code.write.select(raises[-1], value, best)
    return best, raises


def _hand(code: Code, gradient: Value, raises: Sequence[Value], places: Sequence[Value]) -> None:
    """A window's gradient to the last of its places that raised, and 0 to all others."""
    nothing, to_x = code.constant(0, gradient.type.count), code.argument["to_x"]
    for is_it, place in zip(reversed(raises), reversed(places[1:]), strict=True):
        code.store(code.write.select(is_it, gradient, nothing), to_x, place)
        gradient = code.write.select(is_it, nothing, gradient)
    code.store(gradient, to_x, places[0])


@disk_cached
def mean(places: int, channels: int, *, backward: bool) -> Function:
    """(x, y, K, B), of maps with H · W = `places`; backward (gradient of y, where the gradient of x goes, K, B)."""
    code = Code(["gradient", "to_x"] if backward else ["x", "y"], ["lanes", "examples"])
    of, width = code.argument, width_of(channels)
    number = code.constant(places, width)
    with code.loop(code.times(of["lanes"], of["examples"])) as example, code.loop(channels, step=width) as c:
        at = code.sum(code.times(example, channels), c)
        first = code.sum(code.times(example, places * channels), c)
        if backward:
            share = code.write.fdiv(code.load(of["gradient"], at, width), number)
            with code.loop(places) as place:
                code.store(share, of["to_x"], code.sum(first, code.times(place, channels)))
        else:
            total = _summed(code, first, places, channels, width)
            code.store(code.write.fdiv(total, number), of["y"], at)
    return code.compiled()


def _summed(code: Code, first: Value, places: int, channels: int, width: int) -> Value:
    """The sum of x over a map's places: its parts, then their sum from the first on."""
    parts = min(SUMS, places)

    def value(place: Count) -> Value:
        return code.load(code.argument["x"], code.sum(first, code.times(place, channels)), width)

    def step(i: Value, sums: Sequence[Value]) -> list[Value]:
        return [
            code.add(part, value(code.sum(code.times(i, parts), place))) for place, part in enumerate(sums)
        ]

    nothing = [code.constant(0, width)] * parts
    sums = code.gathered(nothing, places // parts, step)
    for i in range(places % parts):
        sums[i] = code.add(sums[i], value(places - places % parts + i))
    total = sums[0]
    for part in sums[1:]:
        total = code.add(total, part)
    return total
