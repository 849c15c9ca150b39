"""Weight normalisation: the length and the direction of each unit's weights are trained apart.

    ŵ_o = g_o · v_o / ‖v_o‖

Shapes: v is one lane's weight `[O, I, …]`, the norm is over I and the kernel; the lengths g `[O]` start at ‖v_o‖, so that the initial model is unchanged. It acts on
every hidden convolution and linear layer. An initialisation drawn afterwards would not fit g: the two are not combined.
Lineage: Salimans & Kingma 2016, equation 2 (without their data-dependent initialisation); `torch.nn.utils.parametrizations.weight_norm`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ablate.records.trick import Claim, Source, Trick
from ablate.surgery.layers import Gate
from ablate.surgery.net import Net


def lengths(weight: Tensor) -> Tensor:
    """‖v_o‖, `[O]` of `[O, I, …]`."""
    return weight.flatten(1).square().sum(dim=1).sqrt()


class WeightNorm(Gate):
    """Replaces a weight `[O, …]` by its direction times trained lengths `[O]`, where the gate is on."""

    def __init__(self, on: bool, weight: Tensor) -> None:
        super().__init__(on)
        length = lengths(weight.detach())
        self.length = nn.Parameter(length if on else torch.zeros_like(length))

    def forward(self, weight: Tensor) -> Tensor:
        # On rows: a sum over a gradient's dimensions would depend on how they lie in memory.
        scale = self.length / lengths(weight).clamp(min=1e-12)
        scaled = (weight.flatten(1) * scale[:, None]).view(weight.shape)
        return torch.where(self.on > 0, scaled, weight)


def model(net: Net, p: Any) -> None:
    for info, site in net.sites():
        if not info.custom:
            weight = site.layer.weight
            assert isinstance(weight, Tensor)
            site.weight_transforms.append(WeightNorm(p.on, weight))
            net.count("weight_norm")


TRICK = Trick(
    name="weight_norm",
    title="Weight normalisation",
    seam="model",
    slot="weight",
    applies_to=("normalisable",),
    conflicts=("init",),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="steps_to_target",
            direction="down",
            statement="faster convergence, without dependence between the examples of a batch",
            source=Source(
                "Weight Normalization: A Simple Reparameterization to Accelerate Training of Deep Neural Networks",
                "Salimans, Kingma",
                2016,
                "https://arxiv.org/abs/1602.07868",
            ),
            contested="on ImageNet with ResNet-50 the test accuracy falls about 6 points short of that with batch normalisation (Gitman & Ginsburg 2017, 1709.08145)",
        ),
    ),
)
