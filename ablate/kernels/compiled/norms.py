"""Normalisation of K lanes, each in its own way: what is standardised together stays in a core's cache.

    y = γ_c (x − μ) / √(σ² + ε) + β_c

Activations are `[K, B, P, C]`, contiguous: P positions, C channels. What a lane does stands in its row of `lanes`, int64 `[K, 4]` (`LANE`), and of
`numbers`, float32 `[K, 2]`: ε, and the share of the batch in what follows of the running statistics. Its `part` is a row of `parts`, int64 `[…, 8]`:
addresses of tensors `[K', C]` and the bytes from one of their rows to the next (`FORWARD`, `BACKWARD`); `row` is the lane's row there.
Sums run over `CHUNK` rows, then over the sums of chunks, so that their rounding hardly grows with their length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import I64, Code, Value, width_of
from ablate.kernels.compiled.jit import Function

LANE = ("mode", "members", "part", "row")
"""`mode`: one of those below; `members`: neighbouring channels that are standardised together."""
EXAMPLE, BATCH, STORED = range(3)
"""Each of a lane's examples is standardised by itself; all of them are together, and running statistics follow; by those."""
FORWARD = ("weight", "bias", "running_mean", "running_var")
BACKWARD = ("weight", "to_weight", "to_bias", "none")
CHUNK = 16
KEPT = 2
"""For every lane and example, of a lane standardised as one in the first one's place: μ and 1 / √(σ² + ε) by channel."""


class Pass:
    """Writes a pass over all lanes: the parts that forward and backward pass share."""

    def __init__(self, channels: int, pointers: Sequence[str], parts: Sequence[str]) -> None:
        self.channels, self.width, self.parts = channels, width_of(channels), parts
        self.code = Code([*pointers, "numbers", "room", "lanes", "parts"], ["count", "examples", "positions"])
        self.of = self.code.argument

    def column(self, lane: Value, name: str) -> Value:
        return self._whole("lanes", self.code.times(lane, len(LANE)), LANE.index(name))

    def address(self, lane: Value, name: str) -> Value:
        """Of the lane's row of a tensor of its part."""
        code, place = self.code, 2 * self.parts.index(name)
        part = code.times(self.column(lane, "part"), 2 * len(self.parts))
        apart = code.times(self.column(lane, "row"), self._whole("parts", part, place + 1))
        return code.address(code.sum(self._whole("parts", part, place), apart))

    def _whole(self, table: str, row: Value, column: int) -> Value:
        write = self.code.write
        at = write.gep(self.of[table], [self.code.sum(row, column)], source_etype=I64)
        return write.load(at, typ=I64, align=8)

    def number(self, lane: Value, column: int) -> Value:
        return self.code.spread(
            self.of["numbers"], self.code.sum(self.code.times(lane, 2), column), self.width
        )

    def is_mode(self, lane: Value, mode: int) -> Value:
        return self.code.write.icmp_signed("==", self.column(lane, "mode"), self.code.sum(mode))

    def over(self, do: Callable[..., None]) -> None:
        """`do(lane, …)` for all lanes, the rest as `each` has it."""
        with self.code.loop(self.of["count"]) as lane:
            self.each(lane, lambda *where: do(lane, *where))

    @property
    def numbers(self) -> Value:
        """Of one lane."""
        code, of = self.code, self.of
        return code.times(code.times(of["examples"], of["positions"]), self.channels)

    def each(self, lane: Value, do: Callable[[Value, Value, Value, Value], None]) -> None:
        """`do(at, rows, share, kept)` for what is standardised together: the offset of its numbers, its rows, 1 / (how many numbers a
        channel's group has), the offset of what is kept of it."""
        code, of = self.code, self.of
        together = code.write.icmp_signed(">=", self.column(lane, "mode"), code.sum(BATCH))
        sets = code.write.select(together, code.sum(1), of["examples"])
        rows = code.write.select(together, code.times(of["examples"], of["positions"]), of["positions"])
        count = code.number(code.times(rows, self.column(lane, "members")), self.width)
        share = code.write.fdiv(code.constant(1, self.width), count)
        with code.loop(sets) as i:
            at = code.sum(code.times(lane, self.numbers), code.times(i, code.times(rows, self.channels)))
            example = code.sum(code.times(lane, of["examples"]), i)
            do(at, rows, share, code.times(example, KEPT * self.channels))

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

    def pooled(self, workspace: int, members: Value) -> None:
        """Each of the room's C numbers becomes the sum of its group's."""
        code, pointer = self.code, self.of["room"]
        write, width = code.write, self.width
        whole = code.most(members, width)  # groups, or vectors where these are wider
        fits = write.icmp_signed("==", write.srem(whole, members), code.sum(0))
        doubled = write.icmp_signed("==", write.and_(members, write.sub(members, code.sum(1))), code.sum(0))
        with write.if_then(write.icmp_signed(">", members, code.sum(1))), write.if_else(write.and_(fits, doubled)) as (by_vectors, one_by_one):  # fmt: skip
            with by_vectors, code.loop(self.channels, step=whole) as first:
                vectors = write.sdiv(whole, code.sum(width))

                def add(i: Value, sums: Sequence[Value]) -> list[Value]:
                    place = code.sum(workspace, first, code.times(i, width))
                    return [code.add(sums[0], code.load(pointer, place, width))]

                (total,) = code.gathered([code.constant(0, width)], vectors, add)
                for apart in (1, 2, 4, 8):
                    if apart < width:
                        wider = write.icmp_signed(">", members, code.sum(apart))
                        total = write.select(wider, code.add(total, code.swapped(total, apart)), total)
                with code.loop(whole, step=width) as i:
                    code.store(total, pointer, code.sum(workspace, first, i))
            with one_by_one, code.loop(self.channels, step=members) as first:

                def add_one(i: Value, sums: Sequence[Value]) -> list[Value]:
                    return [code.add(sums[0], code.load(pointer, code.sum(workspace, first, i), 1))]

                (total,) = code.gathered([code.constant(0, 1)], members, add_one)
                with code.loop(members) as i:
                    code.store(total, pointer, code.sum(workspace, first, i))


