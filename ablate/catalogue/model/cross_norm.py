"""CrossNorm: in training, examples of a batch exchange the mean and deviation of their channels.

    y_a = σ_b (x_a − μ_a) / σ_a + μ_b,    b: the example that a random permutation of the batch puts in a's place

Shapes: x, y are one lane's feature maps `[B, C, H, W]`; μ, σ are `[B, C]`, over the positions of a channel (σ² = the unbiased variance + 10⁻⁵). Permutation and
the examples that take part (each with probability p) are drawn anew for each layer and step. In evaluation the layer is the identity. It stands after each hidden
convolution and its norm, before the non-linearity. The authors exchange in a few randomly chosen layers, for the whole batch at once.
Lineage: Tang et al. 2021, equation 2 (2-instance mode, without cropping).
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.surgery.layer_types import CONVOLUTIONS
from ablate.surgery.layers import RandomLayer
from ablate.surgery.net import Net
from ablate.surgery.switch import Switch

EPS = 1e-5


def exchanged(x: Tensor, other: Tensor) -> Tensor:
    """`[B, C, N]` with the mean and deviation of the examples `other` (int64 `[B]`)."""
    mean = x.mean(dim=2, keepdim=True)
    deviation = (x.var(dim=2, keepdim=True) + EPS).sqrt()
    return (x - mean) / deviation * deviation[other] + mean[other]


class CrossNorm(RandomLayer):
    """`[B, C, …]` -> the same shape."""

    p: Tensor

    def __init__(self, p: float, stream: str) -> None:
        super().__init__(stream, p=p)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        places, parts = self.uniform((2, len(x))).unbind(0)
        flat = x.flatten(2)
        changed = torch.where(
            (parts < self.p)[:, None, None], exchanged(flat, places.argsort(stable=True)), flat
        )
        return changed.reshape(x.shape)


def model(net: Net, p: Any) -> None:
    for info, site in net.sites():
        if issubclass(info.kind, CONVOLUTIONS) and prod(info.output[2:]) > 1:
            switch = Switch(nn.Identity(), shape=info.output)
            switch.add("cross_norm", CrossNorm(p.p, f"model/{info.path}/cross_norm"), p.on)
            site.after.append(switch)
            net.count("cross_norm")


TRICK = Trick(
    name="cross_norm",
    title="CrossNorm (exchanged channel statistics)",
    seam="model",
    parameters=(
        Parameter("p", 0.5, low=0.0, high=1.0, neutral=0.0, most=1.0, meaning="share of the examples that take part"),
    ),
    applies_to=("spatial model",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="robust to a shift of the distribution: fewer errors on corrupted images (CIFAR-C, ImageNet-C), as the model sees more styles",
            source=Source(
                "CrossNorm and SelfNorm for Generalization under Distribution Shifts",
                "Tang, Gao, Zhu, Zhang, Li, Metaxas",
                2021,
                "https://arxiv.org/abs/2102.02811",
            ),
            contested="where validation data are as the training data, the exchange takes contrast and brightness away as a cue",
        ),
    ),
)  # fmt: skip
