"""Iterative normalisation: groups of channels are made uncorrelated, by Newton's iteration on their covariance (`catalogue/model/whitening.py`).

Σ = X Xᵀ / m + ε I;   Σ_N = Σ / tr Σ;   P₀ = I,  P_k = (3 P_{k−1} − P³_{k−1} Σ_N) / 2;   y = γ · P_T / √(tr Σ) · X + β
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.errors import InputError
from ablate.surgery.norms import Norm


def whitening_matrix(x: Tensor, iterations: int, eps: float) -> Tensor:
    """About Σ^(−1/2) of groups `[G, d, m]` without means -> `[G, d, d]`."""
    d, m = x.shape[1:]
    identity = torch.eye(d, dtype=x.dtype, device=x.device)
    sigma = x @ x.transpose(1, 2) / m + eps * identity
    trace = sigma.diagonal(dim1=1, dim2=2).sum(dim=1)[:, None, None]
    scaled = sigma / trace
    root, p = scaled, identity.expand_as(sigma)  # root = p Σ_N: iterated with p, rounding errors do not grow
    for _ in range(iterations):
        step = (3 * identity - p @ root) / 2
        root, p = root @ step, step @ p
    return p / trace.sqrt()


class IterNorm(Norm):
    """`[B, C, …]` -> the same shape; `size` neighbouring channels are whitened together. Raises InputError in training where a channel has
    one value only."""

    over_examples = True
    running_mean: Tensor
    running_whitening: Tensor
    momentum: Tensor
    iterations: Tensor

    def __init__(self, channels: int, size: int, iterations: int, momentum: float, eps: float) -> None:
        super().__init__(channels, eps=eps, momentum=momentum, iterations=iterations)
        self.size = size
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_whitening", torch.eye(size).repeat(channels // size, 1, 1))

    def check(self, x: Tensor) -> None:
        if self.training and x.numel() == x.shape[1]:
            raise InputError(
                "whitening cannot train on one value per channel", hint="use batch_size 2 or more"
            )

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        rows = x.transpose(0, 1).reshape(x.shape[1], -1)
        mean = rows.mean(dim=1) if self.training else self.running_mean
        groups = (rows - mean[:, None]).reshape(-1, self.size, rows.shape[1])
        whitening = self.running_whitening
        if self.training:
            whitening = whitening_matrix(groups, int(self.settings["iterations"]), self.settings["eps"])
            with torch.no_grad():
                momentum = self.settings["momentum"]
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
                self.running_whitening.lerp_(whitening.to(self.running_whitening.dtype), momentum)
        white = (whitening @ groups).reshape(rows.shape) * self.weight[:, None] + self.bias[:, None]
        return white.reshape(x.shape[1], x.shape[0], *x.shape[2:]).transpose(0, 1)
