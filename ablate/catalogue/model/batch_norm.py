"""Batch normalisation: each channel is standardised over the mini-batch, then scaled and shifted.

    y = γ_c (x − μ_c) / √(σ²_c + ε) + β_c

Shapes: x, y are one lane's activations `[B, C, …]`; μ, σ², γ, β are `[C]`. In training μ and σ² (divided by
the count n) are taken over the batch and all positions, and the running statistics follow them:

    running ← (1 − momentum) · running + momentum · batch        (variance divided by n − 1, as in torch)

Evaluation uses the running statistics.
It is inserted after each hidden convolution and linear layer, before the non-linearity; that layer's bias, which
the mean would cancel, is dropped. In a model with norm layers of other kinds these are replaced, and the biases are kept.
Lineage: Ioffe & Szegedy 2015, algorithms 1 and 2; the running statistics of `torch.nn.BatchNorm2d`.
"""

from __future__ import annotations

from typing import Any

from ablate.records.errors import InputError
from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.surgery.layer_types import BATCH_NORMS, NORMS
from ablate.surgery.net import Net
from ablate.surgery.norms import BatchNorm


def model(net: Net, p: Any) -> None:
    if p.momentum > 1:
        raise InputError(f"batch_norm.momentum must be at most 1, not {p.momentum}")
    for switch, channels, _ in net.norm_switches("batch_norm", BATCH_NORMS):
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
