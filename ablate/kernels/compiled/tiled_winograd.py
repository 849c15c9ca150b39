"""3×3 convolutions of K lanes on maps of several 4×4 output tiles: `winograd`, tile by tile.

An input map is zero-padded before its first tile is transformed; an output map is copied out after its last tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import Count, Value, vector_width
from ablate.kernels.compiled.jit import Function
from ablate.kernels.compiled.winograd import (
    BLOCK,
    POINTS,
    SIDE,
    WinogradLayer,
    emit_weight_grad,
    sum_positions,
    transpose,
)
from ablate.kernels.compiled.winograd_transforms import TileTransform, tile_of

STEP = 4
"""Outputs of a tile along one side."""


@dataclass(frozen=True)
class Grid:
    """The tiles of a map. `tile`: transforms of a full tile; `input_size`: (H, W); `padding`: zeros above and to the left."""

    tile: TileTransform
    input_size: tuple[int, int]
    padding: tuple[int, int]

    @property
    def output_size(self) -> tuple[int, int]:
        """(H, W) of the outputs."""
        (height, width), (up, left) = self.input_size, self.padding
        return height + 2 * up - 2, width + 2 * left - 2

    @property
    def tiles(self) -> tuple[int, int]:
        """The number of tiles by height and width."""
        height, width = self.output_size
        return -(-height // STEP), -(-width // STEP)

    @property
    def output_area(self) -> tuple[int, int]:
        """(H, W) of the outputs of all tiles."""
        return STEP * self.tiles[0], STEP * self.tiles[1]

    @property
    def padded(self) -> tuple[int, int]:
        """(H, W) of what all tiles read."""
        return self.output_area[0] + SIDE - STEP, self.output_area[1] + SIDE - STEP


@cache
def grid_of(height: int, width: int, padding: tuple[int, int]) -> Grid:
    """The tiles of a map of `height` × `width` with zero padding."""
    return Grid(tile_of(SIDE, SIDE, (0, 0)), (height, width), padding)


class TiledLayer(WinogradLayer):
    """Builder of functions that process the tiles of a lane's examples, `BLOCK` at a time."""

    def __init__(self, grid: Grid, channels: int, out: int, pointers: tuple[str, ...]) -> None:
        super().__init__(grid.tile, channels, out, pointers)
        self.grid = grid
        self.each = grid.tiles[0] * grid.tiles[1]

    @contextmanager
    def blocks(self, lane: Value) -> Iterator[tuple[Value, Value]]:
        """(the first tile of a block, how many tiles it has)"""
        code = self.code
        total = code.imul(self.args["examples"], self.each)
        with code.loop(total, step=BLOCK) as first:
            yield first, code.imin(code.builder.sub(total, first), BLOCK)

    @contextmanager
    def rows(self, first: Value, count: Value) -> Iterator[tuple[Value, Value, Value]]:
        """(a tile's row in its block, its example, its number within the example)"""
        code, builder = self.code, self.code.builder
        with code.loop(count) as row:
            number = code.isum(first, row)
            yield row, builder.sdiv(number, code.isum(self.each)), builder.srem(number, code.isum(self.each))

    @contextmanager
    def if_number(self, tile: Value, number: int) -> Iterator[None]:
        """Context: code that runs only for this tile of the map."""
        with self.code.builder.if_then(self.code.builder.icmp_signed("==", tile, self.code.isum(number))):
            yield

    def corner(self, tile: Value, start: int, wide: int, channels: int) -> Value:
        """Offset of a tile's first element in a map of that width at `start` of the workspace."""
        code, builder, across = self.code, self.code.builder, self.code.isum(self.grid.tiles[1])
        down, along = (kind(tile, across) for kind in (builder.sdiv, builder.srem))
        pixel = code.isum(code.imul(down, STEP * wide), code.imul(along, STEP))
        return code.isum(start, code.imul(pixel, channels))

    def copy_map(
        self, maps: Value, at: Value, sides: tuple[int, int], channels: int, start: int, wide: int,
        inset: tuple[int, int], *, out: bool = False,
    ) -> None:  # fmt: skip
        """Copy a map into a larger one in the workspace, `inset` from its corner; `out`: the reverse."""
        code, numbers = self.code, sides[1] * channels
        width = vector_width(numbers)
        with code.loop(sides[0]) as line, code.loop(numbers, step=width) as i:
            map_offset = code.isum(at, code.imul(line, numbers), i)
            lines = code.imul(code.isum(line, inset[0]), wide * channels)
            tile_offset = code.isum(start + inset[1] * channels, lines, i)
            if out:
                code.store(code.load(self.workspace, tile_offset, width), maps, map_offset)
            else:
                code.store(code.load(maps, map_offset, width), self.workspace, tile_offset)

    def transform_tiles(self, lane: Value, first: Value, count: Value, padded: int, points: int) -> None:
        """Transform a block's tiles of x, which is padded at `padded` of the workspace."""
        grid, channels, wide = self.grid, self.channels, self.grid.padded[1]
        with self.rows(first, count) as (row, example, number):
            with self.if_number(number, 0):
                at = self.example(lane, example, grid.input_size, channels)
                self.copy_map(self.args["x"], at, grid.input_size, channels, padded, wide, grid.padding)
            corner = self.corner(number, padded, wide, channels)
            line = wide * channels
            self.to_winograd(
                self.workspace,
                corner,
                grid.tile.input_rows,
                grid.tile.input_columns,
                points,
                row,
                channels,
                line,
            )

    def example(self, lane: Value, example: Count, sides: tuple[int, int], channels: int) -> Value:
        """Offset of an example in `[K, B, H, W, C]`."""
        return self.example_offset(lane, self.code.isum(0), sides[0] * sides[1], channels, example)


