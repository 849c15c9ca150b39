"""Activations of several lanes, each lane's own, written side by side into one tensor: no copies to split and join them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import isnan, nan
from typing import Any

import torch
from torch import Tensor, nn

from ablate.compiled import is_used
from ablate.surgery.compiled_call import call

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


def slope_of(layer: nn.Module) -> float:
    """What a rectifier multiplies negative numbers by, 1 for the identity; no number for other layers."""
    if type(layer) is nn.LeakyReLU:
        return layer.negative_slope
    return {nn.ReLU: 0.0, nn.Identity: 1.0}.get(type(layer), nan)


def pointwise(x: Tensor, layers: Sequence[nn.Module], lengths: Sequence[int]) -> Tensor:
    """Neighbouring lanes of contiguous `x` `[K, …]`, in parts of these `lengths`, each through its layer (of `KINDS`)."""
    y: Tensor = _Pointwise.apply(x, tuple(layers), tuple(lengths))  # type: ignore[no-untyped-call]
    return y


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: tuple[nn.Module, ...], lengths: tuple[int, ...]) -> Tensor:
        y = torch.empty_like(x)
        ctx.slopes = slopes = _slopes(x, layers, lengths)
        if slopes is not None:
            from ablate.compiled.rectify import rectified

            call(rectified(backward=False), (x, slopes, y), (len(x), x[0].numel()))
        for layer, own, out in _others(slopes, layers, lengths, x, y):
            KINDS[type(layer)][0](layer, own, out)
        ctx.save_for_backward(x, y)
        ctx.layers, ctx.lengths = layers, lengths
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            again = torch.cat([layer(own) for layer, own in parts(ctx.layers, ctx.lengths, x)])
            (to_x,) = torch.autograd.grad(again, x, gradient, create_graph=True)
            return to_x, None, None
        to_x, gradient = torch.empty_like(x), gradient.contiguous()
        if ctx.slopes is not None:
            from ablate.compiled.rectify import rectified

            call(rectified(backward=True), (x, ctx.slopes, gradient, to_x), (len(x), x[0].numel()))
        for layer, *own in _others(ctx.slopes, ctx.layers, ctx.lengths, gradient, x, y, to_x):
            KINDS[type(layer)][1](layer, *own)
        return to_x, None, None


def _slopes(x: Tensor, layers: tuple[nn.Module, ...], lengths: tuple[int, ...]) -> Tensor | None:
    """Each lane's `slope_of`, where compiled code runs them."""
    if not is_used() or x.device.type != "cpu" or x.dtype != torch.float32 or x.numel() == 0:
        return None
    return _spread(tuple(map(slope_of, layers)), lengths)


@lru_cache(maxsize=256)
def _spread(slopes: tuple[float, ...], lengths: tuple[int, ...]) -> Tensor:
    rows = zip(slopes, lengths, strict=True)
    return torch.tensor([slope for slope, count in rows for _ in range(count)], dtype=torch.float32)


def _others(
    slopes: Tensor | None, layers: Sequence[nn.Module], lengths: Sequence[int], *tensors: Tensor
) -> list[tuple[Any, ...]]:
    """The parts that compiled code does not run."""
    if slopes is None:
        return parts(layers, lengths, *tensors)
    found, first = [], 0
    for layer, count in zip(layers, lengths, strict=True):
        if isnan(slope_of(layer)):
            found.append((layer, *(tensor[first : first + count] for tensor in tensors)))
        first += count
    return found


def parts(layers: Sequence[nn.Module], lengths: Sequence[int], *tensors: Tensor) -> list[tuple[Any, ...]]:
    """Each layer with its lanes of all `tensors`."""
    columns = [torch.split(tensor, list(lengths)) for tensor in tensors]
    return list(zip(layers, *columns, strict=True))
