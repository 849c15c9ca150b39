"""Weight normalisation removed: the model's own `weight_norm` and `spectral_norm` are taken off its weights.

    W is trained itself, in place of W = g · v / ‖v‖ (weight_norm) or W = v / σ(v) (spectral_norm)

Shapes: v, W `[out, …]`; g `[out, 1, …]`; σ(v): the largest singular value of v as a matrix. W starts at the value that
it has in the user's model, so that the initial function is the same. Old hooks and new parametrizations are both
found; a weight with further parametrizations is left alone.
Lineage: Salimans & Kingma 2016; Miyato et al. 2018; `torch.nn.utils.parametrize.remove_parametrizations`.
"""

from __future__ import annotations

from typing import Any

from ablate.records.trick import Claim, Source, Trick
from ablate.surgery.net import Net
from ablate.surgery.weight_norms import weight_norms


def model(net: Net, p: Any) -> None:
    for _, remove in weight_norms(net.module):
        if p.on:
            remove()
        net.count("remove_weight_norm")


TRICK = Trick(
    name="remove_weight_norm",
    title="The model's weight normalisation removed",
    seam="model",
    lane=False,
    applies_to=("weight normalisation",),
    claims=(
        Claim(
            metric="steps_to_target",
            direction="up",
            statement="without the separation of length and direction convergence is slower",
            source=Source(
                "Weight Normalization: A Simple Reparameterization to Accelerate Training of Deep Neural Networks",
                "Salimans, Kingma",
                2016,
                "https://arxiv.org/abs/1602.07868",
            ),
        ),
    ),
)
