"""Normalisation of K lanes, each in its own way, in one pass over every lane: what is standardised together stays in a core's cache.

    y = γ_c (x − μ) / √(σ² + ε) + β_c

Activations are `[K, B, P, C]`, contiguous: P positions, C channels. What a lane does stands in its row of a table of whole numbers
(`COLUMNS`). Sums run over `CHUNK` rows, then over the sums of chunks, so that their rounding hardly grows with their length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from ablate.compiled.code import I64, Code, Value, width_of
from ablate.compiled.machine import Function

COLUMNS = ("mode", "members", "first", "second", "third")
"""`mode`: one of those below; `members`: neighbouring channels that are standardised together. Then addresses of `[C]`: forward γ and β; backward
γ, and where the gradients of γ and β go, to which they are added."""
LEFT, EXAMPLE, BATCH = range(3)
"""The lane is left as it is; each of its examples is standardised by itself; all of them are together."""
CHUNK = 16
KEPT = 3
"""For every lane and example, of `BATCH` in the first one's place: μ, 1 / √(σ² + ε) and σ² by channel."""


class Pass:
    """Writes a pass over all lanes: the parts that forward and backward pass share."""

    def __init__(self, channels: int, pointers: Sequence[str]) -> None:
        self.channels, self.width = channels, width_of(channels)
        self.code = Code([*pointers, "room", "table"], ["lanes", "examples", "positions"])
        self.of = self.code.argument

    def column(self, lane: Value, name: str) -> Value:
        write, code = self.code.write, self.code
        place = code.sum(code.times(lane, len(COLUMNS)), COLUMNS.index(name))
        return write.load(write.gep(self.of["table"], [place], source_etype=I64), typ=I64, align=8)

    def address(self, lane: Value, name: str) -> Value:
        return self.code.address(self.column(lane, name))

    def choice(self, lane: Value) -> AbstractContextManager[tuple[AbstractContextManager[None], AbstractContextManager[None]]]:  # fmt: skip
        """Two ways on: of a lane that is left as it is, and of the others."""
        left = self.code.write.icmp_signed("==", self.column(lane, "mode"), self.code.sum(LEFT))
        ways: AbstractContextManager[Any] = self.code.write.if_else(left)
        return ways

    def copy(self, lane: Value, source: str, target: str) -> None:
        code, numbers = self.code, self.numbers
        with code.loop(numbers, step=self.width) as i:
            at = code.sum(code.times(lane, numbers), i)
            code.store(code.load(self.of[source], at, self.width), self.of[target], at)

    @property
    def numbers(self) -> Value:
        """Of one lane."""
        code, of = self.code, self.of
        return code.times(code.times(of["examples"], of["positions"]), self.channels)

    def each(self, lane: Value, do: Callable[[Value, Value, Value], None]) -> None:
        """`do(at, rows, kept)` for what is standardised together: the offsets of its numbers and of what is kept of it, its rows."""
        code, of = self.code, self.of
        together = code.write.icmp_signed("==", self.column(lane, "mode"), code.sum(BATCH))
        sets = code.write.select(together, code.sum(1), of["examples"])
        rows = code.write.select(together, code.times(of["examples"], of["positions"]), of["positions"])
        with code.loop(sets) as i:
            at = code.sum(code.times(lane, self.numbers), code.times(i, code.times(rows, self.channels)))
            example = code.sum(code.times(lane, of["examples"]), i)
            do(at, rows, code.times(example, KEPT * self.channels))

    def summed(
        self, rows: Value, count: int, terms: Callable[[Value, Sequence[Value]], list[Value]]
    ) -> list[Value]:
        """`count` sums over rows; `terms(row, sums)` adds a row to them."""
        code, zero = self.code, self.code.constant(0, self.width)
        chunks = code.write.sdiv(code.sum(rows, CHUNK - 1), code.sum(CHUNK))

        def chunk(i: Value, totals: Sequence[Value]) -> list[Value]:
            first = code.times(i, CHUNK)
            left = code.least(code.write.sub(rows, first), CHUNK)
            parts = code.gathered([zero] * count, left, lambda j, sums: terms(code.sum(first, j), sums))
            return [code.add(total, part) for total, part in zip(totals, parts, strict=True)]

        return code.gathered([zero] * count, chunks, chunk)

    def pooled(self, room: int, members: Value) -> None:
        """Each of the room's C numbers becomes the sum of its group's."""
        code, pointer = self.code, self.of["room"]
        with code.write.if_then(code.write.icmp_signed(">", members, code.sum(1))), code.loop(self.channels, step=members) as first:  # fmt: skip

            def add(i: Value, sums: Sequence[Value]) -> list[Value]:
                return [code.add(sums[0], code.load(pointer, code.sum(room, first, i), 1))]

            (total,) = code.gathered([code.constant(0, 1)], members, add)
            with code.loop(members) as i:
                code.store(total, pointer, code.sum(room, first, i))

    def count(self, rows: Value, members: Value) -> Value:
        """In every place of a vector: how many numbers are standardised together."""
        return self.code.number(self.code.times(rows, members), self.width)


