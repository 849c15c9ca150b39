"""3×3 convolutions of K lanes on maps of several tiles of 4×4 outputs: `winograd`, tile by tile.

A map is laid between zeros before its first tile is taken, and its output put together until its last one is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import Count, Value, width_of
from ablate.kernels.compiled.jit import Function
from ablate.kernels.compiled.winograd import (
    BLOCK,
    POINTS,
    SIDE,
    Layer,
    Tile,
    summed_places,
    turned,
    weights_back,
)

STEP = 4
"""Outputs of a tile, along a side."""


@dataclass(frozen=True)
class Grid:
    """The tiles of a map: `tile` with all its points; sides of input and output; zeros above and to the left of the input."""

    tile: Tile
    into: tuple[int, int]
    padding: tuple[int, int]

    @property
    def out(self) -> tuple[int, int]:
        (height, width), (up, left) = self.into, self.padding
        return height + 2 * up - 2, width + 2 * left - 2

    @property
    def tiles(self) -> tuple[int, int]:
        height, width = self.out
        return -(-height // STEP), -(-width // STEP)

    @property
    def covered(self) -> tuple[int, int]:
        """Sides of the outputs of all tiles."""
        return STEP * self.tiles[0], STEP * self.tiles[1]

    @property
    def padded(self) -> tuple[int, int]:
        """Sides of what all tiles read."""
        return self.covered[0] + SIDE - STEP, self.covered[1] + SIDE - STEP


class Walk(Layer):
    """Writes a function that walks over the tiles of a lane's examples, `BLOCK` at a time."""

    def __init__(self, grid: Grid, channels: int, out: int, pointers: tuple[str, ...]) -> None:
        super().__init__(grid.tile, channels, out, pointers)
        self.grid = grid
        self.each = grid.tiles[0] * grid.tiles[1]

    @contextmanager
    def blocks(self, lane: Value) -> Iterator[tuple[Value, Value]]:
        """(the first tile of a block, how many it has)"""
        code = self.code
        total = code.times(self.of["examples"], self.each)
        with code.loop(total, step=BLOCK) as first:
            yield first, code.least(code.write.sub(total, first), BLOCK)

    @contextmanager
    def rows(self, first: Value, count: Value) -> Iterator[tuple[Value, Value, Value]]:
        """(a tile's row in its block, its example, its number among the example's tiles)"""
        code, write = self.code, self.code.write
        with code.loop(count) as row:
            number = code.sum(first, row)
            yield row, write.sdiv(number, code.sum(self.each)), write.srem(number, code.sum(self.each))

    @contextmanager
    def when(self, tile: Value, number: int) -> Iterator[None]:
        with self.code.write.if_then(self.code.write.icmp_signed("==", tile, self.code.sum(number))):
            yield

    def corner(self, tile: Value, start: int, wide: int, channels: int) -> Value:
        """The offset of a tile's first number in a map of that width at `start` of the room."""
        code, write, across = self.code, self.code.write, self.code.sum(self.grid.tiles[1])
        down, along = (kind(tile, across) for kind in (write.sdiv, write.srem))
        place = code.sum(code.times(down, STEP * wide), code.times(along, STEP))
        return code.sum(start, code.times(place, channels))

    def lay(
        self, maps: Value, at: Value, sides: tuple[int, int], channels: int, start: int, wide: int,
        inset: tuple[int, int], *, back: bool = False,
    ) -> None:  # fmt: skip
        """A map into a wider one in the room, `inset` from its corner; `back`: out of it."""
        code, numbers = self.code, sides[1] * channels
        width = width_of(numbers)
        with code.loop(sides[0]) as line, code.loop(numbers, step=width) as i:
            own = code.sum(at, code.times(line, numbers), i)
            lines = code.times(code.sum(line, inset[0]), wide * channels)
            place = code.sum(start + inset[1] * channels, lines, i)
            if back:
                code.store(code.load(self.workspace, place, width), maps, own)
            else:
                code.store(code.load(maps, own, width), self.workspace, place)

    def take(self, lane: Value, first: Value, count: Value, padded: int, points: int) -> None:
        """A block's tiles of x, laid out at `padded` of the room, to their points."""
        grid, channels, wide = self.grid, self.channels, self.grid.padded[1]
        with self.rows(first, count) as (row, example, number):
            with self.when(number, 0):
                at = self.example(lane, example, grid.into, channels)
                self.lay(self.of["x"], at, grid.into, channels, padded, wide, grid.padding)
            corner = self.corner(number, padded, wide, channels)
            line = wide * channels
            self.to_points(
                self.workspace, corner, grid.tile.down, grid.tile.across, points, row, channels, line
            )

    def example(self, lane: Value, example: Count, sides: tuple[int, int], channels: int) -> Value:
        return self.maps(lane, self.code.sum(0), sides[0] * sides[1], channels, example)


