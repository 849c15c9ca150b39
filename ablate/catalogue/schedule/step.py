"""Step decay: the rate is divided at equally spaced times.

    factor = gamma^i,   i = ⌊t · (drops + 1) / T⌋

Shapes: t is int64 `[…, K]` (steps taken so far); gamma and drops are `[K]`; T is the number of steps of the whole training,
which is cut into drops + 1 equal parts. Powers are products, whose rounding depends on nothing else.
Lineage: He et al. 2015 (1512.03385), who divide by ten at 50 % and 75 % of the training; `StepLR` of torch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings


def drops_so_far(step: Tensor, total: int, drops: Tensor) -> Tensor:
    """int64 `[…, K]`: how often the rate has been divided, at most `drops` (int64 `[K]`)."""
    return torch.minimum(step * (drops + 1) // total, drops)


def most_drops(p: Settings) -> int:
    """The largest number of drops of any lane."""
    return int(p.drops.max())


def factor(step: Tensor, total: int, per_epoch: int, p: Settings) -> Tensor:
    drops = p.drops.to(torch.int64)
    passed = drops_so_far(step, total, drops)
    result = torch.ones(step.shape, dtype=p.gamma.dtype, device=step.device)
    for number in range(p.once(most_drops)):
        result = torch.where(passed > number, result * p.gamma, result)
    return result


TRICK = Trick(
    name="step",
    title="Step decay",
    seam="schedule",
    slot="schedule",
    parameters=(
        Parameter("gamma", 0.1, low=0.05, high=0.7, most=1.0, meaning="the factor of the rate at each step"),
        Parameter("drops", 2, low=1, high=5, least=0, meaning="how often"),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="the loss falls immediately when the rate does: the usual schedule of residual networks",
            source=Source(
                "Deep Residual Learning for Image Recognition",
                "He, Zhang, Ren, Sun",
                2015,
                "https://arxiv.org/abs/1512.03385",
            ),
            contested="cosine decay needs no times to be chosen and is as good or better (He et al. 2018, 1812.01187)",
        ),
    ),
)
