"""Activations of several lanes, each lane's own, written side by side into one tensor: no copies to split and join them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ablate.kernels.memory_format import is_innermost

aten = torch.ops.aten
Forward = Callable[[Any, Tensor, Tensor], Any]
"""(layer, x, where to write y)"""
Backward = Callable[[Any, Tensor, Tensor, Tensor, Tensor], Any]
"""(layer, gradient in y, x, y, where to write the gradient in x)"""

KINDS: dict[type[nn.Module], tuple[Forward, Backward]] = {
    nn.Identity: (
        lambda layer, x, out: out.copy_(x),
        lambda layer, g, x, y, out: out.copy_(g),
    ),
    nn.ReLU: (
        lambda layer, x, out: torch.clamp_min(x, 0, out=out),
        lambda layer, g, x, y, out: aten.threshold_backward.grad_input(g, y, 0, grad_input=out),
    ),
    nn.LeakyReLU: (
        lambda layer, x, out: aten.leaky_relu.out(x, layer.negative_slope, out=out),
        lambda layer, g, x, y, out: aten.leaky_relu_backward.grad_input(
            g, x, layer.negative_slope, False, grad_input=out
        ),
    ),
    nn.GELU: (
        lambda layer, x, out: aten.gelu.out(x, approximate=layer.approximate, out=out),
        lambda layer, g, x, y, out: aten.gelu_backward.grad_input(
            g, x, approximate=layer.approximate, grad_input=out
        ),
    ),
    nn.SiLU: (
        lambda layer, x, out: aten.silu.out(x, out=out),
        lambda layer, g, x, y, out: aten.silu_backward.grad_input(g, x, grad_input=out),
    ),
    nn.Tanh: (
        lambda layer, x, out: torch.tanh(x, out=out),
        lambda layer, g, x, y, out: aten.tanh_backward.grad_input(g, y, grad_input=out),
    ),
    nn.Sigmoid: (
        lambda layer, x, out: torch.sigmoid(x, out=out),
        lambda layer, g, x, y, out: aten.sigmoid_backward.grad_input(g, y, grad_input=out),
    ),
}


class Lanes:
    """Neighbouring lanes, in parts of these `lengths`, each with its layer (of `KINDS`): what no step changes, worked out once."""

    def __init__(self, layers: Sequence[nn.Module], lengths: Sequence[int]) -> None:
        firsts = [sum(lengths[:i]) for i in range(len(lengths))]
        slices = (slice(first, first + count) for first, count in zip(firsts, lengths, strict=True))
        self.parts = list(zip(layers, slices, strict=True))


def pointwise(x: Tensor, lanes: Lanes) -> Tensor:
    """`x` `[K, …]`, each part of the lanes through its layer; in memory as `x` is."""
    inside = x.movedim(2, -1) if is_innermost(x) else x
    y: Tensor = _Pointwise.apply(inside.contiguous(), lanes)  # type: ignore[no-untyped-call]
    return y.movedim(-1, 2) if is_innermost(x) else y


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, lanes: Lanes) -> Tensor:
        y = torch.empty_like(x)
        for layer, own in lanes.parts:
            KINDS[type(layer)][0](layer, x[own], y[own])
        ctx.save_for_backward(x, y)
        ctx.lanes = lanes
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, y), lanes = ctx.saved_tensors, ctx.lanes
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            again = torch.cat([layer(x[own]) for layer, own in lanes.parts])
            return torch.autograd.grad(again, x, gradient, create_graph=True)[0], None
        to_x, gradient = torch.empty_like(x), gradient.contiguous()
        for layer, own in lanes.parts:
            KINDS[type(layer)][1](layer, gradient[own], x[own], y[own], to_x[own])
        return to_x, None
