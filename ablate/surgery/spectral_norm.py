"""Weights divided by their largest singular value (`catalogue/model/spectral_norm.py`), of one lane or of several at once.

    Ŵ = W / σ,    σ = uᵀ W v;    in training, before: v ← Wᵀu / ‖Wᵀu‖, u ← W v / ‖W v‖

Products with u and v are sums over rows that lie together in memory: torch's matrix-vector product rounds one matrix otherwise than several.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ablate.surgery.layers import Gate

WARM = 15
TINY = 1e-12


def times(matrix: Tensor, vector: Tensor) -> Tensor:
    """`[K, O, n]`, `[K, n]` -> `[K, O]`."""
    return (matrix * vector[:, None]).sum(dim=2)


def unit(vector: Tensor) -> Tensor:
    """Vectors `[K, n]` of length one."""
    return vector / vector.square().sum(dim=1, keepdim=True).sqrt().clamp(min=TINY)


def power_iteration(matrix: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """(u, v) after one more iteration on `[K, O, n]` from u `[K, O]`."""
    v = unit(times(matrix.mT.contiguous(), u))
    return unit(times(matrix, v)), v


def normalised(weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """W / (uᵀ W v), of the shape of `weight` `[K, O, …]`."""
    sigma = (u * times(weight.flatten(2), v)).sum(dim=1, keepdim=True)
    return (weight.flatten(1) / sigma.clamp(min=TINY)).view(weight.shape)


class SpectralNorm(Gate):
    """Divides a weight by its largest singular value, where the gate is on."""

    u: Tensor
    v: Tensor

    def __init__(self, on: bool, weight: Tensor, generator: Generator) -> None:
        super().__init__(on)
        matrix = weight.detach().flatten(1)[None]
        u = unit(torch.randn(matrix.shape[1], generator=generator)[None])
        for _ in range(WARM):
            u, v = power_iteration(matrix, u)
        self.register_buffer("u", u[0])
        self.register_buffer("v", v[0])

    def forward(self, weight: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                u, v = power_iteration(weight.detach().flatten(1)[None], self.u[None])
                self.u.copy_(u[0])
                self.v.copy_(v[0])
        own = normalised(weight[None], self.u.clone()[None], self.v.clone()[None])[0]
        return torch.where(self.on > 0, own, weight)
