"""Matrix products batched by lane, whose results in one lane do not depend on the other lanes.

BLAS is several times slower for results of few columns (16 lanes, [256, 64] times [64, 10]: 0.43 ms; its transpose, [10, 64] times
[64, 256]: 0.13 ms, one core of an AMD EPYC). The sizes of one lane decide which of the two is computed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NARROW = 16
"""A result with fewer columns is computed as its transpose."""
LARGE = 2**12
"""Number of weights above which it is faster to compute their gradient in memory order, which autograd would transpose."""


def product(a: Tensor, b: Tensor) -> Tensor:
    """`[K, m, k]`, `[K, k, n]` -> `[K, m, n]`. A single matrix, for which torch uses another routine, is multiplied twice."""
    if len(a) == 1:
        return torch.bmm(a.expand(2, -1, -1), b.expand(2, -1, -1))[:1]
    return torch.bmm(a, b)


def autocast(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """A layer's operands in the type that autocast, if enabled, multiplies in: custom autograd functions have to cast themselves."""
    if not torch.is_autocast_enabled(x.device.type):
        return x, weight, bias
    dtype = torch.get_autocast_dtype(x.device.type)
    return x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x Wᵀ + b: `[K, B, …, I]`, `[K, O, I]`, `[K, O]` -> `[K, B, …, O]`."""
    x, weight, bias = autocast(x, weight, bias)
    rows = x.flatten(1, -2)
    y: Tensor
    if weight.shape[1] >= NARROW and weight[0].numel() < LARGE:
        y = _affine(rows, weight, bias)
    else:
        y = _Affine.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
    return y if x.ndim == 3 else y.view(*x.shape[:-1], -1)


def _affine(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if bias is None:
        return product(rows, weight.mT)
    if len(rows) == 1:
        rows, weight, bias = rows.expand(2, -1, -1), weight.expand(2, -1, -1), bias.expand(2, -1)
        return torch.baddbmm(bias[:, None], rows, weight.mT)[:1]
    return torch.baddbmm(bias[:, None], rows, weight.mT)


class _Affine(torch.autograd.Function):
    """`[K, N, I]`, `[K, O, I]`, `[K, O]` -> `[K, N, O]`; its gradients are made of products, and so have gradients themselves."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        if not weight.shape[1] < NARROW <= rows.shape[1]:
            return _affine(rows, weight, bias)
        y = product(weight, rows.mT).mT.contiguous()
        return y if bias is None else y.add_(bias[:, None])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        need = ctx.needs_input_grad
        to_rows = product(gradient, weight) if need[0] else None
        to_weight = None
        if need[1]:
            wide = rows.shape[2] >= min(NARROW, weight.shape[1])
            to_weight = product(gradient.mT, rows) if wide else product(rows.mT, gradient).mT
        return to_rows, to_weight, gradient.sum(1) if need[2] else None
