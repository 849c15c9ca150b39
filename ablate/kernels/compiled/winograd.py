"""3×3 convolutions of K lanes on maps of one tile: F(4×4, 3×3) of Lavin & Gray 2016 (arXiv 1509.09308), a block of examples at a time.

Transforms and products of a block stay in a core's nearest caches, where torch would send each of them through memory.
Maps are `[K, B, H, W, C]`, contiguous; weights `[K, O, C, 3, 3]`; biases `[K, O]`. A lane is computed as it would be
alone, an example's map by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import Code, Count, Rows, Value, width_of
from ablate.kernels.compiled.jit import Function

SIDE = 6
POINTS = SIDE * SIDE
BLOCK = 16
"""Examples transformed and multiplied together."""
ROWS = 8
"""Rows of a product whose sums are in registers."""


@dataclass(frozen=True)
class Tile:
    """The transforms of a map of one tile: Bᵀ (`down` `[6, H]`, `across` `[6, W]`), Aᵀ (`up` `[H', 6]`, `left` `[W', 6]`), G (`kernel` `[6, 3]`)."""

    down: Rows
    across: Rows
    up: Rows
    left: Rows
    kernel: Rows

    @property
    def into(self) -> int:
        """Places of a map."""
        return len(self.down[0]) * len(self.across[0])

    @property
    def out(self) -> int:
        return len(self.up) * len(self.left)


def turned(rows: Rows) -> Rows:
    return tuple(zip(*rows, strict=True))


class Layer:
    """Writes a function for a layer of `channels` in and `out` channels: the parts that forward and backward pass share.

    Room for what is between is the function's last pointer, `room`; points of a tile are its outermost dimension.
    """

    def __init__(self, tile: Tile, channels: int, out: int, pointers: tuple[str, ...]) -> None:
        self.tile, self.channels, self.out = tile, channels, out
        self.code = Code([*pointers, "room"], ["lanes", "examples"])
        self.of = self.code.argument
        self.workspace = self.of["room"]
        self.numbers = 0

    def reserved(self, numbers: int) -> int:
        """The offset of so many more numbers of the room."""
        start = self.numbers
        self.numbers += numbers
        return start

    def maps(self, lane: Value, first: Value, places: int, channels: int, example: Count = 0) -> Value:
        """The offset of a lane's example in `[K, B, H, W, C]`."""
        code = self.code
        row = code.sum(code.times(lane, self.of["examples"]), first, example)
        return code.times(row, places * channels)

    def weights(self, lane: Value, points: int, *, onwards: bool) -> None:
        """G w Gᵀ: `[36, C, O]` for the way `onwards`, `[36, O, C]` for the way back."""
        code, apart = self.code, self.channels * 9
        outer, inner = (self.channels, self.out) if onwards else (self.out, self.channels)
        steps = (9, apart) if onwards else (apart, 9)
        width = width_of(inner)
        lane_at = code.times(lane, self.out * apart)
        with code.loop(outer) as i, code.loop(inner, step=width) as j:
            at = code.sum(lane_at, code.times(i, steps[0]), code.times(j, steps[1]))
            kernel = [
                [
                    code.load_apart(self.of["weight"], code.sum(at, 3 * row + column), steps[1], width)
                    for column in range(3)
                ]
                for row in range(3)
            ]
            found = code.between(self.tile.kernel, kernel, self.tile.kernel)
            for point, value in enumerate(value for line in found for value in line):
                offset = code.sum(points + point * outer * inner, code.times(i, inner), j)
                code.store(value, self.workspace, offset)

    def to_points(
        self, maps: Value, at: Value, down: Rows, across: Rows, points: int, row: Value, channels: int, line: int = 0
    ) -> None:  # fmt: skip
        """down · x · acrossᵀ of one tile: `[H, W, C]` at `at` -> a row of `[36, BLOCK, C]`. `line`: from one line of the map to the next."""
        code, width = self.code, width_of(channels)
        wide = len(across[0])
        line = line or wide * channels
        with code.loop(channels, step=width) as c:
            x = [
                [code.load(maps, code.sum(at, i * line + j * channels, c), width) for j in range(wide)]
                for i in range(len(down[0]))
            ]
            found = [value for values in code.between(down, x, across) for value in values]
            for point, value in enumerate(found):
                offset = code.sum(points + point * BLOCK * channels, code.times(row, channels), c)
                code.store(value, self.workspace, offset)

    def from_points(
        self, points: int, row: Value, up: Rows, left: Rows, maps: Value, at: Value, channels: int, bias: Value | None = None,
        line: int = 0, *, more: bool = False,
    ) -> None:  # fmt: skip
        """up · x · leftᵀ [+ bias] of one tile: a row of `[36, BLOCK, C]` -> `[H, W, C]` at `at`. `bias`: its offset. `more`: added to what is there."""
        code, width = self.code, width_of(channels)
        line = line or len(left) * channels
        with code.loop(channels, step=width) as c:

            def point(i: int, j: int) -> Value:
                place = points + (i * SIDE + j) * BLOCK * channels
                return code.load(self.workspace, code.sum(place, code.times(row, channels), c), width)

            found = code.between(up, [[point(i, j) for j in range(SIDE)] for i in range(SIDE)], left)
            shift = None if bias is None else code.load(self.of["bias"], code.sum(bias, c), width)
            for i, values in enumerate(found):
                for j, value in enumerate(values):
                    place = code.sum(at, i * line + j * channels, c)
                    before = code.load(maps, place, width) if more else shift
                    code.store(value if before is None else code.add(value, before), maps, place)

    def multiplied(self, a: int, b: int, into: int, inner: int, columns: int) -> None:
        """At each point: `[BLOCK, inner]` · `[inner, columns]` -> `[BLOCK, columns]`, rows beyond the block's examples too."""
        code, width = self.code, width_of(columns)
        with code.loop(POINTS) as point, code.loop(BLOCK, step=ROWS) as row, code.loop(columns, step=width) as column:  # fmt: skip
            left = code.sum(a, code.times(point, BLOCK * inner), code.times(row, inner))
            right = code.sum(b, code.times(point, inner * columns), column)
            sums = code.product(
                [code.constant(0, width)] * ROWS,
                inner,
                lambda k, i: code.spread(self.workspace, code.sum(left, k, i * inner), width),
                lambda k: code.load(self.workspace, code.sum(right, code.times(k, columns)), width),
            )
            at = code.sum(into, code.times(point, BLOCK * columns), code.times(row, columns), column)
            for i, value in enumerate(sums):
                code.store(value, self.workspace, code.sum(at, i * columns))

    def correlated(self, a: int, b: int, into: int, examples: Value) -> None:
        """At each point: `[BLOCK, O]`ᵀ · `[BLOCK, C]`, of so many examples, added to `[O, C]`."""
        code, width = self.code, width_of(self.channels)
        rows = next(rows for rows in (ROWS, 4, 2, 1) if self.out % rows == 0)
        with code.loop(POINTS) as point, code.loop(self.out, step=rows) as row, code.loop(self.channels, step=width) as column:  # fmt: skip
            left = code.sum(a, code.times(point, BLOCK * self.out), row)
            right = code.sum(b, code.times(point, BLOCK * self.channels), column)
            at = code.sum(into, code.times(code.sum(code.times(point, self.out), row), self.channels), column)
            places = [code.sum(at, i * self.channels) for i in range(rows)]
            sums = code.product(
                [code.load(self.workspace, place, width) for place in places],
                examples,
                lambda k, i: code.spread(self.workspace, code.sum(left, code.times(k, self.out), i), width),
                lambda k: code.load(self.workspace, code.sum(right, code.times(k, self.channels)), width),
            )
            for place, value in zip(places, sums, strict=True):
                code.store(value, self.workspace, place)


