"""Warmup: the learning rate grows in a straight line from zero over the first share of the training.

    factor(t) = min(1, (t + 1) / (s · T)),   t = 0 … T − 1

Shapes: t is int64 `[…, K]` (steps taken so far), s is `[K]`, T is the number of steps of the whole training. The
line starts at zero before the first step; a step has the value that the line reaches at its end, so that no
step is wasted on a rate of zero. It multiplies whatever schedule is on.

s is a share of the training, not a number of epochs: the paper's 5 epochs were 1/18 of its 90, and here
budgets are often shorter than 25 epochs, of which 5 would be more than all that anyone warms up. A share
means the same at every budget of a study.
Lineage: Goyal et al. 2017, section 2.2, gradual warmup (there from the rate of one worker; here from zero).
"""

from __future__ import annotations

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings


def warmup_factor(step: Tensor, length: Tensor) -> Tensor:
    """Factors at the steps int64 `[…, K]`; `length` `[K]` in steps, zero for no warmup: then exactly 1."""
    return ((step + 1).to(length.dtype) / length).clamp(max=1)


def factor(step: Tensor, total: int, per_epoch: int, p: Settings) -> Tensor:
    return warmup_factor(step, p.share * total)


TRICK = Trick(
    name="warmup",
    title="Learning-rate warmup",
    seam="schedule",
    parameters=(
        Parameter(
            "share",
            0.05,
            low=0.0,
            high=0.2,
            neutral=0.0,
            most=1.0,
            meaning="share of all steps that it lasts",
        ),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="large batches and learning rates train as well as small ones",
            source=Source(
                "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour",
                "Goyal, Dollár, Girshick, Noordhuis, Wesolowski, Kyrola, Tulloch, Jia, He",
                2017,
                "https://arxiv.org/abs/1706.02677",
            ),
        ),
        Claim(
            metric="loss",
            direction="down",
            statement="keeps deep layers stable while rates are large; freezing them does the same",
            source=Source(
                "A Closer Look at Deep Learning Heuristics: Learning rate restarts, Warmup and Distillation",
                "Gotmare, Keskar, Xiong, Socher",
                2018,
                "https://arxiv.org/abs/1810.13243",
            ),
        ),
    ),
)
