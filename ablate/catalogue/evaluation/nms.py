"""Non-maximum suppression: of boxes that overlap, only the one with the highest score is kept.

    in order of scores: keep box i, and drop every box j of its class with IoU(i, j) > t

Shapes: outputs `[K, B, A, 7 + C]` of a detector, of which only the factor of the scores changes; t is `[K]`. t = 1 keeps all.
Lineage: greedy suppression as in Girshick et al. 2014, section 2.2; `torchvision.ops.batched_nms`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.boxes import rescored
from ablate.seams.settings import Settings


def dropped(overlap: Tensor, threshold: Tensor) -> Tensor:
    """0 where the overlap exceeds the threshold, else 1."""
    return (overlap <= threshold).to(overlap.dtype)


def views(predict: Any, x: Tensor, outputs: Tensor, p: Settings) -> Tensor:
    return rescored(outputs, p.like("on", outputs), dropped, p.threshold)


TRICK = Trick(
    name="nms",
    title="Non-maximum suppression",
    seam="evaluation",
    slot="suppression",
    parameters=(
        Parameter(
            "threshold",
            0.5,
            low=0.2,
            high=0.9,
            neutral=1.0,
            least=0.0,
            most=1.0,
            meaning="largest overlap (IoU) of two boxes that are kept",
        ),
    ),
    applies_to=("detection",),
    claims=(
        Claim(
            metric="duplicates",
            direction="down",
            statement="duplicates of a detection are removed",
            source=Source(
                "Rich Feature Hierarchies for Accurate Object Detection and Semantic Segmentation",
                "Girshick, Donahue, Darrell, Malik",
                2014,
                "https://arxiv.org/abs/1311.2524",
            ),
        ),
        Claim(
            metric="map50",
            direction="up",
            statement="without duplicates, which count as false detections, precision is higher",
            source=Source(
                "Rich Feature Hierarchies for Accurate Object Detection and Semantic Segmentation",
                "Girshick, Donahue, Darrell, Malik",
                2014,
                "https://arxiv.org/abs/1311.2524",
            ),
        ),
    ),
)
