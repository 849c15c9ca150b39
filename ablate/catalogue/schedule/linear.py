"""Linear decay: the rate falls in a straight line from its full value towards zero at the end of training.

    factor = 1 − t / T,   t = 0 … T − 1

Shapes: t is int64 `[…, K]` (steps taken so far); T is the number of steps of the whole training. The first step has the
full rate, the last one 1 / T of it. It multiplies with warmup.
Lineage: Defazio et al. 2023 (2310.07831), who derive it from the last iterate's bound; `LinearLR` of torch down to 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Source, Trick
from ablate.seams.settings import Settings


def factor(step: Tensor, total: int, per_epoch: int, p: Settings) -> Tensor:
    return 1 - step.clamp(max=total).to(torch.float32) / total


TRICK = Trick(
    name="linear",
    title="Linear decay",
    seam="schedule",
    slot="schedule",
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="after a warmup, as good as or better than every other schedule, cosine decay among them, on ten tasks",
            source=Source(
                "Optimal Linear Decay Learning Rate Schedules and Further Refinements",
                "Defazio, Cutkosky, Mehta, Mishchenko",
                2023,
                "https://arxiv.org/abs/2310.07831",
            ),
        ),
    ),
)