@disk_cached
def forward(channels: int) -> tuple[Function, int]:
    """(x, y, kept `[K, B, 2, C]`, numbers, room, lanes, parts, K, B, P). And how many numbers the room holds."""
    layer = Pass(channels, ("x", "y", "kept"), FORWARD)
    code, of, width, workspace = layer.code, layer.of, layer.width, layer.of["room"]
    write, spread = code.write, channels  # where the room holds the variance

    def standardise(lane: Value, at: Value, rows: Value, share: Value, kept: Value) -> None:
        members = layer.column(lane, "members")

        def x(row: Value, c: Value) -> Value:
            return code.load(of["x"], code.sum(at, code.times(row, channels), c), width)

        def each(do: Callable[[Value], Value], to: Value, offset: Value) -> None:
            with code.loop(channels, step=width) as c:
                code.store(do(c), to, code.sum(offset, c))

        def mean_of(do: Callable[[Value, Value], Value], to: Value, offset: Value) -> None:
            """The means of do(row, c)."""
            each(
                lambda c: layer.summed(rows, 1, lambda row, sums: [code.add(sums[0], do(row, c))])[0],
                workspace, code.sum(0),
            )  # fmt: skip
            layer.pooled(0, members)
            each(lambda c: write.fmul(code.load(workspace, c, width), share), to, offset)

        def squared(row: Value, c: Value) -> Value:
            apart = write.fsub(x(row, c), code.load(of["kept"], code.sum(kept, c), width))
            return write.fmul(apart, apart)

        with write.if_else(layer.is_mode(lane, STORED)) as (stored, fresh):
            with stored:
                mean, variance = (layer.address(lane, name) for name in ("running_mean", "running_var"))
                each(lambda c: code.load(mean, c, width), of["kept"], kept)
                each(lambda c: code.load(variance, c, width), workspace, code.sum(spread))
            with fresh:
                mean_of(x, of["kept"], kept)
                mean_of(squared, workspace, code.sum(spread))
        with write.if_then(layer.is_mode(lane, BATCH)):
            _follow(layer, lane, rows, kept, spread)

        def inverse(c: Value) -> Value:
            variance = code.add(code.load(workspace, code.sum(spread, c), width), layer.number(lane, 0))
            return write.fdiv(code.constant(1, width), code.root(variance))

        each(inverse, of["kept"], code.sum(kept, channels))
        weight, bias = layer.address(lane, "weight"), layer.address(lane, "bias")
        with code.loop(channels, step=width) as c:
            mean, slope = (code.load(of["kept"], code.sum(kept, i * channels, c), width) for i in range(2))
            scale, shift = code.load(weight, c, width), code.load(bias, c, width)
            with code.loop(rows) as row:
                normal = write.fmul(write.fsub(x(row, c), mean), slope)
                place = code.sum(at, code.times(row, channels), c)
                code.store(code.fma(normal, scale, shift), of["y"], place)

    layer.over(standardise)
    return code.compiled(), 2 * channels


