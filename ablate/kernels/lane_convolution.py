"""Convolutions of K lanes on a CPU, each lane with its own weights: lane by lane, as one node of autograd's graph."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from ablate.kernels import small_convolution
from ablate.kernels.batched_matmul import autocast
from ablate.kernels.memory_format import match_layout, together


def is_plain_convolution(layer: nn.Module) -> bool:
    """Whether it is a 2-d convolution with a number of zeros as padding."""
    return type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def convolved(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution of `layer` with these weights: `[K, B, C, H, W]` -> `[K, B, O, H', W']`. On small maps as products of
    matrices for all lanes, else lane by lane; which of them never depends on the number of lanes."""
    x, weight, bias = autocast(x, weight, bias)
    padding = cast(tuple[int, int], layer.padding)
    if algorithm := small_convolution.algorithm_for(
        x, weight, layer.stride, padding, layer.dilation, layer.groups
    ):
        return small_convolution.convolution(algorithm, x, weight, bias, layer.stride, padding)
    y: Tensor = _Convolution.apply(x, weight, bias, layer.stride, padding, layer.dilation, layer.groups)  # type: ignore[no-untyped-call]
    return y


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None,
        stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...], groups: int,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, weight)
        ctx.bias = bias is not None
        ctx.how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        lanes = zip(x, weight, [None] * len(x) if bias is None else bias, strict=True)
        return together([torch.conv2d(*lane, stride, padding, dilation, groups) for lane in lanes], x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        need = ctx.needs_input_grad[:3]
        to_x, to_weight, to_bias = small_convolution.gradients_by_lane(
            match_layout(gradient, x), x, weight, need, bias=ctx.bias, **ctx.how
        )
        return (
            together(to_x, x) if need[0] else None,
            torch.stack(list(to_weight)) if need[1] else None,
            torch.stack(list(to_bias)) if need[2] else None,
            None, None, None, None,
        )  # fmt: skip
