"""Pooling of K lanes' channels-last maps: `[K, B, H, W, C]` -> `[K, B, H', W', C]`, both contiguous.

    max_pool       torch's MaxPool2d(window) with disjoint windows: H' = ⌊H / h⌋, W' = ⌊W / w⌋; remaining rows and columns are ignored
    global_mean    torch's AdaptiveAvgPool2d(1): H' = W' = 1

A window's gradient goes to the position that torch chooses: in row-major order the first maximum, or the last NaN. The backward
pass finds it again from x; no indices are stored.
"""

from __future__ import annotations

from collections.abc import Sequence

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import Count, FunctionBuilder, Value, vector_width
from ablate.kernels.compiled.jit import Function

SUMS = 4
"""Partial sums of a mean: position i goes to sum i mod 4."""


@disk_cached
def max_pool(window: tuple[int, int], size: tuple[int, int], channels: int, *, backward: bool) -> Function:
    """(x, y, K, B); backward (grad_y, x, grad_x, K, B), which writes all of grad_x.

    `window` (h, w) is no larger than `size` (H, W). The code is unrolled over a window: for small ones.
    """
    code = FunctionBuilder(["grad_y", "x", "grad_x"] if backward else ["x", "y"], ["lanes", "examples"])
    args, (high, wide), (height, length) = code.args, window, size
    rows, columns, width = height // high, length // wide, vector_width(channels)
    with code.loop(code.imul(args["lanes"], args["examples"])) as example:
        of_x, of_y = (code.imul(example, numbers * channels) for numbers in (height * length, rows * columns))
        with code.loop(rows) as row:
            top = code.isum(of_x, code.imul(row, high * length * channels))
            with code.loop(columns) as column, code.loop(channels, step=width) as channel:
                corner = code.isum(top, code.imul(column, wide * channels), channel)
                positions = [
                    code.isum(corner, (i * length + j) * channels) for i in range(high) for j in range(wide)
                ]
                pixel = code.imul(code.isum(code.imul(row, columns), column), channels)
                at = code.isum(of_y, pixel, channel)
                value, replaced = _running_max(
                    code, [code.load(args["x"], position, width) for position in positions]
                )
                if backward:
                    _store_grad(code, code.load(args["grad_y"], at, width), replaced, positions)
                else:
                    code.store(value, args["y"], at)
            if backward and length % wide:
                rest, line = columns * wide * channels, length * channels
                for i in range(high):
                    code.fill(0, args["grad_x"], code.isum(top, i * line + rest), line - rest)
        if backward and height % high:
            rest, numbers = rows * high * length * channels, height * length * channels
            code.fill(0, args["grad_x"], code.isum(of_x, rest), numbers - rest)
    return code.compile()


def _running_max(code: FunctionBuilder, values: Sequence[Value]) -> tuple[Value, list[Value]]:
    """The maximum of `values`, and for each but the first whether it replaced the maximum of those before it."""
    best, *others = values
    replaced = []
    for value in others:
        is_more = code.builder.fcmp_ordered(">", value, best)
        replaced.append(code.builder.or_(is_more, code.builder.fcmp_unordered("!=", value, value)))
        best = code.builder.select(replaced[-1], value, best)
    return best, replaced


def _store_grad(
    code: FunctionBuilder, gradient: Value, replaced: Sequence[Value], positions: Sequence[Value]
) -> None:
    """Store a window's gradient at the last of its positions that replaced the maximum, and 0 at all others."""
    nothing, to_x = code.constant(0, gradient.type.count), code.args["grad_x"]
    for is_it, position in zip(reversed(replaced), reversed(positions[1:]), strict=True):
        code.store(code.builder.select(is_it, gradient, nothing), to_x, position)
        gradient = code.builder.select(is_it, nothing, gradient)
    code.store(gradient, to_x, positions[0])


@disk_cached
def global_mean(positions: int, channels: int, *, backward: bool) -> Function:
    """(x, y, K, B), of maps with H · W = `positions`; backward (grad_y, grad_x, K, B)."""
    code = FunctionBuilder(["grad_y", "grad_x"] if backward else ["x", "y"], ["lanes", "examples"])
    args, width = code.args, vector_width(channels)
    number = code.constant(positions, width)
    with (
        code.loop(code.imul(args["lanes"], args["examples"])) as example,
        code.loop(channels, step=width) as c,
    ):
        at = code.isum(code.imul(example, channels), c)
        first = code.isum(code.imul(example, positions * channels), c)
        if backward:
            share = code.builder.fdiv(code.load(args["grad_y"], at, width), number)
            with code.loop(positions) as position:
                code.store(share, args["grad_x"], code.isum(first, code.imul(position, channels)))
        else:
            total = _summed(code, first, positions, channels, width)
            code.store(code.builder.fdiv(total, number), args["y"], at)
    return code.compile()


def _summed(code: FunctionBuilder, first: Value, positions: int, channels: int, width: int) -> Value:
    """The sum of x over a map's positions: partial sums, then their sum in order."""
    parts = min(SUMS, positions)

    def value(position: Count) -> Value:
        return code.load(code.args["x"], code.isum(first, code.imul(position, channels)), width)

    def step(i: Value, sums: Sequence[Value]) -> list[Value]:
        return [
            code.fadd(part, value(code.isum(code.imul(i, parts), position)))
            for position, part in enumerate(sums)
        ]

    nothing = [code.constant(0, width)] * parts
    sums = code.reduce(nothing, positions // parts, step)
    for i in range(positions % parts):
        sums[i] = code.fadd(sums[i], value(positions - positions % parts + i))
    total = sums[0]
    for part in sums[1:]:
        total = code.fadd(total, part)
    return total
