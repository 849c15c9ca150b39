"""Whitening (IterNorm): channels are not only standardised but made uncorrelated, by Newton's iteration on their covariance.

    Σ = X Xᵀ / m + ε I;   Σ_N = Σ / tr Σ;   P₀ = I,  P_k = (3 P_{k−1} − P³_{k−1} Σ_N) / 2;   y = γ · P_T / √(tr Σ) · X + β

Shapes: x, y are one lane's activations `[B, C, …]`; X `[d, m]` is a group of d neighbouring channels without their means, m examples and positions; Σ, P are `[d, d]`,
γ, β are `[C]`. In training mean and whitening matrix are the batch's, and running ones follow them (running ← (1 − momentum) · running + momentum · batch); in
evaluation the running ones stand in. Where `group` does not divide a layer's channels, the largest divisor below it is taken. T iterations whiten the
directions of large variance and leave those of small variance, which a batch estimates badly, partly as they are.
It stands after each hidden convolution and linear layer, before the non-linearity; that layer's bias, which the mean would cancel, is dropped. A model
that has norm layers has those replaced, and keeps its biases.
Lineage: Huang et al. 2018 (decorrelated batch normalisation); Huang et al. 2019, algorithms 1 and 2, whose T = 5 is the default; the coupled form of the iteration is
that of Higham 2008, equation 6.35.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ablate.records.errors import InputError
from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.surgery.layer_types import NORMS
from ablate.surgery.net import Net


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


class IterNorm(nn.Module):
    """`[B, C, …]` -> the same shape. Raises InputError in training where a channel has one value only."""

    running_mean: Tensor
    running_whitening: Tensor

    def __init__(self, channels: int, size: int, iterations: int, momentum: float, eps: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.size, self.iterations, self.momentum, self.eps = size, iterations, momentum, eps
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_whitening", torch.eye(size).repeat(channels // size, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.transpose(0, 1).reshape(x.shape[1], -1)
        mean, whitening = self.running_mean, self.running_whitening
        if self.training:
            if rows.shape[1] == 1:
                raise InputError(
                    "whitening cannot train on one value per channel", hint="use batch_size 2 or more"
                )
            mean = rows.mean(dim=1)
        groups = (rows - mean[:, None]).reshape(-1, self.size, rows.shape[1])
        if self.training:
            whitening = whitening_matrix(groups, self.iterations, self.eps)
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
                self.running_whitening.lerp_(whitening.to(self.running_whitening.dtype), self.momentum)
        white = (whitening @ groups).reshape(rows.shape) * self.weight[:, None] + self.bias[:, None]
        return white.reshape(x.shape[1], x.shape[0], *x.shape[2:]).transpose(0, 1)


def group_size(channels: int, most: int) -> int:
    """The largest divisor of `channels` that is at most `most`."""
    return next(size for size in range(min(most, channels), 0, -1) if channels % size == 0)


def model(net: Net, p: Any) -> None:
    if p.momentum > 1:
        raise InputError(f"whitening.momentum must be at most 1, not {p.momentum}")
    for switch, channels, _ in net.norm_switches("whitening"):
        size = group_size(channels, p.group)
        switch.add("whitening", IterNorm(channels, size, p.iterations, p.momentum, p.eps), p.on)
        net.count("whitening")
    if not net.of(*NORMS):
        for _, site in net.sites():
            site.drop_bias(p.on)


TRICK = Trick(
    name="whitening",
    title="Whitening (IterNorm)",
    seam="model",
    slot="norm",
    applies_to=("normalisable",),
    parameters=(
        Parameter("iterations", 5, low=1, high=9, least=1, most=20, meaning="Newton iterations: fewer whiten less"),
        Parameter("group", 16, choices=(4, 8, 16, 32, 64), lane=False, meaning="channels that are whitened together, at most"),
        Parameter("momentum", 0.1, low=0.01, high=0.5, log=True, meaning="how fast the running statistics follow the batch's"),
        Parameter("eps", 1e-3, low=1e-5, high=1e-1, log=True, meaning="added to the variances"),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="better conditioned than batch normalisation, which only standardises: faster training and better generalisation",
            source=Source(
                "Iterative Normalization: Beyond Standardization towards Efficient Whitening",
                "Huang, Zhou, Zhu, Liu, Shao",
                2019,
                "https://arxiv.org/abs/1904.03441",
            ),
            contested="a covariance needs more examples than a variance: with small batches and full whitening it is worse",
        ),
        Claim(
            metric="steps_to_target",
            direction="down",
            statement="decorrelated batch normalisation improves on batch normalisation in conditioning and speed",
            source=Source(
                "Decorrelated Batch Normalization",
                "Huang, Yang, Lang, Deng",
                2018,
                "https://arxiv.org/abs/1804.08450",
            ),
        ),
    ),
)  # fmt: skip