@disk_cached
def forward(tile: Tile, channels: int, out: int) -> tuple[Function, int]:
    """(x, weight, bias or 0, y, room, K, B): Y = Aᵀ [Σ (G w Gᵀ) ⊙ (Bᵀ x B)] A, the sum over channels. And how many numbers the room holds."""
    layer = Layer(tile, channels, out, ("x", "weight", "bias", "y"))
    code, of, examples = layer.code, layer.of, layer.of["examples"]
    points = layer.reserved(POINTS * channels * out)
    into = layer.reserved(POINTS * BLOCK * channels)
    sums = layer.reserved(POINTS * BLOCK * out)
    with code.loop(of["lanes"]) as lane:
        layer.weights(lane, points, onwards=True)
        with code.loop(examples, step=BLOCK) as first:
            count = code.least(code.write.sub(examples, first), BLOCK)
            with code.loop(count) as example:
                at = layer.maps(lane, first, tile.into, channels, example)
                layer.to_points(of["x"], at, tile.down, tile.across, into, example, channels)
            layer.multiplied(into, points, sums, channels, out)
            with code.loop(count) as example:
                at = layer.maps(lane, first, tile.out, out, example)
                bias = code.times(lane, out)
                layer.from_points(sums, example, tile.up, tile.left, of["y"], at, out, bias)
    return code.compiled(), layer.numbers


