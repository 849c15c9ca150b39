"""Focal loss: examples that the model already gets right count for less.

    l = −Σ_c t_c (1 − p_c)^γ log p_c,    p = softmax(z)

Shapes: z, t, p are `[K, B, C]`; l is `[K, B]`; γ is `[K]`. γ = 0 is the cross-entropy. A soft target (of mixup or label
smoothing) is taken class by class. The power is exp(γ log(1 − p)), with 1 − p as the sum of the other classes' probabilities,
which loses no digits where p is near one.
Lineage: Lin et al. 2017, equation 4, in the form for more than two classes and without the weights α (`class_balanced` has those).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings


def focal_loss(logits: Tensor, target: Tensor, gamma: Tensor) -> Tensor:
    """`[K, B, C]`, `[K, B, C]`, γ `[K, 1, 1]` -> `[K, B]`."""
    log_p = logits.log_softmax(dim=-1)
    p = log_p.exp()
    others = (p.sum(dim=-1, keepdim=True) - p).clamp(min=torch.finfo(p.dtype).tiny)
    return -(target * ((gamma * others.log()).exp() * log_p)).sum(dim=-1)


def example_loss(outputs: Tensor, target: Tensor, p: Settings) -> Tensor:
    return focal_loss(outputs, target, p.like("gamma", outputs))


TRICK = Trick(
    name="focal",
    title="Focal loss",
    seam="criterion",
    slot="criterion",
    parameters=(
        Parameter(
            "gamma",
            2.0,
            low=0.0,
            high=5.0,
            neutral=0.0,
            meaning="how much less well-classified examples count",
        ),
    ),
    applies_to=("classification",),
    claims=(
        Claim(
            metric="balanced_accuracy",
            direction="up",
            statement="rare classes are not drowned by the many easy examples of the common one (dense detection)",
            source=Source(
                "Focal Loss for Dense Object Detection",
                "Lin, Goyal, Girshick, He, Dollár",
                2017,
                "https://arxiv.org/abs/1708.02002",
            ),
            contested="on balanced data it lowers accuracy a little",
        ),
        Claim(
            metric="ece",
            direction="down",
            statement="better calibrated probabilities: it keeps the model from becoming over-confident",
            source=Source(
                "Calibrating Deep Neural Networks using Focal Loss",
                "Mukhoti, Kulharia, Sanyal, Golodetz, Torr, Dokania",
                2020,
                "https://arxiv.org/abs/2002.09437",
            ),
        ),
    ),
)
