"""Standardisation of K lanes at once, in operations that all lanes share.

    y = γ_c (x − μ) / √(σ² + ε) + β_c,    μ, σ²: of a lane's channel group, over positions and perhaps examples

torch's norms run one lane per call, which for small layers is mostly overhead, and group norm is slow for small groups.
A lane's bits do not depend on the other lanes: sums run over whole dimensions of a lane, group means are matrix products batched by
lane, and the rest is elementwise arithmetic, which rounds identically in vectorised and scalar code.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor

from ablate.kernels.batched_matmul import product
from ablate.kernels.broadcasting import by_channel, by_lane
from ablate.kernels.memory_format import match_layout


def standardized(
    x: Tensor, tensors: Mapping[str, Tensor], *, over_examples: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(y, μ, σ²): y like x `[K, B, C, …]`; μ and σ² `[K, 1 or B, C, 1, …]`, without gradients.

    `tensors`: "weight" and "bias" `[K, C]`, "eps" `[K]`, and "channels_per_group" `[K]` if channels form groups.
    """
    given = (
        tensors["weight"],
        tensors["bias"],
        tensors["eps"],
        tensors.get("channels_per_group"),
        over_examples,
    )
    result: tuple[Tensor, Tensor, Tensor] = _Standardize.apply(x, *given)  # type: ignore[no-untyped-call]
    return result


def standardized_eager(x: Tensor, tensors: Mapping[str, Tensor], *, over_examples: bool) -> Tensor:
    """y by differentiable operators."""
    mean_of = _GroupMeans(x, tensors.get("channels_per_group"), over_examples)
    return _standardized_eager(x, tensors["weight"], tensors["bias"], tensors["eps"], mean_of)


class _GroupMeans:
    """Means over the elements that share statistics, for activations of one shape."""

    def __init__(self, x: Tensor, group_size: Tensor | None, over_examples: bool) -> None:
        self.dims = [1] * over_examples + list(range(3, x.ndim))
        self.count = prod(x.shape[dim] for dim in self.dims)
        self.shares: Tensor | None = None
        if group_size is not None:
            size = group_size[:, None, None]
            group = torch.arange(x.shape[2], device=x.device).div(size, rounding_mode="floor")
            same = (group == group.mT).to(x.dtype)
            self.shares = same / (size.to(x.dtype) * self.count)

    def sums(self, x: Tensor) -> Tensor:
        """Means by channel: `[K, 1 or B, C, 1, …]` of `[K, B, C, …]`."""
        return x.sum(self.dims, keepdim=True) if self.dims else x

    def pooled(self, sums: Tensor) -> Tensor:
        """For each channel the mean of its group, from the channels' sums."""
        if self.shares is None:
            return sums / self.count
        return product(sums.flatten(2), self.shares).view(sums.shape)

    def __call__(self, x: Tensor) -> Tensor:
        return self.pooled(self.sums(x))


class _Standardize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: Tensor,
        group_size: Tensor | None,
        over_examples: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = x.to(torch.promote_types(x.dtype, weight.dtype))
        mean_of = _GroupMeans(wide, group_size, over_examples)
        mean = mean_of(wide)
        normal = wide - mean
        variance = mean_of(normal * normal)
        inverse = (variance + by_lane(eps, x).to(wide.dtype)).rsqrt_()
        normal *= inverse
        y = normal * by_channel(weight, x)
        y += by_channel(bias, x)
        ctx.save_for_backward(x, weight, bias, eps, normal, inverse)
        ctx.mean_of = mean_of
        ctx.mark_non_differentiable(mean, variance)
        return y.to(x.dtype), mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, eps, normal, inverse = ctx.saved_tensors
        mean_of: _GroupMeans = ctx.mean_of
        if torch.is_grad_enabled():  # double backward
            given = (x, weight, bias)
            again = _standardized_eager(*given, eps, mean_of)
            return (*torch.autograd.grad(again, given, gradient, create_graph=True), None, None, None)
        gradient = match_layout(gradient.to(normal.dtype), normal)
        scale = by_channel(weight, x)
        along = gradient * normal
        sums, moments = mean_of.sums(gradient), mean_of.sums(along)
        to_bias, to_weight = (each.flatten(2).sum(1) for each in (sums, moments))
        shift, slope = (mean_of.pooled(each * scale) for each in (sums, moments))
        to_x = gradient * scale
        to_x -= shift
        to_x -= torch.mul(normal, slope, out=along)
        to_x *= inverse
        return to_x.to(x.dtype), to_weight.to(weight.dtype), to_bias.to(bias.dtype), None, None, None


def _standardized_eager(x: Tensor, weight: Tensor, bias: Tensor, eps: Tensor, mean_of: _GroupMeans) -> Tensor:
    centred = x.to(torch.promote_types(x.dtype, weight.dtype))
    centred = centred - mean_of(centred)
    inverse = (mean_of(centred * centred) + by_lane(eps, x).to(centred.dtype)).rsqrt()
    return (centred * inverse * by_channel(weight, x) + by_channel(bias, x)).to(x.dtype)
