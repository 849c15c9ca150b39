"""Cosine decay: the rate falls along half a cosine from its full value to zero at the end of training.

    factor = ½ (1 + cos(π · step / total))

Shapes: step is int64 `[…, K]`; `total` is the number of steps of the whole training. The first step has the full
rate; after the last one the rate would be zero. It multiplies with warmup.
Lineage: Loshchilov & Hutter 2016, equation 5 with η_min = 0 and one cycle; `CosineAnnealingLR` of torch.
"""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor

from ablate.records.trick import Claim, Source, Trick
from ablate.seams.settings import Settings


def factor(step: Tensor, total: int, per_epoch: int, p: Settings) -> Tensor:
    share = step.clamp(max=total).to(torch.float32) / total
    return (1 + (share * pi).cos()) / 2


TRICK = Trick(
    name="cosine",
    title="Cosine decay",
    seam="schedule",
    slot="schedule",
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="a rate that anneals to zero ends in a better solution than one that stays, without a choice of epochs at which to divide it",
            source=Source(
                "SGDR: Stochastic Gradient Descent with Warm Restarts",
                "Loshchilov, Hutter",
                2016,
                "https://arxiv.org/abs/1608.03983",
            ),
        ),
        Claim(
            metric="accuracy",
            direction="up",
            statement="ResNet-50 on ImageNet: better than dividing the rate by ten at fixed epochs",
            source=Source(
                "Bag of Tricks for Image Classification with Convolutional Neural Networks",
                "He, Zhang, Zhang, Zhang, Xie, Li",
                2018,
                "https://arxiv.org/abs/1812.01187",
            ),
        ),
    ),
)