@disk_cached
def forward(grid: Grid, channels: int, out: int) -> tuple[Function, int]:
    """The function of `winograd.forward`, for a map of several tiles."""
    layer = TiledLayer(grid, channels, out, ("x", "weight", "bias", "y"))
    code, args, tile = layer.code, layer.args, grid.tile
    points = layer.reserve(POINTS * channels * out)
    into, sums = layer.reserve(POINTS * BLOCK * channels), layer.reserve(POINTS * BLOCK * out)
    wide, broad = grid.padded[1], grid.output_area[1]
    padded = layer.reserve(grid.padded[0] * wide * channels)
    output_area = layer.reserve(grid.output_area[0] * broad * out)
    code.fill(0, layer.workspace, code.isum(padded), grid.padded[0] * wide * channels)
    with code.loop(args["lanes"]) as lane:
        layer.transform_weights(lane, points, forward=True)
        with layer.blocks(lane) as (first, count):
            layer.transform_tiles(lane, first, count, padded, into)
            layer.multiply_points(into, points, sums, channels, out)
            with layer.rows(first, count) as (row, example, number):
                corner, bias = layer.corner(number, output_area, broad, out), code.imul(lane, out)
                layer.from_winograd(
                    sums,
                    row,
                    tile.output_rows,
                    tile.output_columns,
                    layer.workspace,
                    corner,
                    out,
                    bias,
                    broad * out,
                )
                with layer.if_number(number, layer.each - 1):
                    at = layer.example(lane, example, grid.output_size, out)
                    layer.copy_map(args["y"], at, grid.output_size, out, output_area, broad, (0, 0), out=True)
    return code.compile(), layer.workspace_floats


@disk_cached
def backward(grid: Grid, channels: int, out: int) -> tuple[Function, int]:
    """The function of `winograd.backward`, for a map of several tiles."""
    layer = TiledLayer(grid, channels, out, ("grad_y", "x", "weight", "grad_x", "grad_weight", "grad_bias"))
    code, args, tile = layer.code, layer.args, grid.tile
    points = layer.reserve(POINTS * channels * out)
    into, sums = layer.reserve(POINTS * BLOCK * channels), layer.reserve(POINTS * BLOCK * out)
    kernels = layer.reserve(POINTS * channels * out)
    wide, broad = grid.padded[1], grid.output_area[1]
    size = grid.padded[0] * wide * channels
    padded, grad_map = layer.reserve(size), layer.reserve(size)
    output_area = layer.reserve(grid.output_area[0] * broad * out)
    code.fill(0, layer.workspace, code.isum(padded), size)
    code.fill(0, layer.workspace, code.isum(output_area), grid.output_area[0] * broad * out)
    with code.loop(args["lanes"]) as lane:
        bias = code.imul(lane, out)
        with code.if_given("grad_x"):
            layer.transform_weights(lane, points, forward=False)
        code.fill(0, layer.workspace, kernels, POINTS * channels * out)
        with code.if_given("grad_bias"):
            code.fill(0, args["grad_bias"], bias, out)
        with layer.blocks(lane) as (first, count):
            with layer.rows(first, count) as (row, example, number):
                with layer.if_number(number, 0):
                    at = layer.example(lane, example, grid.output_size, out)
                    layer.copy_map(args["grad_y"], at, grid.output_size, out, output_area, broad, (0, 0))
                    with code.if_given("grad_bias"):
                        positions = grid.output_size[0] * grid.output_size[1]
                        sum_positions(code, args["grad_y"], at, positions, args["grad_bias"], bias, out)
                corner = layer.corner(number, output_area, broad, out)
                layer.to_winograd(
                    layer.workspace,
                    corner,
                    transpose(tile.output_rows),
                    transpose(tile.output_columns),
                    sums,
                    row,
                    out,
                    broad * out,
                )
            with code.if_given("grad_weight"):
                layer.transform_tiles(lane, first, count, padded, into)
                layer.accumulate_weight_grad(sums, into, kernels, count)
            with code.if_given("grad_x"):
                layer.multiply_points(sums, points, into, out, channels)
                with layer.rows(first, count) as (row, example, number):
                    with layer.if_number(number, 0):
                        code.fill(0, layer.workspace, code.isum(grad_map), size)
                    corner = layer.corner(number, grad_map, wide, channels)
                    layer.from_winograd(
                        into, row, transpose(tile.input_rows), transpose(tile.input_columns), layer.workspace, corner, channels,
                        line=wide * channels, accumulate=True,
                    )  # fmt: skip
                    with layer.if_number(number, layer.each - 1):
                        at = layer.example(lane, example, grid.input_size, channels)
                        layer.copy_map(
                            args["grad_x"],
                            at,
                            grid.input_size,
                            channels,
                            grad_map,
                            wide,
                            grid.padding,
                            out=True,
                        )
        with code.if_given("grad_weight"):
            emit_weight_grad(layer, lane, kernels)
    return code.compile(), layer.workspace_floats
