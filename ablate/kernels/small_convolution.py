"""Small 2-d convolutions of K lanes on a CPU, each lane with its own weights, as few products of matrices.

oneDNN, called once a lane, spends nearly half its time on small maps before it multiplies anything. Here several
lanes go through each call of torch together, in one of the ways of `small_ways`. `way_of` says which one is worth it.

Maps are `[K, B, C, H, W]`, float32. What comes out, and the gradient with respect to what comes in, has the channels
innermost in memory. A lane's numbers depend on nothing but that lane: every product is batched by lane, with the
same sizes whatever lanes are beside it, and never of one matrix alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from ablate.kernels.im2col_winograd import WAYS

Pair = Sequence[int]

# Where each way takes less of the time than oneDNN, forward and backward together: limits read off grids of layers on one core
# with AVX-512. Patches, at most 1 / 1.2 of it: 595 layers (1 to 64 channels, maps of 2x2 to 28x28, 32 to 256 examples, 10 lanes).
PATCH_VALUES = {
    "narrow": 2**15,
    "wide": 2**16,
    "one channel": 3 * 2**16,
}  # numbers in a lane's columns; for fewer than 12 channels out, for more, and of those for one channel in
# Winograd, at most 1 / 1.08: 104 layers (4 to 256 channels, 3x3 and 4x4 maps, 32 to 256 examples, 8 or 17 lanes).
TILE_CHANNELS = 16  # with as many in and out, maps that fill the tile always pay; else ...
TILE_ROWS = 2304  # ... examples times channels in and out
PART_ROWS = {
    True: 3072,
    False: 1536,
}  # the same for maps that do not fill the tile; for TILE_CHANNELS in or more, for fewer
PART_WEIGHTS = 512  # channels in times channels out, of such maps
IN_CACHE = 3 * 2**18  # numbers between two products, of the lanes taken together


def algorithm_for(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> str:
    """How to run the layer: one of WAYS, or "" (oneDNN, lane by lane). Depends on the sizes of one lane only."""
    plain = groups == 1 and tuple(dilation) == (1, 1) and x.device.type == "cpu" and x.numel() > 0
    if not plain or x.dtype != torch.float32 or weight.dtype != torch.float32:
        return ""
    sides = _sides(x, weight, stride, padding)
    out, channels, *kernel = weight.shape[1:]
    values = channels * prod(kernel) * x.shape[1] * prod(sides)  # numbers in a lane's columns
    by_threes = kernel == [3, 3] and tuple(stride) == (1, 1) and max(padding) <= 2
    kind = "narrow" if out < 12 else "wide" if channels > 1 else "one channel"
    if channels <= 4 and values <= PATCH_VALUES[kind]:
        return "patches"
    one_tile = by_threes and {*sides} <= {3, 4}
    return "winograd" if one_tile and _tile_pays(x.shape[1], channels, out, prod(sides)) else ""


def _tile_pays(examples: int, channels: int, out: int, outputs: int) -> bool:
    rows = examples * (channels + out)
    if outputs < 16:
        return rows <= PART_ROWS[channels >= TILE_CHANNELS] and channels * out <= PART_WEIGHTS
    return min(channels, out) >= TILE_CHANNELS or rows <= TILE_ROWS


def convolution(
    algorithm: str, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
) -> Tensor:
    """`[K, B, C, H, W]`, `[K, O, C, h, w]`, `[K, O]` -> `[K, B, O, H', W']`, as torch.conv2d lane by lane, up to rounding."""
    y: Tensor = _Small.apply(x, weight, bias, tuple(stride), tuple(padding), algorithm)  # type: ignore[no-untyped-call]
    return y


class _Small(torch.autograd.Function):
    """The layer in one of the ways, a few lanes at a time: as many as leave what is between two products in the cache."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None,
        stride: tuple[int, int], padding: tuple[int, int], algorithm: str,
    ) -> Tensor:  # fmt: skip
        y = _innermost(x, (*x.shape[:2], weight.shape[1], *_sides(x, weight, stride, padding)))
        parts = _parts(len(x), WAYS[algorithm].floats(weight.shape[1:], y.shape[1:]))
        kept = [
            WAYS[algorithm].forward(x[p], weight[p], None if bias is None else bias[p], stride, padding, y[p])
            for p in parts
        ]
        ctx.save_for_backward(x, weight, *(tensor for tensors in kept for tensor in tensors))
        ctx.algorithm, ctx.parts, ctx.stride, ctx.padding, ctx.bias = (
            algorithm,
            parts,
            stride,
            padding,
            bias is not None,
        )
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *kept = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (*_differentiably(ctx, gradient, x, weight), None, None, None)
        to_x = _innermost(x, x.shape) if ctx.needs_input_grad[0] else None
        to_weight = weight.new_empty(weight.shape) if ctx.needs_input_grad[1] else None
        to_bias = weight.new_empty(weight.shape[:2]) if ctx.needs_input_grad[2] else None
        each = len(kept) // len(ctx.parts)
        for i, p in enumerate(ctx.parts):
            gradients = [None if to is None else to[p] for to in (to_x, to_weight, to_bias)]
            own = kept[i * each : (i + 1) * each]
            WAYS[ctx.algorithm].backward(gradient[p], weight[p], own, ctx.stride, ctx.padding, *gradients)
        return to_x, to_weight, to_bias, None, None, None


def _sides(x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> list[int]:
    """The height and the width of the output."""
    each = zip(x.shape[3:], weight.shape[3:], stride, padding, strict=True)
    return [(side + 2 * pad - kernel) // step + 1 for side, kernel, step, pad in each]


def _parts(lanes: int, floats: int) -> list[slice]:
    """Lanes taken together: about as many as fit, never one alone beside others."""
    count = max(1, lanes // max(2, IN_CACHE // floats))
    return [slice(lanes * i // count, lanes * (i + 1) // count) for i in range(count)]


def _innermost(like: Tensor, shape: Sequence[int]) -> Tensor:
    """Room for `[K, B, C, H, W]` with the channels innermost in memory."""
    lanes, examples, channels, height, width = shape
    return like.new_empty(lanes, examples, height, width, channels).permute(0, 1, 4, 2, 3)


def gradients_by_lane(
    gradient: Tensor, x: Tensor, weight: Tensor, need: Sequence[bool], *, bias: bool, stride: Pair, padding: Pair,
    dilation: Pair = (1, 1), groups: int = 1,
) -> Sequence[Sequence[Tensor]]:  # fmt: skip
    """The gradients in x, weight and bias (those that are needed), of each lane: by an operation that has itself a gradient."""
    size = [weight.shape[1]] if bias else None
    rest = (size, list(stride), list(padding), list(dilation), False, [0, 0], groups, list(need))
    lanes = zip(gradient, x, weight, strict=True)
    return list(zip(*(torch.ops.aten.convolution_backward(*lane, *rest) for lane in lanes), strict=True))


def _differentiably(ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor | None, ...]:
    need = ctx.needs_input_grad[:3]
    columns = gradients_by_lane(
        gradient, x, weight, need, bias=ctx.bias, stride=ctx.stride, padding=ctx.padding
    )
    return tuple(torch.stack(list(to)) if needed else None for to, needed in zip(columns, need, strict=True))
