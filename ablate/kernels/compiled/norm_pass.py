"""The parts that forward and backward pass of a compiled norm (`norms.py`) share: how lanes are described, sums over rows and over groups of channels.

A lane's norm is its row of `lanes`, int64 `[K, 5]` (`LANE`), and of `numbers`, float32 `[K, 3]`: ε, the momentum of running statistics, and 1
where the running variance is the unbiased one, else 0. `part` is the index of a row of `parts`, int64 `[…, 8]`, with addresses and row strides in
bytes of tensors `[K', C]`; `row` is the lane's row in these.
Sums are pairwise: over chunks of `CHUNK` rows, then over chunks, so that rounding errors hardly grow with length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ablate.kernels.compiled.ir_builder import I64, FunctionBuilder, Value, vector_width

LANE = ("mode", "members", "centre", "part", "row")
"""`mode`: one of the constants below; `members`: channels of a group, which share σ²; `centre`: channels that share μ (0: there is none)."""
NUMBERS = 3
EXAMPLE, BATCH, STORED = range(3)
"""Statistics of each example; of the batch, which update running statistics; running statistics."""
CHUNK = 16
SAVED = 2
"""Saved per lane and example (batch statistics: in the row of the first example): μ and 1 / √(σ² + ε), by channel. A running variance of all
channels together is one number."""


class NormPass:
    """Builder of a pass over all lanes: the parts that forward and backward pass share."""

    def __init__(self, channels: int, pointers: Sequence[str], parts: Sequence[str]) -> None:
        self.channels, self.width, self.parts = channels, vector_width(channels), parts
        self.code = FunctionBuilder(
            [*pointers, "numbers", "workspace", "lanes", "parts"], ["count", "examples", "positions"]
        )
        self.args = self.code.args

    def column(self, lane: Value, name: str) -> Value:
        """An entry of the lane's row of `lanes`, by name."""
        return self._integer("lanes", self.code.imul(lane, len(LANE)), LANE.index(name))

    def address(self, lane: Value, name: str) -> Value:
        """Address of the lane's row of a tensor of its part."""
        code, index = self.code, 2 * self.parts.index(name)
        part = code.imul(self.column(lane, "part"), 2 * len(self.parts))
        apart = code.imul(self.column(lane, "row"), self._integer("parts", part, index + 1))
        return code.int_to_ptr(code.isum(self._integer("parts", part, index), apart))

    def _integer(self, table: str, row: Value, column: int) -> Value:
        builder = self.code.builder
        at = builder.gep(self.args[table], [self.code.isum(row, column)], source_etype=I64)
        return builder.load(at, typ=I64, align=8)

    def number(self, lane: Value, column: int, width: int = 0) -> Value:
        """An entry of the lane's row of `numbers`, in a vector of `width` elements (0: of the channels' width)."""
        offset = self.code.isum(self.code.imul(lane, NUMBERS), column)
        return self.code.load_broadcast(self.args["numbers"], offset, width or self.width)

    def is_mode(self, lane: Value, mode: int) -> Value:
        """Whether the lane's norm has this mode."""
        return self.code.builder.icmp_signed("==", self.column(lane, "mode"), self.code.isum(mode))

    def for_lanes(self, do: Callable[..., None]) -> None:
        """`do(lane, …)` for all lanes, with the other arguments as in `each`."""
        with self.code.loop(self.args["count"]) as lane:
            self.each(lane, lambda *where: do(lane, *where))

    @property
    def numbers(self) -> Value:
        """Elements of one lane."""
        code, args = self.code, self.args
        return code.imul(code.imul(args["examples"], args["positions"]), self.channels)

    def share(self, rows: Value, members: Value) -> Value:
        """1 / (elements of `rows` rows and `members` channels)."""
        count = self.code.int_to_float(self.code.imul(rows, self.code.imax(members, 1)), self.width)
        return self.code.builder.fdiv(self.code.constant(1, self.width), count)

    def is_pooled(self, lane: Value) -> Value:
        """Whether all channels share σ²."""
        return self.code.builder.icmp_signed(
            "==", self.column(lane, "members"), self.code.isum(self.channels)
        )

    def is_centred(self, lane: Value) -> Value:
        """Whether there is a μ."""
        return self.code.builder.icmp_signed(">", self.column(lane, "centre"), self.code.isum(0))

    def each(self, lane: Value, do: Callable[[Value, Value, Value], None]) -> None:
        """`do(at, rows, saved)` for each set of rows that share statistics: the offset of its elements, its number of rows, the offset of
        its saved statistics."""
        code, args = self.code, self.args
        together = code.builder.icmp_signed(">=", self.column(lane, "mode"), code.isum(BATCH))
        sets = code.builder.select(together, code.isum(1), args["examples"])
        rows = code.builder.select(
            together, code.imul(args["examples"], args["positions"]), args["positions"]
        )
        with code.loop(sets) as i:
            at = code.isum(code.imul(lane, self.numbers), code.imul(i, code.imul(rows, self.channels)))
            example = code.isum(code.imul(lane, args["examples"]), i)
            do(at, rows, code.imul(example, SAVED * self.channels))

    def chunked_sums(
        self, rows: Value, count: int, terms: Callable[[Value, Sequence[Value]], list[Value]]
    ) -> list[Value]:
        """`count` sums over rows; `terms(row, sums)` adds a row to them."""
        code, zero = self.code, self.code.constant(0, self.width)
        chunks = code.builder.sdiv(code.isum(rows, CHUNK - 1), code.isum(CHUNK))

        def chunk(i: Value, totals: Sequence[Value]) -> list[Value]:
            first = code.imul(i, CHUNK)
            left = code.imin(code.builder.sub(rows, first), CHUNK)
            parts = code.reduce([zero] * count, left, lambda j, sums: terms(code.isum(first, j), sums))
            return [code.fadd(total, part) for total, part in zip(totals, parts, strict=True)]

        return code.reduce([zero] * count, chunks, chunk)

    def sum_groups(self, workspace: int, members: Value) -> None:
        """Replace each of C floats of the workspace by the sum over its channel group, of `members` channels, at least one."""
        code, pointer = self.code, self.args["workspace"]
        builder, width = code.builder, self.width
        whole = code.imax(members, width)  # groups, or vectors if these are wider
        fits = builder.icmp_signed("==", builder.srem(whole, members), code.isum(0))
        doubled = builder.icmp_signed(
            "==", builder.and_(members, builder.sub(members, code.isum(1))), code.isum(0)
        )
        with builder.if_then(builder.icmp_signed(">", members, code.isum(1))), builder.if_else(builder.and_(fits, doubled)) as (by_vectors, one_by_one):  # fmt: skip
            with by_vectors, code.loop(self.channels, step=whole) as first:
                vectors = builder.sdiv(whole, code.isum(width))

                def add(i: Value, sums: Sequence[Value]) -> list[Value]:
                    offset = code.isum(workspace, first, code.imul(i, width))
                    return [code.fadd(sums[0], code.load(pointer, offset, width))]

                (total,) = code.reduce([code.constant(0, width)], vectors, add)
                for apart in (1, 2, 4, 8):
                    if apart < width:
                        wider = builder.icmp_signed(">", members, code.isum(apart))
                        total = builder.select(wider, code.fadd(total, code.swap_lanes(total, apart)), total)
                with code.loop(whole, step=width) as i:
                    code.store(total, pointer, code.isum(workspace, first, i))
            with one_by_one, code.loop(self.channels, step=members) as first:

                def add_one(i: Value, sums: Sequence[Value]) -> list[Value]:
                    return [code.fadd(sums[0], code.load(pointer, code.isum(workspace, first, i), 1))]

                (total,) = code.reduce([code.constant(0, 1)], members, add_one)
                with code.loop(members) as i:
                    code.store(total, pointer, code.isum(workspace, first, i))
