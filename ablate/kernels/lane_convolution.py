"""Convolutions of K lanes on a CPU, each with its own weights: lane by lane, as one autograd node."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ablate.kernels.batched_matmul import autocast
from ablate.kernels.memory_format import match_layout, stack_lanes


def is_plain_convolution(layer: nn.Module) -> bool:
    """Whether it is a 2-d convolution with explicit zero padding."""
    return type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def convolved(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution of `layer` with these weights: `[K, B, C, H, W]` -> `[K, B, O, H', W']`."""
    x, weight, bias = autocast(x, weight, bias)
    settings = (layer.stride, layer.padding, layer.dilation, layer.groups)
    y: Tensor = _Convolution.apply(x, weight, bias, *settings)  # type: ignore[no-untyped-call]
    return y


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None,
        stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...], groups: int,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, weight)
        size = None if bias is None else [weight.shape[1]]
        ctx.settings = (size, list(stride), list(padding), list(dilation), False, [0] * len(stride), groups)
        lanes = zip(x, weight, [None] * len(x) if bias is None else bias, strict=True)
        return stack_lanes([torch.conv2d(*lane, stride, padding, dilation, groups) for lane in lanes], x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        need = ctx.needs_input_grad[:3]
        lanes = zip(match_layout(grad, x), x, weight, strict=True)
        grads = [torch.ops.aten.convolution_backward(*lane, *ctx.settings, need) for lane in lanes]
        grad_x, grad_weight, grad_bias = zip(*grads, strict=True)
        return (
            stack_lanes(grad_x, x) if need[0] else None,
            torch.stack(grad_weight) if need[1] else None,
            torch.stack(grad_bias) if need[2] else None,
            None, None, None, None,
        )  # fmt: skip
