"""Warm restarts: the rate falls along half a cosine to zero, jumps back, and falls again, more slowly.

    factor = ½ (1 + cos(π · T_cur / T_i)),   T_i = cycle · multiplier^i

Shapes: step is int64 `[…, K]`, cycle and multiplier are `[K]`. T_cur is the time since the last restart, counted
in batches; T_i is the length of the present cycle. The first step of a cycle has the full rate. A training
that ends within a cycle cuts it off.
Lineage: Loshchilov & Hutter 2016, equation 5 with η_min = 0; `CosineAnnealingWarmRestarts` of torch.
"""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings


def cycle_position(step: Tensor, cycle: Tensor, multiplier: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """(steps since the last restart, steps of the present cycle), both int64 `[…, K]`; so are all arguments.

    `most`: restarts that a growing cycle can have had at the most. Cycles that do not grow are all alike.
    """
    length = cycle
    for _ in range(most):
        over = step >= length
        step = (step - length).where(over, step)
        length = (length * multiplier).where(over, length)
    return step % length, length


def factor(step: Tensor, total: int, per_epoch: int, p: Settings) -> Tensor:
    cycle = p.cycle.to(torch.int64) * per_epoch
    # Cycles that at least double, from one epoch on, have 2^i − 1 epochs behind them after i restarts.
    most = (total // per_epoch + 1).bit_length()
    since, length = cycle_position(step, cycle, p.multiplier.to(torch.int64), most)
    share = since.to(p.cycle.dtype) / length.to(p.cycle.dtype)
    return (1 + (share * pi).cos()) / 2


TRICK = Trick(
    name="cosine_restarts",
    title="Cosine annealing with warm restarts",
    seam="schedule",
    slot="schedule",
    parameters=(
        Parameter(
            "cycle", 10, low=1, high=50, log=True, least=1, meaning="length of the first cycle in epochs"
        ),
        Parameter(
            "multiplier", 2, low=1, high=3, least=1, meaning="how much longer each cycle is than the last"
        ),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="steps_to_target",
            direction="down",
            statement="good results at any time: at the end of each cycle, in a half to a quarter of the epochs",
            source=Source(
                "SGDR: Stochastic Gradient Descent with Warm Restarts",
                "Loshchilov, Hutter",
                2016,
                "https://arxiv.org/abs/1608.03983",
            ),
            contested="Gotmare et al. 2018 (1810.13243): restarts do not work for the reasons given for them",
        ),
    ),
)
