"""Scaled weight standardisation: weights are standardised and scaled so that activations keep their variance without any norm.

    ŵ_o = g_o · γ · (w_o − mean(w_o)) / √(max(N var(w_o), ε)),   N = I · kernel,  ε = 10⁻⁴,  γ = √2 / √(1 − 1/π) = 1.7129

Shapes: w is one lane's weight `[O, I, …]`; mean and variance are over I and the kernel; the gains g `[O]` are trained and start at one. γ makes up for the
variance that ReLU takes. It acts on every hidden convolution and linear layer. The residual scalings of the normaliser-free networks (α, β) are not part of it.
Lineage: Brock et al. 2021 (2101.08692, equation 1; 2102.06171) and their code (deepmind-research/nfnets, WSConv2D).
"""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

import torch
from torch import Tensor, nn

from ablate.records.trick import Claim, Source, Trick
from ablate.surgery.layers import Gate
from ablate.surgery.net import Net

GAMMA = sqrt(2) / sqrt(1 - 1 / pi)
EPS = 1e-4


def scaled(weight: Tensor, gain: Tensor) -> Tensor:
    """`[O, I, …]`, gains `[O]` -> `[O, I, …]`."""
    units = weight.flatten(1)
    centred = units - units.mean(dim=1, keepdim=True)
    sums = centred.square().sum(dim=1, keepdim=True)
    return (centred * (sums.clamp(min=EPS).rsqrt() * GAMMA * gain[:, None])).view(weight.shape)


class ScaledStandardization(Gate):
    """Standardises a weight `[O, …]` per output and scales it by trained gains `[O]`, where the gate is on."""

    def __init__(self, on: bool, outputs: int) -> None:
        super().__init__(on)
        self.gain = nn.Parameter(torch.ones(outputs) if on else torch.zeros(outputs))

    def forward(self, weight: Tensor) -> Tensor:
        return torch.where(self.on > 0, scaled(weight, self.gain), weight)


def model(net: Net, p: Any) -> None:
    for info, site in net.sites():
        if not info.custom:
            weight = site.layer.weight
            assert isinstance(weight, Tensor)
            site.weight_transforms.append(ScaledStandardization(p.on, len(weight)))
            net.count("scaled_ws")


TRICK = Trick(
    name="scaled_ws",
    title="Scaled weight standardisation",
    seam="model",
    slot="weight",
    applies_to=("normalisable",),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="deep residual networks without any normalisation train as well as those with batch normalisation",
            source=Source(
                "Characterizing signal propagation to close the performance gap in unnormalized ResNets",
                "Brock, De, Smith",
                2021,
                "https://arxiv.org/abs/2101.08692",
            ),
            contested="gamma is correct only for ReLU; large batches also need adaptive clipping (Brock et al. 2021, 2102.06171)",
        ),
    ),
)
