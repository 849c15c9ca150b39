"""Gradient clipping by value: every element of the gradient is kept within ±c.

    g ← min(max(g, −c), c)

Shapes: g is `[K, P]`; c is `[K]`. The direction changes, which clipping by norm avoids.
Lineage: Mikolov 2012 (thesis); Graves 2013 (1308.0850, section 2.1); `torch.nn.utils.clip_grad_value_`.
"""

from __future__ import annotations

from math import inf

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors


def gradient(gradients: LaneTensors, weights: LaneTensors, p: Settings) -> LaneTensors:
    limit = p.like("limit", gradients.flat)
    return gradients.like(gradients.flat.clamp(-limit, limit))


TRICK = Trick(
    name="clip_value",
    title="Gradient clipping by value",
    seam="gradient",
    parameters=(
        Parameter(
            "limit",
            0.5,
            low=1e-3,
            high=10.0,
            log=True,
            neutral=inf,
            meaning="largest element of the gradient",
        ),
    ),
    claims=(
        Claim(
            metric="loss",
            direction="down",
            statement="recurrent networks train without numerical trouble where gradients become excessively large",
            source=Source(
                "Generating Sequences With Recurrent Neural Networks",
                "Graves",
                2013,
                "https://arxiv.org/abs/1308.0850",
            ),
        ),
    ),
)
