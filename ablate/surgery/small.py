"""Small 2-d convolutions of K lanes on a CPU, each lane with its own weights, as few products of matrices.

oneDNN, called once a lane, spends nearly half its time on small maps before it multiplies anything. Here all lanes go
through each call of torch together. Two ways, each for its own kind of layer (`way_of` says which, if any):

- "patches": every patch of the input is a column (im2col), the layer one product. For few channels in.
- "winograd": F(4x4, 3x3) of Lavin & Gray 2016 (arXiv 1509.09308), for 3x3 kernels and maps of one tile. In each
  of 36 points the layer is one product of channels by channels, a quarter of the multiplications for a 4x4 map.

Maps are `[K, B, C, H, W]`. What comes out, and the gradient with respect to what comes in, has the channels innermost
in memory. float32. A lane's numbers depend on nothing but that lane: every product is batched by lane, with the
same sizes a lane, and never of one matrix alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor

Pair = Sequence[int]


def way_of(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> str:
    """How to run the layer: "patches", "winograd", or "" (oneDNN, lane by lane), from the sizes of one lane."""
    if x.dtype != torch.float32 or weight.dtype != torch.float32 or groups != 1 or tuple(dilation) != (1, 1):
        return ""
    return ""


def convolution(
    way: str, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
) -> Tensor:
    """`[K, B, C, H, W]`, `[K, O, C, h, w]`, `[K, O]` -> `[K, B, O, H', W']`, as torch.conv2d lane by lane, up to rounding."""
    y: Tensor
    if way == "winograd":
        y = _Winograd.apply(x, weight, bias, tuple(padding))  # type: ignore[no-untyped-call]
    else:
        y = _Patches.apply(x, weight, bias, tuple(stride), tuple(padding))  # type: ignore[no-untyped-call]
    return y


class _Patches(torch.autograd.Function):
    """[patches | 1] · [weight | bias], with the examples innermost in memory, so that patches are copied by long runs."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        lanes, examples, channels, height, width = x.shape
        (up, left), kernel = padding, weight.shape[-2:]
        padded = x.new_zeros(lanes, channels, height + 2 * up, width + 2 * left, examples)
        padded[:, :, up : up + height, left : left + width] = x.permute(0, 2, 3, 4, 1)
        patches = _patches(padded, kernel, stride)
        values = channels * kernel.numel()
        columns = x.new_empty(lanes, values + (bias is not None), patches.shape[4:].numel())
        columns[:, :values].view(patches.shape).copy_(patches)
        rows = weight.flatten(2)
        if bias is not None:
            columns[:, values] = 1
            rows = torch.cat([rows, bias[..., None]], 2)
        ctx.save_for_backward(x, weight, columns)
        ctx.rest, ctx.bias = (stride, padding), bias is not None
        return _unpacked(_product(columns.mT, rows.mT), (examples, *patches.shape[4:6]))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return (*_differentiably(ctx, gradient), None, None)
        x, weight, columns = ctx.saved_tensors
        stride, (up, left) = ctx.rest
        own, to_x, to_weight, to_bias = _packed(gradient), None, None, None
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            rows = _product(columns, own)
            values = weight[0, 0].numel()
            to_weight = rows[:, :values].mT.reshape(weight.shape)
            to_bias = rows[:, values] if ctx.bias else None
        if ctx.needs_input_grad[0]:
            lanes, examples, channels, height, width = x.shape
            high, wide = weight.shape[-2:]
            padded = x.new_zeros(lanes, channels, height + 2 * up, width + 2 * left, examples)
            patches = _patches(padded, (high, wide), stride)
            parts = _product(weight.flatten(2).mT, own.mT).view(patches.shape)
            for i in range(high):
                for j in range(wide):
                    patches[:, :, i, j] += parts[:, :, i, j]
            inside = padded[:, :, up : up + height, left : left + width]
            to_x = inside.permute(0, 4, 2, 3, 1).contiguous().permute(0, 1, 4, 2, 3)
        return to_x, to_weight, to_bias, None, None


def _patches(padded: Tensor, kernel: Pair, stride: Pair) -> Tensor:
    """`[K, C, H, W, B]` seen as `[K, C, h, w, H', W', B]`: at each place of the kernel, what it meets."""
    windows = padded.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1])
    return windows.permute(0, 1, 5, 6, 2, 3, 4)