@cache
def forward(channels: int) -> tuple[Function, int]:
    """(x, ε `[K]`, y, kept `[K, B, 3, C]`, room, table, K, B, P). And how many numbers the room holds."""
    layer = Pass(channels, ("x", "eps", "y", "kept"))
    code, of, width, room = layer.code, layer.of, layer.width, layer.of["room"]
    write = code.write

    def standardise(lane: Value, at: Value, rows: Value, kept: Value) -> None:
        members = layer.column(lane, "members")
        weight, bias = layer.address(lane, "first"), layer.address(lane, "second")
        places = [code.sum(kept, i * channels) for i in range(KEPT)]

        def x(row: Value, c: Value) -> Value:
            return code.load(of["x"], code.sum(at, code.times(row, channels), c), width)

        def each(do: Callable[[Value], Value], to: Value, offset: Value) -> None:
            with code.loop(channels, step=width) as c:
                code.store(do(c), to, code.sum(offset, c))

        def mean_of(do: Callable[[Value, Value], Value], offset: Value) -> None:
            """The means of do(row, c), into what is kept."""
            each(
                lambda c: layer.summed(rows, 1, lambda row, sums: [code.add(sums[0], do(row, c))])[0],
                room, code.sum(0),
            )  # fmt: skip
            layer.pooled(0, members)
            each(
                lambda c: write.fdiv(code.load(room, c, width), layer.count(rows, members)),
                of["kept"], offset,
            )  # fmt: skip

        def squared(row: Value, c: Value) -> Value:
            apart = write.fsub(x(row, c), code.load(of["kept"], code.sum(places[0], c), width))
            return write.fmul(apart, apart)

        def inverse(c: Value) -> Value:
            variance = code.load(of["kept"], code.sum(places[2], c), width)
            root = code.root(code.add(variance, code.spread(of["eps"], lane, width)))
            return write.fdiv(code.constant(1, width), root)

        mean_of(x, places[0])
        mean_of(squared, places[2])
        each(inverse, of["kept"], places[1])
        with code.loop(channels, step=width) as c:
            mean, slope = (code.load(of["kept"], code.sum(place, c), width) for place in places[:2])
            scale, shift = code.load(weight, c, width), code.load(bias, c, width)
            with code.loop(rows) as row:
                normal = write.fmul(write.fsub(x(row, c), mean), slope)
                place = code.sum(at, code.times(row, channels), c)
                code.store(code.fma(normal, scale, shift), of["y"], place)

    with code.loop(of["lanes"]) as lane, layer.choice(lane) as (left, standardised):
        with left:
            layer.copy(lane, "x", "y")
        with standardised:
            layer.each(lane, lambda *where: standardise(lane, *where))
    return code.compiled(), channels


@cache
def backward(channels: int) -> tuple[Function, int]:
    """(gradient of y, x, kept, where the gradient of x goes, room, table, K, B, P). And how many numbers the room holds."""
    layer = Pass(channels, ("gradient", "x", "kept", "to_x"))
    code, of, width, room = layer.code, layer.of, layer.width, layer.of["room"]
    write = code.write

    def back(lane: Value, at: Value, rows: Value, kept: Value) -> None:
        members = layer.column(lane, "members")
        weight = layer.address(lane, "first")
        to_weight, to_bias = layer.address(lane, "second"), layer.address(lane, "third")

        def gradient(row: Value, c: Value) -> Value:
            return code.load(of["gradient"], code.sum(at, code.times(row, channels), c), width)

        def normal(row: Value, c: Value, mean: Value, slope: Value) -> Value:
            x = code.load(of["x"], code.sum(at, code.times(row, channels), c), width)
            return write.fmul(write.fsub(x, mean), slope)

        def seen(c: Value) -> list[Value]:
            return [code.load(of["kept"], code.sum(kept, i * channels, c), width) for i in range(2)]

        with code.loop(channels, step=width) as c:
            own = seen(c)

            def both(row: Value, sums: Sequence[Value]) -> list[Value]:
                g = gradient(row, c)
                return [code.add(sums[0], g), code.fma(g, normal(row, c, *own), sums[1])]

            sums = layer.summed(rows, 2, both)
            scale = code.load(weight, c, width)
            for into, offset, total in zip((to_bias, to_weight), (0, channels), sums, strict=True):
                code.store(code.add(code.load(into, c, width), total), into, c)
                code.store(write.fmul(total, scale), room, code.sum(offset, c))
        layer.pooled(0, members)
        layer.pooled(channels, members)
        with code.loop(channels, step=width) as c:
            own, scale, count = seen(c), code.load(weight, c, width), layer.count(rows, members)
            shift, slope = (
                write.fdiv(code.load(room, code.sum(offset, c), width), count) for offset in (0, channels)
            )
            with code.loop(rows) as row:
                apart = write.fsub(write.fmul(gradient(row, c), scale), shift)
                apart = write.fsub(apart, write.fmul(normal(row, c, *own), slope))
                place = code.sum(at, code.times(row, channels), c)
                code.store(write.fmul(apart, own[1]), of["to_x"], place)

    with code.loop(of["lanes"]) as lane, layer.choice(lane) as (left, standardised):
        with left:
            layer.copy(lane, "gradient", "to_x")
        with standardised:
            layer.each(lane, lambda *where: back(lane, *where))
    return code.compiled(), 2 * channels
