"""Normalisation of K lanes at once: activations are standardised over some of their dimensions, then scaled and shifted.

    y = γ_c (x − μ) / √(σ² + ε) + β_c,    μ, σ²: of a lane's channel group, over positions and perhaps examples

torch's own norms take one lane a call, which for small layers is mostly the call, and group norm with few values a group is slow.
Here all lanes share every operation, and each is rounded as it would be alone: sums run over whole dimensions of a
lane, groups are pooled by products of matrices batched by lane, and the rest is single additions, products and roots, which
are the same to the last bit in vectorised and scalar code. On a CPU large activations are left to torch, lane by lane; which it is
hangs on one lane's size only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ablate.kernels.batched_matmul import product
from ablate.kernels.memory_format import match_layout
from ablate.surgery.layers import by_lane

SMALL = 2**14
"""Numbers of one lane's activations up to which lanes are standardised here: of larger ones, torch's call is no longer most."""
CHANNELS = 256
"""Of more channels, products that pool groups would be most."""


class Norm(nn.Module, ABC):
    """Base of the norm layers: `[B, C, …]` -> the same shape. Channels by themselves, or in `groups` groups of neighbours.

    `examples`: over the examples too, not for each by itself. What lanes may differ in are buffers: the `settings`, float64,
    and which channels make a group (`together` `[C, C]`: 1 where two channels are in the same one).
    Subclasses say with `torchs` what torch does for a large one, a lane by itself, with the plain `settings`: to read a buffer
    would mean to wait for the device.
    """

    weight: Tensor
    bias: Tensor
    eps: Tensor

    def __init__(
        self, channels: int, groups: int | None, eps: float, *, examples: bool = False, **settings: float
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.settings = {"eps": eps, **settings}
        for name, value in self.settings.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64), persistent=False)
        self.examples = examples
        self.grouped = groups is not None
        self.members = 1 if groups is None else channels // groups
        if groups is not None and channels <= CHANNELS:
            own = torch.arange(channels) // (channels // groups)
            together = (own == own[:, None]).to(self.weight.dtype)
            self.register_buffer("together", together, persistent=False)

    def fits(self, x: Tensor) -> bool:
        """Whether lanes of activations such as `x` `[B, C, …]` are standardised here."""
        small = x.device.type != "cpu" or x.numel() <= SMALL
        return small and (not self.grouped or x.shape[1] <= CHANNELS)

    def check(self, x: Tensor) -> None:
        """Raises InputError where one lane's `x` `[B, C, …]` cannot be standardised."""

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        if not self.fits(x):
            return self.torchs(x)
        return self.lanes(x[None], {name: tensor[None] for name, tensor in self.tensors()})[0]

    def stacked(self, x: Tensor) -> Tensor:
        """Of lanes that fit; others are run one by one."""
        self.check(x[0])
        return self.lanes(x, dict(self.tensors()))

    @abstractmethod
    def torchs(self, x: Tensor) -> Tensor: ...

    def lanes(self, x: Tensor, own: dict[str, Tensor]) -> Tensor:
        """`[K, B, C, …]`, with the lanes' stacked tensors."""
        return standardised(x, own, examples=self.examples)[0]

    def differentiably(self, x: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        """y, by operations of which each has a gradient."""
        mean_of = _Means(x, own.get("together"), self.examples)
        return _differentiably(x, own["weight"], own["bias"], own["eps"], mean_of)

    def tensors(self) -> list[tuple[str, Tensor]]:
        held = [*self._parameters.items(), *self._buffers.items()]
        return [(name, tensor) for name, tensor in held if tensor is not None]


def standardised(x: Tensor, own: Mapping[str, Tensor], *, examples: bool) -> tuple[Tensor, Tensor, Tensor]:
    """(y, μ, σ²): y like x `[K, B, C, …]`; μ and σ² `[K, 1 or B, C, 1, …]`, without gradients.

    `own`: "weight" and "bias" `[K, C]`, "eps" `[K]`, and where channels make groups "together" `[K, C, C]`.
    """
    given = (own["weight"], own["bias"], own["eps"], own.get("together"), examples)
    found: tuple[Tensor, Tensor, Tensor] = _Standardised.apply(x, *given)  # type: ignore[no-untyped-call]
    return found


class _Means:
    """Means over what is standardised together, for activations of one shape."""

    def __init__(self, x: Tensor, together: Tensor | None, examples: bool) -> None:
        self.dims = [1] * examples + list(range(3, x.ndim))
        self.count = prod(x.shape[dim] for dim in self.dims)
        self.shares: Tensor | None = None
        if together is not None:
            members = together[:, :1].sum(2, keepdim=True).to(x.dtype)
            self.shares = together.to(x.dtype) / (members * self.count)

    def sums(self, x: Tensor) -> Tensor:
        """By channel: `[K, 1 or B, C, 1, …]` of `[K, B, C, …]`."""
        return x.sum(self.dims, keepdim=True) if self.dims else x

    def pooled(self, sums: Tensor) -> Tensor:
        """For each channel the mean of its group, from the channels' sums."""
        if self.shares is None:
            return sums / self.count
        return product(sums.flatten(2), self.shares).view(sums.shape)

    def __call__(self, x: Tensor) -> Tensor:
        return self.pooled(self.sums(x))


class _Standardised(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: Tensor,
        together: Tensor | None,
        examples: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = x.to(torch.promote_types(x.dtype, weight.dtype))
        mean_of = _Means(wide, together, examples)
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
        mean_of: _Means = ctx.mean_of
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            given = (x, weight, bias)
            again = _differentiably(*given, eps, mean_of)
            return (*torch.autograd.grad(again, given, gradient, create_graph=True), None, None, None)
        gradient = match_layout(gradient.to(normal.dtype), normal)
        scale = by_channel(weight, x)
        along = gradient * normal
        sums, moments = mean_of.sums(gradient), mean_of.sums(along)
        to_bias, to_weight = (found.flatten(2).sum(1) for found in (sums, moments))
        shift, slope = (mean_of.pooled(found * scale) for found in (sums, moments))
        to_x = gradient * scale
        to_x -= shift
        to_x -= torch.mul(normal, slope, out=along)
        to_x *= inverse
        return to_x.to(x.dtype), to_weight.to(weight.dtype), to_bias.to(bias.dtype), None, None, None


def _differentiably(x: Tensor, weight: Tensor, bias: Tensor, eps: Tensor, mean_of: _Means) -> Tensor:
    """y, by operations of which each has a gradient."""
    centred = x.to(torch.promote_types(x.dtype, weight.dtype))
    centred = centred - mean_of(centred)
    inverse = (mean_of(centred * centred) + by_lane(eps, x).to(centred.dtype)).rsqrt()
    return (centred * inverse * by_channel(weight, x) + by_channel(bias, x)).to(x.dtype)


def by_channel(value: Tensor, x: Tensor) -> Tensor:
    """`[K, C]` so that it broadcasts against `x` `[K, B, C, …]`."""
    return value.view(len(value), 1, -1, *[1] * (x.ndim - 3))
