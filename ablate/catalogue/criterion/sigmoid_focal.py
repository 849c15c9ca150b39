"""Focal loss on dense detection: the many places of background that are easily told count for little.

    l = Σ_places,classes α_t (1 − p_t)^γ BCE(z, t) / N + Σ_objects (1 − IoU) / N,    p_t = p where t = 1, else 1 − p;  α_t = α where t = 1, else 1 − α

Shapes: predictions `[K, B, A, 7 + C]`, targets `[K, B, M, 5]`, l is `[K, B]`; N is the number of places that have an object (one where there is none); γ, α are `[K]`.
γ = 0 and α = 1/2 is half the cross-entropy, so no setting is the plain loss.
Lineage: Lin et al. 2017, equation 5 and section 4.1, with γ = 2 and α = 0.25; `torchvision.ops.sigmoid_focal_loss`.
"""

from __future__ import annotations

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.detection_loss import losses
from ablate.seams.settings import Settings


def example_loss(outputs: Tensor, target: Tensor, p: Settings) -> Tensor:
    return losses(outputs, target, p.gamma, p.alpha)


TRICK = Trick(
    name="sigmoid_focal",
    title="Focal loss on dense detection",
    seam="criterion",
    slot="criterion",
    parameters=(
        Parameter("gamma", 2.0, low=0.0, high=5.0, meaning="how much less well-classified places count"),
        Parameter(
            "alpha",
            0.25,
            low=0.05,
            high=0.95,
            least=0.0,
            most=1.0,
            meaning="weight of places that have an object",
        ),
    ),
    applies_to=("detection",),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="map50",
            direction="up",
            statement="the loss of a dense detector is not drowned by the easy places of background",
            source=Source(
                "Focal Loss for Dense Object Detection",
                "Lin, Goyal, Girshick, He, Dollár",
                2017,
                "https://arxiv.org/abs/1708.02002",
            ),
        ),
    ),
)