def _follow(layer: Pass, lane: Value, rows: Value, kept: Value, spread: int) -> None:
    """running ← (1 − share) · running + share · batch, the variance divided by n − 1."""
    code, of, width, write = layer.code, layer.of, layer.width, layer.code.write
    share = layer.number(lane, 1)
    rest = write.fsub(code.constant(1, width), share)
    less = code.number(write.sub(rows, code.sum(1)), width)
    unbiased = write.fdiv(code.number(rows, width), less)
    mean, variance = (layer.address(lane, name) for name in ("running_mean", "running_var"))
    with code.loop(layer.channels, step=width) as c:
        own = code.load(of["kept"], code.sum(kept, c), width)
        wide = write.fmul(code.load(of["room"], code.sum(spread, c), width), unbiased)
        for running, value in ((mean, own), (variance, wide)):
            before = write.fmul(code.load(running, c, width), rest)
            code.store(code.fma(value, share, before), running, c)


@disk_cached
def backward(channels: int) -> tuple[Function, int]:
    """(gradient of y, x, kept, where the gradient of x goes, numbers, room, lanes, parts, K, B, P). The gradients of γ and β are added to
    where they go. And how many numbers the room holds."""
    layer = Pass(channels, ("gradient", "x", "kept", "to_x"), BACKWARD)
    code, of, width, workspace = layer.code, layer.of, layer.width, layer.of["room"]
    write = code.write

    def back(lane: Value, at: Value, rows: Value, share: Value, kept: Value) -> None:
        members = layer.column(lane, "members")
        weight, to_weight, to_bias = (layer.address(lane, name) for name in BACKWARD[:3])
        fresh = write.select(layer.is_mode(lane, STORED), code.sum(0), code.sum(1))

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
            scale = write.fmul(code.load(weight, c, width), code.number(fresh, width))
            for into, offset, total in zip((to_bias, to_weight), (0, channels), sums, strict=True):
                code.store(code.add(code.load(into, c, width), total), into, c)
                code.store(write.fmul(total, scale), workspace, code.sum(offset, c))
        layer.pooled(0, members)
        layer.pooled(channels, members)
        with code.loop(channels, step=width) as c:
            own, scale = seen(c), code.load(weight, c, width)
            shift, slope = (
                write.fmul(code.load(workspace, code.sum(offset, c), width), share)
                for offset in (0, channels)
            )
            with code.loop(rows) as row:
                apart = write.fsub(write.fmul(gradient(row, c), scale), shift)
                apart = write.fsub(apart, write.fmul(normal(row, c, *own), slope))
                place = code.sum(at, code.times(row, channels), c)
                code.store(write.fmul(apart, own[1]), of["to_x"], place)

    layer.over(back)
    return code.compiled(), 2 * channels