@disk_cached
def backward(tile: Tile, channels: int, out: int) -> tuple[Function, int]:
    """(gradient of y, x, weight, then where the gradients of x, weight and bias go: 0 where not wanted, room, K, B).

    And how many numbers the room holds."""
    layer = Layer(tile, channels, out, ("gradient", "x", "weight", "to_x", "to_weight", "to_bias"))
    code, of, examples = layer.code, layer.of, layer.of["examples"]
    points = layer.reserved(POINTS * channels * out)
    into = layer.reserved(POINTS * BLOCK * channels)
    sums = layer.reserved(POINTS * BLOCK * out)
    kernels = layer.reserved(POINTS * channels * out)
    with code.loop(of["lanes"]) as lane:
        with code.given("to_x"):
            layer.weights(lane, points, onwards=False)
        code.fill(0, layer.workspace, kernels, POINTS * channels * out)
        with code.given("to_bias"):
            code.fill(0, of["to_bias"], code.times(lane, out), out)
        with code.loop(examples, step=BLOCK) as first:
            count = code.least(code.write.sub(examples, first), BLOCK)
            with code.loop(count) as example:
                at = layer.maps(lane, first, tile.out, out, example)
                layer.to_points(of["gradient"], at, turned(tile.up), turned(tile.left), sums, example, out)
                with code.given("to_bias"):
                    summed_places(
                        code, of["gradient"], at, tile.out, of["to_bias"], code.times(lane, out), out
                    )
            with code.given("to_weight"):
                with code.loop(count) as example:
                    at = layer.maps(lane, first, tile.into, channels, example)
                    layer.to_points(of["x"], at, tile.down, tile.across, into, example, channels)
                layer.correlated(sums, into, kernels, count)
            with code.given("to_x"):
                layer.multiplied(sums, points, into, out, channels)
                with code.loop(count) as example:
                    at = layer.maps(lane, first, tile.into, channels, example)
                    layer.from_points(into, example, turned(tile.down), turned(tile.across), of["to_x"], at, channels)  # fmt: skip
        with code.given("to_weight"):
            weights_back(layer, lane, kernels)
    return code.compiled(), layer.numbers


def summed_places(
    code: Code, maps: Value, at: Value, places: int, into: Value, offset: Value, channels: int
) -> None:
    """The sum over the places of one map, added to `[C]`."""
    width = width_of(channels)
    with code.loop(channels, step=width) as c:

        def step(place: Value, sums: Sequence[Value]) -> list[Value]:
            return [code.add(sums[0], code.load(maps, code.sum(at, code.times(place, channels), c), width))]

        (total,) = code.gathered([code.constant(0, width)], places, step)
        code.store(code.add(code.load(into, code.sum(offset, c), width), total), into, code.sum(offset, c))


def weights_back(layer: Layer, lane: Value, kernels: int) -> None:
    """Gᵀ u G: `[36, O, C]` -> the gradient of the weight."""
    code, tile, channels, out = layer.code, layer.tile, layer.channels, layer.out
    width, back = width_of(channels), turned(tile.kernel)
    with code.loop(out) as o, code.loop(channels, step=width) as c:
        at = code.sum(kernels, code.times(o, channels), c)
        u = [
            [
                code.load(layer.workspace, code.sum(at, (row * SIDE + column) * out * channels), width)
                for column in range(SIDE)
            ]
            for row in range(SIDE)
        ]
        place = code.sum(code.times(code.sum(code.times(lane, out), o), channels * 9), code.times(c, 9))
        for i, value in enumerate(value for line in code.between(back, u, back) for value in line):
            code.store_apart(value, layer.of["to_weight"], code.sum(place, i), 9)
