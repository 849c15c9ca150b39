"""Weight standardisation: the weights of each output channel of a convolution are used standardised.

    ŵ_o = (w_o − mean(w_o)) / √(var(w_o) + ε),   ε = 10⁻⁵

Shapes: w is one lane's weight `[O, I, …]`; mean and variance (divided by the count) are over I and the kernel. The optimizer trains w; the
layer computes with ŵ, so no gradient of w changes its mean. It acts on every hidden convolution. Made for use beside group normalisation, which sets the
scale of what follows; without a norm, activations grow by about √(I · kernel) a layer: see `scaled_ws`.
Lineage: Qiao et al. 2019, equations 5 to 7.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ablate.records.trick import Claim, Source, Trick
from ablate.surgery.layer_types import CONVOLUTIONS
from ablate.surgery.layers import Gate
from ablate.surgery.net import Net

EPS = 1e-5


def standardised(weight: Tensor) -> Tensor:
    """`[O, I, …]` -> the same shape."""
    units = weight.flatten(1)
    centred = units - units.mean(dim=1, keepdim=True)
    return (centred * (centred.square().mean(dim=1, keepdim=True) + EPS).rsqrt()).view(weight.shape)


class WeightStandardization(Gate):
    """Standardises a weight `[O, …]` per output, where the gate is on."""

    def forward(self, weight: Tensor) -> Tensor:
        return torch.where(self.on > 0, standardised(weight), weight)


def model(net: Net, p: Any) -> None:
    for info, site in net.sites():
        if issubclass(info.kind, CONVOLUTIONS) and not info.custom:
            site.weight_transforms.append(WeightStandardization(p.on))
            net.count("weight_standardization")


TRICK = Trick(
    name="weight_standardization",
    title="Weight standardisation",
    seam="model",
    slot="weight",
    applies_to=("convolution",),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="with group normalisation at 1 or 2 images a batch, as good as or better than batch normalisation with large batches",
            source=Source(
                "Micro-Batch Training with Batch-Channel Normalization and Weight Standardization",
                "Qiao, Wang, Liu, Shen, Yuille",
                2019,
                "https://arxiv.org/abs/1903.10520",
            ),
            contested="without a norm behind it, activations and gradients grow with depth",
        ),
    ),
)
