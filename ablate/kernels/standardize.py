"""Standardisation of K lanes at once, in operations that all lanes share.

    y = γ_c (x − μ) / √(σ² + ε) + β_c,    μ, σ²: of a lane's channel group, over positions and perhaps examples; or μ of the channel, or 0

torch's norms run one lane per call, which for small layers is mostly overhead, and group norm is slow for small groups.
A lane's bits do not depend on the other lanes: sums run over whole dimensions of a lane, group means are matrix products batched by
lane, and the rest is elementwise arithmetic, which rounds identically in vectorised and scalar code.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ablate.kernels.batched_matmul import product
from ablate.kernels.broadcasting import by_channel, by_lane
from ablate.kernels.memory_format import match_layout
from ablate.kernels.torch_norms import AnyNorm


class Statistics(NamedTuple):
    """Which statistics: the attributes of `surgery.norms.Norm`."""

    over_examples: bool
    centred: Literal["group", "channel", "not"] = "group"

    @classmethod
    def of(cls, layer: AnyNorm) -> Statistics:
        """The statistics that `layer` takes."""
        return cls(layer.over_examples, layer.centred)


def standardized(
    x: Tensor, tensors: Mapping[str, Tensor], statistics: Statistics
) -> tuple[Tensor, Tensor, Tensor]:
    """(y, μ, σ²): y like x `[K, B, C, …]`; μ and σ² `[K, 1 or B, C, 1, …]`, without gradients; μ is empty where it is 0.

    `tensors`: "weight" and, if there is one, "bias" `[K, C]`, "eps" `[K]`, and "channels_per_group" `[K]` if channels form groups.
    """
    inputs = (
        tensors["weight"],
        tensors.get("bias"),
        tensors["eps"],
        tensors.get("channels_per_group"),
        statistics,
    )
    result: tuple[Tensor, Tensor, Tensor] = _Standardize.apply(x, *inputs)  # type: ignore[no-untyped-call]
    return result


def standardized_eager(x: Tensor, tensors: Mapping[str, Tensor], statistics: Statistics) -> Tensor:
    """y by differentiable operators."""
    means = _Means(x, tensors.get("channels_per_group"), statistics)
    return _standardized_eager(x, tensors["weight"], tensors.get("bias"), tensors["eps"], means)


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
        """The mean of each channel's group, from the channels' sums."""
        if self.shares is None:
            return sums / self.count
        return product(sums.flatten(2), self.shares).view(sums.shape)

    def __call__(self, x: Tensor) -> Tensor:
        return self.pooled(self.sums(x))


class _Means:
    """`of_squares` gives the means whose root divides, `of_values` those that are subtracted, if any are."""

    def __init__(self, x: Tensor, group_size: Tensor | None, statistics: Statistics) -> None:
        over_examples, centred = statistics
        self.of_squares = _GroupMeans(x, group_size, over_examples)
        self.of_values: _GroupMeans | None = self.of_squares
        if centred != "group":
            self.of_values = _GroupMeans(x, None, over_examples) if centred == "channel" else None


class _Standardize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        eps: Tensor,
        group_size: Tensor | None,
        statistics: Statistics,
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = x.to(torch.promote_types(x.dtype, weight.dtype))
        means = _Means(wide, group_size, statistics)
        mean = wide.new_empty(0) if means.of_values is None else means.of_values(wide)
        normal = wide if means.of_values is None else wide - mean
        variance = means.of_squares(normal * normal)
        inverse = (variance + by_lane(eps, x).to(wide.dtype)).rsqrt_()
        normal = normal * inverse if normal is wide else normal.mul_(inverse)
        y = normal * by_channel(weight, x)
        if bias is not None:
            y += by_channel(bias, x)
        ctx.save_for_backward(x, weight, bias, eps, normal, inverse)
        ctx.means = means
        ctx.mark_non_differentiable(mean, variance)
        return y.to(x.dtype), mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, eps, normal, inverse = ctx.saved_tensors
        means: _Means = ctx.means
        if torch.is_grad_enabled():  # double backward
            inputs = [tensor for tensor in (x, weight, bias) if tensor is not None]
            output = _standardized_eager(x, weight, bias, eps, means)
            gradients = torch.autograd.grad(output, inputs, gradient, create_graph=True)
            return (*gradients, *[None] * (6 - len(gradients)))
        gradient = match_layout(gradient.to(normal.dtype), normal)
        scale = by_channel(weight, x)
        along = gradient * normal
        moments = means.of_squares.sums(along)
        to_weight = moments.flatten(2).sum(1).to(weight.dtype)
        to_bias = None
        to_x = gradient * scale
        if bias is not None or means.of_values is not None:
            sums = means.of_squares.sums(gradient)
            to_bias = None if bias is None else sums.flatten(2).sum(1).to(bias.dtype)
            if means.of_values is not None:
                to_x -= means.of_values.pooled(sums * scale)
        to_x -= torch.mul(normal, means.of_squares.pooled(moments * scale), out=along)
        to_x *= inverse
        return to_x.to(x.dtype), to_weight, to_bias, None, None, None


def _standardized_eager(x: Tensor, weight: Tensor, bias: Tensor | None, eps: Tensor, means: _Means) -> Tensor:
    centred = x.to(torch.promote_types(x.dtype, weight.dtype))
    if means.of_values is not None:
        centred = centred - means.of_values(centred)
    inverse = (means.of_squares(centred * centred) + by_lane(eps, x).to(centred.dtype)).rsqrt()
    y = centred * inverse * by_channel(weight, x)
    return (y if bias is None else y + by_channel(bias, x)).to(x.dtype)
