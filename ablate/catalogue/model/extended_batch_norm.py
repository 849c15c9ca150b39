"""Extended batch normalisation: a mean for each channel, as in batch normalisation, but one deviation for all channels together.

    y = γ_c (x − μ_c) / √(σ² + ε) + β_c,    σ² = mean over N, C and positions of (x − μ_c)²

Shapes: x, y are one lane's activations `[B, C, …]`; μ, γ, β are `[C]`, σ² is one number. In training both are the batch's, and running ones
follow them (running ← (1 − momentum) · running + momentum · batch); evaluation uses the running ones. The deviation is estimated
from C times as many numbers, which matters in small batches.
It is inserted after each hidden convolution and linear layer, before the non-linearity; that layer's bias, which the mean would cancel, is
dropped. A model that has norm layers has those replaced, and keeps its biases.
Lineage: Luo, Zhan, Wang & Gao 2020, section 3; squares are taken about the channels' own means.
"""

from __future__ import annotations

from typing import Any

from ablate.records.errors import InputError
from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.surgery.layer_types import NORMS
from ablate.surgery.net import Net
from ablate.surgery.norms import ExtendedBatchNorm


def model(net: Net, p: Any) -> None:
    if p.momentum > 1:
        raise InputError(f"extended_batch_norm.momentum must be at most 1, not {p.momentum}")
    for switch, channels, _ in net.norm_switches("extended_batch_norm"):
        switch.add("extended_batch_norm", ExtendedBatchNorm(channels, p.momentum, p.eps), p.on)
        net.count("extended_batch_norm")
    if not net.of(*NORMS):
        for _, site in net.sites():
            site.drop_bias(p.on)


TRICK = Trick(
    name="extended_batch_norm",
    title="Extended batch normalisation",
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
            metric="accuracy",
            direction="up",
            statement="better than batch normalisation at small batches, close to it at large ones",
            source=Source(
                "Extended Batch Normalization",
                "Luo, Zhan, Wang, Gao",
                2020,
                "https://arxiv.org/abs/2003.05569",
            ),
            contested="channels of different scale are no longer brought to one scale",
        ),
    ),
)
