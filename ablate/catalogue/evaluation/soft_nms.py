"""Soft non-maximum suppression: the scores of boxes that overlap a better one decay, instead of being set to zero.

    in order of the scores so far: keep box i, and for every box j of its class that is left: s_j ← s_j exp(−IoU(i, j)² / σ)

Shapes: outputs `[K, B, A, 7 + C]` of a detector, of which only the factor of the scores changes; σ is `[K]`. σ = ∞ changes nothing.
Lineage: Bodla et al. 2017, section 3, the Gaussian form, with σ = 0.5.
"""

from __future__ import annotations

from math import inf
from typing import Any

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.boxes import rescored
from ablate.seams.settings import Settings


def decayed(overlap: Tensor, sigma: Tensor) -> Tensor:
    """exp(−IoU² / σ), row by row: `[R, A]`, `[R, 1]` -> `[R, A]`."""
    return torch.stack([torch.exp(row) for row in -overlap.square() / sigma])


def views(predict: Any, x: Tensor, outputs: Tensor, p: Settings) -> Tensor:
    return rescored(outputs, p.like("on", outputs), decayed, p.sigma)


TRICK = Trick(
    name="soft_nms",
    title="Soft non-maximum suppression",
    seam="evaluation",
    slot="suppression",
    parameters=(
        Parameter("sigma", 0.5, low=0.05, high=2.0, log=True, neutral=inf, meaning="width of the decay"),
    ),
    applies_to=("detection",),
    claims=(
        Claim(
            metric="map50",
            direction="up",
            statement="objects that overlap each other are not suppressed with the duplicates, without another parameter or training",
            source=Source(
                "Soft-NMS: Improving Object Detection With One Line of Code",
                "Bodla, Singh, Chellappa, Davis",
                2017,
                "https://arxiv.org/abs/1704.04503",
            ),
        ),
    ),
)
