"""Squeeze and excitation: each channel of a feature map is scaled by a number between 0 and 1 that depends on all channels.

    s = sigmoid(W₂ relu(W₁ z + b₁) + b₂),   z_c = mean over positions of x_c;   y_c = s_c x_c

Shapes: x, y are one lane's feature maps `[B, C, H, W]`; z, s are `[B, C]`; W₁ is `[h, C]`, W₂ `[C, h]`, h = max(1, C / reduction). W₁ is drawn uniformly as
`nn.Linear` draws, W₂ and the biases start at zero, so every channel is initially halved.
It is inserted after each hidden convolution (and its norm), before the non-linearity, as at the end of a residual branch.
Lineage: Hu et al. 2017, equations 2 to 4.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.surgery.layer_types import CONVOLUTIONS
from ablate.surgery.net import Net
from ablate.surgery.switch import Switch


class SqueezeExcitation(nn.Module):
    """`[B, C, …]` -> the same shape."""

    def __init__(self, channels: int, hidden: int, generator: Generator) -> None:
        super().__init__()
        bound = channels**-0.5
        self.squeeze = nn.Parameter((2 * torch.rand(hidden, channels, generator=generator) - 1) * bound)
        self.squeeze_bias = nn.Parameter(torch.zeros(hidden))
        self.excite = nn.Parameter(torch.zeros(channels, hidden))
        self.excite_bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(2).mean(dim=2)
        s = F.linear(F.relu(F.linear(z, self.squeeze, self.squeeze_bias)), self.excite, self.excite_bias)
        return x * s.sigmoid().reshape(*s.shape, *[1] * (x.ndim - 2))


def model(net: Net, p: Any) -> None:
    for info, site in net.sites():
        if issubclass(info.kind, CONVOLUTIONS):
            switch = Switch(nn.Identity(), shape=info.output)
            channels = info.output[1]
            branch = SqueezeExcitation(channels, max(1, channels // p.reduction), p.generator)
            switch.add("squeeze_excitation", branch, p.on)
            site.after.append(switch)
            net.count("squeeze_excitation")


TRICK = Trick(
    name="squeeze_excitation",
    title="Squeeze and excitation",
    seam="model",
    applies_to=("spatial model",),
    parameters=(
        Parameter(
            "reduction",
            4,
            low=2,
            high=16,
            log=True,
            lane=False,
            least=1,
            meaning="channels over hidden units",
        ),
    ),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="ResNet-50 on ImageNet: top-5 error from 7.48 % to 6.62 %, at 0.26 % more computation",
            source=Source(
                "Squeeze-and-Excitation Networks",
                "Hu, Shen, Albanie, Sun, Wu",
                2017,
                "https://arxiv.org/abs/1709.01507",
            ),
        ),
    ),
)
