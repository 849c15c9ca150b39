"""Batch normalisation: each channel is standardised over the mini-batch, then scaled and shifted.

    y = γ_c (x − μ_c) / √(σ²_c + ε) + β_c

Shapes: x, y are one lane's activations `[B, C, …]`; μ, σ², γ, β are `[C]`. In training μ and σ² (divided by
the count n) are taken over the batch and all positions, and the running statistics follow them:

    running ← (1 − momentum) · running + momentum · batch        (variance divided by n − 1, as in torch)

In evaluation the running statistics stand in for the batch's.
It stands after each hidden convolution and linear layer, before the non-linearity; that layer's bias, which
the mean would cancel, is dropped. A model that has norm layers has those replaced, and keeps its biases.
Lineage: Ioffe & Szegedy 2015, algorithms 1 and 2; the running statistics of `torch.nn.BatchNorm2d`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ablate.records.errors import InputError
from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.surgery.layer_types import NORMS
from ablate.surgery.net import Net
from ablate.surgery.norms import Norm, by_channel, standardised


class BatchNorm(Norm):
    """`[B, C, …]` -> the same shape.

    Raises InputError in training where a channel has one value only, which it could but map to β.
    """

    running_mean: Tensor
    running_var: Tensor
    momentum: Tensor

    def __init__(self, channels: int, momentum: float, eps: float) -> None:
        super().__init__(channels, None, eps, examples=True, momentum=momentum)
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def check(self, x: Tensor) -> None:
        if self.training and x.numel() == x.shape[1]:
            raise InputError(
                "batch_norm cannot train on one value per channel",
                hint="use batch_size 2 or more, or layer_norm",
            )

    def torchs(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training,
            **self.settings,
        )  # fmt: skip

    def lanes(self, x: Tensor, own: dict[str, Tensor]) -> Tensor:
        mean, variance = own["running_mean"], own["running_var"]
        if not self.training:
            return self._by_running(x, own)
        y, seen, spread = standardised(x, own, examples=True)
        count = x[0].numel() // x.shape[2]
        share = own["momentum"][:, None].to(mean.dtype)
        mean.mul_(1 - share).add_(share * seen.flatten(1))
        variance.mul_(1 - share).add_(share * spread.flatten(1) * (count / (count - 1)))
        return y

    def differentiably(self, x: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        return super().differentiably(x, own) if self.training else self._by_running(x, own)

    def _by_running(self, x: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        variance = own["running_var"]
        scale = own["weight"] * (variance + own["eps"][:, None].to(variance.dtype)).rsqrt()
        y = x * by_channel(scale, x)
        return y + by_channel(own["bias"] - own["running_mean"] * scale, x)


def model(net: Net, p: Any) -> None:
    if p.momentum > 1:
        raise InputError(f"batch_norm.momentum must be at most 1, not {p.momentum}")
    for switch, channels, _ in net.norm_switches():
        switch.add("batch_norm", BatchNorm(channels, p.momentum, p.eps), p.on)
        net.count("batch_norm")
    if not net.of(*NORMS):
        for _, site in net.sites():
            site.drop_bias(p.on)


TRICK = Trick(
    name="batch_norm",
    title="Batch normalisation",
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
            metric="steps_to_target",
            direction="down",
            statement="larger learning rates become usable and the same accuracy is reached in far fewer steps",
            source=Source(
                "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
                "Ioffe, Szegedy",
                2015,
                "https://arxiv.org/abs/1502.03167",
            ),
            contested="it works, but not by reducing covariate shift: it smooths the loss (Santurkar et al. 2018, 1805.11604)",
        ),
        Claim(
            metric="accuracy",
            direction="up",
            statement="regularises: an example's activations depend on the batch it is in",
            source=Source(
                "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
                "Ioffe, Szegedy",
                2015,
                "https://arxiv.org/abs/1502.03167",
            ),
            contested="with few examples in a batch the statistics are too noisy, and the error rises (Wu & He 2018, 1803.08494)",
        ),
    ),
)