class _Winograd(torch.autograd.Function):
    """Y = Aᵀ [Σ (G w Gᵀ) ⊙ (Bᵀ x B)] A, the sum over channels; tiles are kept as `[K, 36, B, C]`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        lanes, examples, channels, height, width = x.shape
        into, out, kernel = _transforms(height, width, padding)
        tiles = _transformed(_packed(x), into, (height, width)).view(lanes * 36, examples, channels)
        points = _product(kernel.expand(lanes, -1, -1), weight.reshape(lanes, -1, 9).mT)
        points = points.view(lanes * 36, -1, channels)
        sums = torch.bmm(tiles, points.mT).view(lanes, 36 * examples, -1)
        ctx.save_for_backward(x, weight, tiles, points)
        ctx.rest, ctx.bias = ((1, 1), padding), bias is not None
        size = (examples, len(out[0]), len(out[1]))
        return _unpacked(_transformed(sums, out, (6, 6)), size, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return (*_differentiably(ctx, gradient), None)
        x, weight, tiles, points = ctx.saved_tensors
        lanes, examples, _, height, width = x.shape
        into, out, kernel = _transforms(height, width, ctx.rest[1])
        own, to_x, to_weight, to_bias = _packed(gradient), None, None, None
        sums = _transformed(own, _transposed(out), gradient.shape[3:]).view(lanes * 36, examples, -1)
        if ctx.needs_input_grad[0]:
            back = torch.bmm(sums, points).view(lanes, 36 * examples, -1)
            to_x = _unpacked(_transformed(back, _transposed(into), (6, 6)), (examples, height, width))
        if ctx.needs_input_grad[1]:
            back = torch.bmm(sums.mT, tiles).view(lanes, 36, -1)
            to_weight = _product(back.mT, kernel.expand(lanes, -1, -1)).view(weight.shape)
        if ctx.needs_input_grad[2]:
            to_bias = own.sum(1)
        return to_x, to_weight, to_bias, None


Matrices = tuple[Tensor, Tensor]


def _transformed(rows: Tensor, matrices: Matrices, size: Pair) -> Tensor:
    """Maps `[K, H W B, C]` (size: H, W), their columns and their rows multiplied by matrices: `[K, H' W' B, C]`."""
    lanes, channels = len(rows), rows.shape[-1]
    down, across = matrices
    x = rows.view(lanes * size[0], size[1], -1)
    x = _product(across.expand(len(x), -1, -1), x).view(lanes, size[0], -1)
    return _product(down.expand(lanes, -1, -1), x).view(lanes, -1, channels)


def _transposed(matrices: Matrices) -> Matrices:
    return matrices[0].mT, matrices[1].mT


@cache
def _transforms(height: int, width: int, padding: tuple[int, int]) -> tuple[Matrices, Matrices, Tensor]:
    """For a map of one tile: Bᵀ (`[6, H]`, `[6, W]`), Aᵀ (`[H', 6]`, `[W', 6]`), G ⊗ G `[36, 9]`.

    The columns of Bᵀ that would meet padding, and the rows of Aᵀ beyond the output, are left out.
    """
    into, kernel, out = (torch.tensor(rows, dtype=torch.float64) for rows in _toom_cook())
    sides = list(zip((height, width), padding, strict=True))
    down, across = (into[:, pad : pad + side].float() for side, pad in sides)
    up, left = (out[: side + 2 * pad - 2].float() for side, pad in sides)
    return (down, across), (up, left), torch.kron(kernel, kernel).float()


# Reciprocal points with changed signs, as Barabasz et al. 2018 (arXiv 1803.10986) advise. Root mean square error
# 3.3 times oneDNN's; with 0, ±1, ±2, which Lavin & Gray take, 7 times (16 channels, 4x4 maps, normal data).
POINTS = (Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2))
_Rows = list[list[float]]


def _toom_cook() -> tuple[_Rows, _Rows, _Rows]:
    """Bᵀ `[6, 6]`, G `[6, 3]`, Aᵀ `[4, 6]` of F(4, 3) from POINTS and infinity (Barabasz et al. 2018, algorithm 1)."""
    into: _Rows = []
    kernel: _Rows = []
    for point in POINTS:
        others = [other for other in POINTS if other != point]
        into.append([*map(float, _with_roots(others)), 0.0])
        scale = prod(point - other for other in others)
        kernel.append([float(point**power / scale) for power in range(3)])
    into.append([*map(float, _with_roots(POINTS))])
    kernel.append([0.0, 0.0, 1.0])
    out = [[*(float(point**power) for point in POINTS), float(power == 3)] for power in range(4)]
    return into, kernel, out


def _with_roots(roots: Sequence[Fraction]) -> list[Fraction]:
    """The coefficients of the product of all (t - root), that of the lowest power first."""
    found = [Fraction(1)]
    for root in roots:
        found = [
            low - root * high for low, high in zip([Fraction(0), *found], [*found, Fraction(0)], strict=True)
        ]
    return found


def _product(a: Tensor, b: Tensor) -> Tensor:
    """`[K, m, k]`, `[K, k, n]` -> `[K, m, n]`. Of one lane alone twice: one matrix alone goes to another routine."""
    if len(a) == 1:
        return torch.bmm(a.expand(2, -1, -1), b.expand(2, -1, -1))[:1]
    return torch.bmm(a, b)


def _packed(x: Tensor) -> Tensor:
    """`[K, B, C, H, W]` -> `[K, H W B, C]`."""
    return x.permute(0, 3, 4, 1, 2).reshape(len(x), -1, x.shape[2])


def _unpacked(rows: Tensor, size: Sequence[int], bias: Tensor | None = None) -> Tensor:
    """`[K, H W B, C]` + `[K, C]` -> `[K, B, C, H, W]` with the channels innermost in memory. size: B, H, W."""
    examples, height, width = size
    y = rows.view(len(rows), height, width, examples, -1).permute(0, 3, 1, 2, 4)
    if bias is None:
        return y.contiguous().permute(0, 1, 4, 2, 3)
    laid = torch.add(y, bias[:, None, None, None], out=rows.new_empty(y.shape))
    return laid.permute(0, 1, 4, 2, 3)


def _differentiably(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients, lane by lane by an operation that has itself a gradient."""
    x, weight = ctx.saved_tensors[:2]
    stride, padding = ctx.rest
    need = list(ctx.needs_input_grad[:3])
    size = [weight.shape[1]] if ctx.bias else None
    rows = [
        torch.ops.aten.convolution_backward(*lane, size, stride, padding, [1, 1], False, [0, 0], 1, need)
        for lane in zip(gradient, x, weight, strict=True)
    ]
    return tuple(
        torch.stack(to) if needed else None for to, needed in zip(zip(*rows, strict=True), need, strict=True)
    )
