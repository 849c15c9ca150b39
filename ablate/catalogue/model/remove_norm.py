"""Normalisation removed: the model's norm layers are removed.

    y = x    in place of y = γ (x − μ) / √(σ² + ε) + β

Shapes: x, y are one lane's activations `[B, C, …]`. Every batch, layer, group, instance and RMS norm that is
a module is replaced by the identity; scale γ and shift β go with it, so that a convolution without a bias
then has none. In the search and the ranking it is one choice of the slot, next to the other norms and the
unchanged model. A norm that the model calls as a function cannot be removed.
Lineage: Zhang, Dauphin & Ma 2019 and Brock et al. 2021 train residual networks without normalisation.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ablate.records.trick import Claim, Source, Trick
from ablate.surgery.layer_types import NORMS
from ablate.surgery.net import Net


def model(net: Net, p: Any) -> None:
    net.leave_out_of_reach("remove_norm", "norm")
    for info in net.of(*NORMS):
        net.switch(info).add("remove_norm", nn.Identity(), p.on)
        net.count("remove_norm")


TRICK = Trick(
    name="remove_norm",
    title="The model's normalisation removed",
    seam="model",
    slot="norm",
    applies_to=("norm layer",),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="down",
            statement="without normalisation large learning rates diverge, and the accuracy is lower",
            source=Source(
                "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
                "Ioffe, Szegedy",
                2015,
                "https://arxiv.org/abs/1502.03167",
            ),
            contested="residual networks train as well without it if their branches start near zero (Zhang et al. 2019, 1901.09321)",
        ),
        Claim(
            metric="time",
            direction="down",
            statement="a step without batch normalisation is faster",
            source=Source(
                "High-Performance Large-Scale Image Recognition Without Normalization",
                "Brock, De, Smith, Simonyan",
                2021,
                "https://arxiv.org/abs/2102.06171",
            ),
        ),
    ),
)
