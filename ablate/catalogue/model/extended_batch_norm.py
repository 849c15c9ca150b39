"""Extended batch normalisation: a mean for each channel, as in batch normalisation, but one deviation for all channels together.

    y = γ_c (x − μ_c) / √(σ² + ε) + β_c,    σ² = mean over N, C and positions of (x − μ_c)²

Shapes: x, y are one lane's activations `[B, C, …]`; μ, γ, β are `[C]`, σ² is one number. In training both are the batch's, and running ones
follow them (running ← (1 − momentum) · running + momentum · batch); evaluation uses the running ones. The deviation is estimated
from C times as many numbers, which matters in small batches.
It is inserted after each hidden convolution and linear layer, before the non-linearity; that layer's bias, which the mean would cancel, is
dropped. A model that has norm layers has those replaced, and keeps its biases.
Lineage: Luo, Zhan, Wang & Gao 2020, section 3; squares are taken about the channels' own means.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ablate.records.errors import InputError
from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.surgery.layer_types import NORMS
from ablate.surgery.net import Net


class ExtendedBatchNorm(nn.Module):
    """`[B, C, …]` -> the same shape."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, momentum: float, eps: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.momentum, self.eps = momentum, eps
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        channel = (-1, *[1] * (x.ndim - 2))
        mean, variance = self.running_mean, self.running_var
        if self.training:
            mean = x.mean((0, *range(2, x.ndim)))
            variance = (x - mean.reshape(channel)).square().mean()
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
                self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)
        normal = (x - mean.reshape(channel)) * (variance + self.eps).rsqrt()
        return normal * self.weight.reshape(channel) + self.bias.reshape(channel)


def model(net: Net, p: Any) -> None:
    if p.momentum > 1:
        raise InputError(f"extended_batch_norm.momentum must be at most 1, not {p.momentum}")
    for switch, channels, _ in net.norm_switches("extended_batch_norm"):
        switch.add("extended_batch_norm", ExtendedBatchNorm(channels, p.momentum, p.eps), p.on)
        net.count("extended_batch_norm")
    if not net.of(*NORMS):
        for _, site in net.sites():
            site.drop_bias(p.on)


TRICK = Trick(
    name="extended_batch_norm",
    title="Extended batch normalisation",
    seam="model",
    slot="norm",
    applies_to=("normalisable",),
    parameters=(
        Parameter(
            "momentum",
            0.1,
            low=0.01,
            high=0.5,
            log=True,
            meaning="how fast the running statistics follow the batch's",
        ),
        Parameter("eps", 1e-5, low=1e-6, high=1e-2, log=True, meaning="added to the variance"),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="better than batch normalisation at small batches, close to it at large ones",
            source=Source(
                "Extended Batch Normalization",
                "Luo, Zhan, Wang, Gao",
                2020,
                "https://arxiv.org/abs/2003.05569",
            ),
            contested="channels of different scale are no longer brought to one scale",
        ),
    ),
)
