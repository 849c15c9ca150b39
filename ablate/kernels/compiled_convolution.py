"""Convolutions of a few sizes as links of a chain: `compiled.direct`, `compiled.winograd`, `compiled.tiles`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ablate.kernels import im2col_winograd
from ablate.kernels.compiled_ops import without
from ablate.kernels.fused import Back, Shape

if TYPE_CHECKING:
    from ablate.kernels.call_plan import ArgRef
    from ablate.kernels.compiled.tiled_winograd import Grid
    from ablate.kernels.compiled.winograd import Tile
    from ablate.kernels.memory_plan import Lane

Pair = tuple[int, int]

# Where compiled code takes at most 1 / 1.2 of oneDNN's time, forward and backward together, read off grids of layers on one core with
# AVX-512: 70 layers of one tile, 61 of more (4 to 128 channels, 8 to 256 examples), 90 of few channels in.
TILE_WEIGHTS = 2**14  # channels in times channels out
TILE_SIDE = 56  # of the output, as DIRECT_SIDE: no larger ones were measured
DIRECT_SIDE = 32
DIRECT_KERNEL = 25  # weights of a kernel
DIRECT_VALUES = 2**15  # numbers in a lane's columns, where channels out fill no vector


@dataclass(frozen=True)
class ConvolutionOp:
    """`nn.Conv2d` with zeros around: `[B, C, H, W]`, `[O, C, h, w]`, `[O]` -> `[B, O, H', W']`. `biased`, `without`: as `links.Affine`.

    Maps may lie as they like: convolutions leave them with their channels innermost.
    """

    channels: tuple[int, int]
    """Out and in."""
    kernel: Pair
    stride: Pair
    padding: Pair
    biased: bool
    without: frozenset[int] = frozenset()

    held = 0

    @property
    def tensors(self) -> int:
        return 1 + self.biased

    def fits(self, shape: Shape, *, innermost: bool) -> Shape | None:
        if len(shape) != 4 or shape[1] != self.channels[1]:
            return None
        sides = self._sides(shape)
        algorithm = self._algorithm(shape)
        return (shape[0], self.channels[0], *sides) if algorithm else None

    def _sides(self, shape: Shape) -> tuple[int, int]:
        """The height and the width of the output."""
        each = zip(shape[2:], self.kernel, self.stride, self.padding, strict=True)
        height, width = ((side + 2 * pad - kernel) // step + 1 for side, kernel, step, pad in each)
        return height, width

    def _algorithm(self, shape: Shape) -> str:
        (out, channels), sides = self.channels, self._sides(shape)
        values = channels * prod(self.kernel) * shape[0] * prod(sides)  # numbers in a lane's columns
        if channels <= 4 and prod(self.kernel) <= DIRECT_KERNEL and max(sides) <= DIRECT_SIDE and (out % 8 == 0 or values <= DIRECT_VALUES):  # fmt: skip
            return "direct"
        by_threes = self.kernel == (3, 3) and self.stride == (1, 1) and max(self.padding) <= 2
        fits = by_threes and channels * out <= TILE_WEIGHTS and 1 < max(sides) <= TILE_SIDE
        return "tile" if fits and (max(sides) <= 4 or channels % 4 == out % 4 == 0) else ""

    def write(self, lane: Lane, x: ArgRef) -> tuple[ArgRef, Back]:
        out = self.channels[0]
        weight, biased = lane.tensors[0], self.biased and lane.number not in self.without
        bias = lane.tensors[1] if biased else lane.calls.zeros(out)
        y = lane.result((lane.shape[0], out, *self._sides(lane.shape)), x)
        direct_convolution = self._algorithm(lane.shape) == "direct"
        (function, numbers), counts = self._direct(lane, 0) if direct_convolution else self._tiled(lane, 0)
        lane.call(function, x, weight, bias, y, lane.calls.scratch(numbers), *counts)

        def back(lane: Lane, gradient: ArgRef, wanted: bool) -> ArgRef:
            (function, numbers), counts = (
                self._direct(lane, 1) if direct_convolution else self._tiled(lane, 1)
            )
            to = lane.gradients[0], lane.gradients[1] if biased else 0
            if direct_convolution:  # which also sums a gradient of the bias that nobody wants
                workspace, spare = lane.calls.scratch_parts(numbers, prod(self.channels) * prod(self.kernel))
                lane.call(function, gradient, x, *(place or spare for place in to), workspace, *counts)
                return self._direct_to_x(lane, gradient, weight) if wanted else gradient
            to_x = lane.into(lane.shape, gradient, wanted=wanted)
            lane.call(function, gradient, x, weight, to_x, *to, lane.calls.scratch(numbers), *counts)
            return to_x

        return y, back

    def _direct(self, lane: Lane, direction: int) -> tuple[Any, tuple[int, ...]]:
        """The function forward (0), back (1) or back to x (2) with the numbers of its room, and the counts that it is called with."""
        from ablate.kernels.compiled import direct_convolution

        examples, channels, height, width = lane.shape
        out, into = self.channels
        sizes = direct_convolution.Sizes(into, out, self.kernel, self.stride, self.padding, (height, width))
        strides = (0, height * width * channels, 1, width * channels, channels)
        return (direct_convolution.forward, direct_convolution.backward, direct_convolution.backward_to_x)[
            direction
        ](sizes), (
            1,
            examples,
            *strides,
        )

    def _direct_to_x(self, lane: Lane, gradient: ArgRef, weight: ArgRef) -> ArgRef:
        (function, numbers), counts = self._direct(lane, 2)
        to_x = lane.result(lane.shape, gradient)
        lane.call(function, gradient, weight, to_x, lane.calls.scratch(numbers), *counts)
        return to_x

    def _tiled(self, lane: Lane, direction: int) -> tuple[Any, tuple[int, ...]]:
        from ablate.kernels.compiled import tiled_winograd, winograd

        (out, channels), (examples, _, height, width) = self.channels, lane.shape
        if all(side + 2 * pad <= 6 for side, pad in zip((height, width), self.padding, strict=True)):
            tile = tile_of(height, width, self.padding)
            return (winograd.forward, winograd.backward)[direction](tile, channels, out), (1, examples)
        grid = grid_of(height, width, self.padding)
        return (tiled_winograd.forward, tiled_winograd.backward)[direction](grid, channels, out), (
            1,
            examples,
        )

    def differentiably(self, x: Tensor, tensors: Sequence[Tensor], held: Sequence[Tensor]) -> Tensor:
        weight = tensors[0]
        biases = without(tensors[1], self.without) if self.biased else [None] * len(x)
        lanes = zip(x, weight, biases, strict=True)
        return torch.stack([torch.conv2d(*lane, self.stride, self.padding) for lane in lanes])


@cache
def tile_of(height: int, width: int, padding: Pair) -> Tile:
    from ablate.kernels.compiled.winograd import Tile

    (down, across), (up, left), _ = im2col_winograd.transforms(height, width, padding)
    matrices = (down, across, up, left, torch.tensor(im2col_winograd.toom_cook()[1]))
    return Tile(*(tuple(map(tuple, matrix.tolist())) for matrix in matrices))


@cache
def grid_of(height: int, width: int, padding: Pair) -> Grid:
    from ablate.kernels.compiled.tiled_winograd import Grid

    return Grid(tile_of(6, 6, (0, 0)), (height, width), padding)
