"""`nn.Conv1d`: small ones compiled or as a product of windows and weights, large ones lane by lane."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.kernels.compiled import op_cache
from ablate.kernels.compiled_convolution import Convolution1dOp
from ablate.kernels.functional_rules import linear_product
from ablate.kernels.fused import FusedOp, compilable_prefix, is_compilable
from ablate.kernels.registry import register_stacked
from ablate.kernels.rules.torch_layers import by_lane

SMALL = 2**14
"""Weights up to which lanes share a product; beyond, torch's own convolution is as fast."""


@register_stacked(nn.Conv1d)
def convolution_1d(layer: nn.Conv1d, x: Tensor) -> Tensor:
    """`[K, B, C, T]` -> `[K, B, O, T']`."""
    weight, bias = layer.weight, layer.bias
    plain = layer.padding_mode == "zeros" and layer.groups == 1
    if not plain or isinstance(layer.padding, str) or x.ndim != 4 or weight[0].numel() > SMALL:
        return by_lane(layer, x)
    (size,), (stride,), (padding,), (dilation,) = (
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
    )
    padded = F.pad(x.mT, (0, 0, padding, padding)) if padding else x.mT  # [K, B, T, C]
    if stride == dilation == 1:
        op = Convolution1dOp(layer.in_channels, layer.out_channels, size, bias is not None)
        if (cache := op_cache()) is not None and is_compilable(padded) and compilable_prefix([op], padded):
            fused = cache.setdefault(op, FusedOp([op]))
            convolved: Tensor = fused(padded, [weight] if bias is None else [weight, bias])
            return convolved.mT
    windows: Tensor = _Windows.apply(padded, size, stride, dilation)  # type: ignore[no-untyped-call]
    y = linear_product(windows, weight.transpose(2, 3).flatten(2), bias)
    return y.mT


def windows_of(x: Tensor, size: int, stride: int, dilation: int) -> Tensor:
    """`[K, B, T, C]` -> the windows `[K, B, T', size · C]`."""
    if dilation == 1:
        channels = x.shape[-1]
        return x.contiguous().flatten(2).unfold(2, size * channels, stride * channels).contiguous()
    steps = (x.shape[2] - dilation * (size - 1) - 1) // stride + 1
    starts = range(0, dilation * size, dilation)
    return torch.cat([x[:, :, at : at + (steps - 1) * stride + 1 : stride] for at in starts], -1)


def summed_windows(windows: Tensor, length: int, size: int, stride: int, dilation: int) -> Tensor:
    """The transpose of `windows_of`: windows added where they came from, `[K, B, T, C]` with T = `length`."""
    x = windows.new_zeros(*windows.shape[:2], length, windows.shape[-1] // size)
    for number, part in enumerate(windows.chunk(size, -1)):
        at = number * dilation
        x[:, :, at : at + (windows.shape[2] - 1) * stride + 1 : stride] += part
    return x


class _Windows(torch.autograd.Function):
    """`windows_of`. Its gradient is one buffer to which windows are added; autograd would make one for each position in a window."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *sizes: int) -> Tensor:
        ctx.sizes = (x.shape[2], *sizes)
        return windows_of(x, *sizes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _SummedWindows.apply(gradient, *ctx.sizes), None, None, None  # type: ignore[no-untyped-call]


class _SummedWindows(torch.autograd.Function):
    """`summed_windows`, for second gradients too."""

    @staticmethod
    def forward(ctx: Any, windows: Tensor, *sizes: int) -> Tensor:
        ctx.sizes = sizes[1:]
        return summed_windows(windows, *sizes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _Windows.apply(gradient, *ctx.sizes), None, None, None, None  # type: ignore[no-untyped-call]
