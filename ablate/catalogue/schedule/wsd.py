"""Warmup–stable–decay: the rate rises briefly, stays, and falls only in the last share of the training.

    factor = (t + 1) / (warmup T)          while that is below 1
    factor = 1                             until (1 − decay) T
    factor = (T − t) / (decay T)           after

Shapes: t is int64 `[…, K]` (steps taken so far); warmup and decay, shares of the T steps of the whole training, are `[K]`.
A training can go on from the stable phase, whose checkpoints do not depend on T. The fall is linear here (the paper's is
exponential; Hägele et al. 2024 (2405.18392) find the shape to matter little). Where both phases overlap the smaller factor holds.
Lineage: Hu et al. 2024 (2404.06395), section 4; the trapezoid of Zhai et al. 2021 (2106.04560).
"""

from __future__ import annotations

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings


def trapezoid(step: Tensor, total: int, warmup: Tensor, decay: Tensor) -> Tensor:
    """Factors at the steps int64 `[…, K]`; shares `[K]`, zero for a phase that is left out."""
    rising = (step + 1).to(warmup.dtype) / (warmup * total)
    falling = (total - step).to(decay.dtype) / (decay * total)
    return rising.minimum(falling).clamp(0, 1)


def factor(step: Tensor, total: int, per_epoch: int, p: Settings) -> Tensor:
    return trapezoid(step, total, p.warmup, p.decay)


TRICK = Trick(
    name="wsd",
    title="Warmup-stable-decay schedule",
    seam="schedule",
    slot="schedule",
    parameters=(
        Parameter(
            "decay", 0.2, low=0.05, high=0.5, most=1.0, meaning="share of all steps in which the rate falls"
        ),
        Parameter(
            "warmup", 0.02, low=0.0, high=0.1, most=1.0, meaning="share of all steps in which it rises"
        ),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="loss",
            direction="same",
            statement="as low a loss as cosine decay, without fixing the length of the training in advance",
            source=Source(
                "MiniCPM: Unveiling the Potential of Small Language Models with Scalable Training Strategies",
                "Hu, Tu, Han, He, Cui, Long, Zheng, Fang, Huang, Zhao, Zhang, Thai, Zhang, Wang, Yao, Zhao, Zhou, Cai, Zhai, Ding, Jia, Zeng, Li, Liu, Sun",
                2024,
                "https://arxiv.org/abs/2404.06395",
            ),
        ),
    ),
)
