"""Instance normalisation: each channel of each example is standardised over its positions.

    y_bc = γ_c (x_bc − μ_bc) / √(σ²_bc + ε) + β_c

Shapes: x, y are one lane's feature maps `[B, C, H, W]` (or `[B, C, L]`, …); μ, σ² are `[B, C]`, taken over
the positions; γ, β are `[C]`. Training and evaluation are the same.
It is inserted after each hidden convolution, before the non-linearity, or replaces the
model's norm layers. Layers with a single position (dense layers) have nothing to average over and are left as
they are.
Lineage: Ulyanov, Vedaldi & Lempitsky 2016; `torch.nn.InstanceNorm2d(affine=True)`.
"""

from __future__ import annotations

from math import prod
from typing import Any

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.surgery.layer_types import INSTANCE_NORMS
from ablate.surgery.net import Net
from ablate.surgery.norms import InstanceNorm


def model(net: Net, p: Any) -> None:
    for switch, channels, _ in net.norm_switches("instance_norm", INSTANCE_NORMS):
        positions = prod(switch.shape[1:]) // channels
        if positions > 1:
            switch.add("instance_norm", InstanceNorm(channels, p.eps), p.on)
            net.count("instance_norm")
        else:
            net.leave("instance_norm", "norm place", "with a single position")


TRICK = Trick(
    name="instance_norm",
    title="Instance normalisation",
    seam="model",
    slot="norm",
    applies_to=("spatial model",),
    parameters=(Parameter("eps", 1e-5, low=1e-6, high=1e-2, log=True, meaning="added to the variance"),),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="independent of the batch, and an image's contrast no longer matters: made for stylisation, better images there",
            source=Source(
                "Instance Normalization: The Missing Ingredient for Fast Stylization",
                "Ulyanov, Vedaldi, Lempitsky",
                2016,
                "https://arxiv.org/abs/1607.08022",
            ),
            contested="no claim for classification: on ImageNet its error is higher than batch normalisation's (Wu & He 2018, 1803.08494)",
        ),
    ),
)