@disk_cached
def forward(grid: Grid, channels: int, out: int) -> tuple[Function, int]:
    """As `winograd.forward`."""
    walk = Walk(grid, channels, out, ("x", "weight", "bias", "y"))
    code, of, tile = walk.code, walk.of, grid.tile
    points = walk.reserved(POINTS * channels * out)
    into, sums = walk.reserved(POINTS * BLOCK * channels), walk.reserved(POINTS * BLOCK * out)
    wide, broad = grid.padded[1], grid.covered[1]
    padded = walk.reserved(grid.padded[0] * wide * channels)
    covered = walk.reserved(grid.covered[0] * broad * out)
    code.fill(0, walk.workspace, code.sum(padded), grid.padded[0] * wide * channels)
    with code.loop(of["lanes"]) as lane:
        walk.weights(lane, points, onwards=True)
        with walk.blocks(lane) as (first, count):
            walk.take(lane, first, count, padded, into)
            walk.multiplied(into, points, sums, channels, out)
            with walk.rows(first, count) as (row, example, number):
                corner, bias = walk.corner(number, covered, broad, out), code.times(lane, out)
                walk.from_points(
                    sums, row, tile.up, tile.left, walk.workspace, corner, out, bias, broad * out
                )
                with walk.when(number, walk.each - 1):
                    at = walk.example(lane, example, grid.out, out)
                    walk.lay(of["y"], at, grid.out, out, covered, broad, (0, 0), back=True)
    return code.compiled(), walk.numbers


@disk_cached
def backward(grid: Grid, channels: int, out: int) -> tuple[Function, int]:
    """As `winograd.backward`."""
    walk = Walk(grid, channels, out, ("gradient", "x", "weight", "to_x", "to_weight", "to_bias"))
    code, of, tile = walk.code, walk.of, grid.tile
    points = walk.reserved(POINTS * channels * out)
    into, sums = walk.reserved(POINTS * BLOCK * channels), walk.reserved(POINTS * BLOCK * out)
    kernels = walk.reserved(POINTS * channels * out)
    wide, broad = grid.padded[1], grid.covered[1]
    size = grid.padded[0] * wide * channels
    padded, found = walk.reserved(size), walk.reserved(size)
    covered = walk.reserved(grid.covered[0] * broad * out)
    code.fill(0, walk.workspace, code.sum(padded), size)
    code.fill(0, walk.workspace, code.sum(covered), grid.covered[0] * broad * out)
    with code.loop(of["lanes"]) as lane:
        bias = code.times(lane, out)
        with code.given("to_x"):
            walk.weights(lane, points, onwards=False)
        code.fill(0, walk.workspace, kernels, POINTS * channels * out)
        with code.given("to_bias"):
            code.fill(0, of["to_bias"], bias, out)
        with walk.blocks(lane) as (first, count):
            with walk.rows(first, count) as (row, example, number):
                with walk.when(number, 0):
                    at = walk.example(lane, example, grid.out, out)
                    walk.lay(of["gradient"], at, grid.out, out, covered, broad, (0, 0))
                    with code.given("to_bias"):
                        places = grid.out[0] * grid.out[1]
                        summed_places(code, of["gradient"], at, places, of["to_bias"], bias, out)
                corner = walk.corner(number, covered, broad, out)
                walk.to_points(
                    walk.workspace, corner, turned(tile.up), turned(tile.left), sums, row, out, broad * out
                )
            with code.given("to_weight"):
                walk.take(lane, first, count, padded, into)
                walk.correlated(sums, into, kernels, count)
            with code.given("to_x"):
                walk.multiplied(sums, points, into, out, channels)
                with walk.rows(first, count) as (row, example, number):
                    with walk.when(number, 0):
                        code.fill(0, walk.workspace, code.sum(found), size)
                    corner = walk.corner(number, found, wide, channels)
                    walk.from_points(
                        into, row, turned(tile.down), turned(tile.across), walk.workspace, corner, channels,
                        line=wide * channels, more=True,
                    )  # fmt: skip
                    with walk.when(number, walk.each - 1):
                        at = walk.example(lane, example, grid.into, channels)
                        walk.lay(of["to_x"], at, grid.into, channels, found, wide, grid.padding, back=True)
        with code.given("to_weight"):
            weights_back(walk, lane, kernels)
    return code.compiled(), walk.numbers
