"""One cycle: the rate rises along half a cosine to its full value, then falls along another far below where it began.

    factor = cos_between(1 / start, 1; t / u)                         while t ≤ u = rise · T − 1
    factor = cos_between(1, 1 / (start · 10⁴); (t − u) / (T − 1 − u))    after
    cos_between(a, b; s) = b + (a − b) (1 + cos π s) / 2

Shapes: t is int64 `[…, K]` (steps taken so far); rise and start are `[K]`; T is the number of steps of the whole training. The
momentum is not cycled, unlike in the paper. The full rate is the largest, two to five times that of other schedules.
Lineage: Smith & Topin 2017 (1708.07120); the cosine form of `OneCycleLR` of torch.
"""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings

FALL = 1e4
"""The first rate over the last."""


def cosine_between(first: Tensor, last: Tensor, share: Tensor) -> Tensor:
    """Half a cosine from `first` at share 0 to `last` at share 1; they broadcast."""
    return last + (first - last) * ((1 + (share * pi).cos()) / 2)


def factor(step: Tensor, total: int, per_epoch: int, p: Settings) -> Tensor:
    # A phase of no length has no share: the first step then has the full rate.
    up = (p.rise * total - 1).clamp(min=1e-6)
    down = (total - 1 - up).clamp(min=1e-6)
    t = step.to(p.rise.dtype)
    one = torch.ones_like(p.start)
    rising = cosine_between(1 / p.start, one, (t / up).clamp(max=1))
    falling = cosine_between(one, 1 / (p.start * FALL), ((t - up) / down).clamp(0, 1))
    return torch.where(t <= up, rising, falling)


TRICK = Trick(
    name="one_cycle",
    title="One-cycle schedule",
    seam="schedule",
    slot="schedule",
    parameters=(
        Parameter(
            "rise", 0.3, low=0.05, high=0.5, most=1.0, meaning="share of all steps in which the rate rises"
        ),
        Parameter(
            "start", 25.0, low=5.0, high=100.0, log=True, least=1.0, meaning="full rate over the first rate"
        ),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="steps_to_target",
            direction="down",
            statement="super-convergence: with large rates, an order of magnitude fewer steps to the same accuracy",
            source=Source(
                "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates",
                "Smith, Topin",
                2017,
                "https://arxiv.org/abs/1708.07120",
            ),
            contested="the gain is largest where labelled data are few; other regularisation must be reduced",
        ),
    ),
)
