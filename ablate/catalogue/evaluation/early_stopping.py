"""Early stopping: a run ends when its validation loss no longer falls, and is scored at its best epoch.

    epoch e improves   ⇔  loss_e < best − min_delta;  then best = loss_e
    stop at epoch e    ⇔  e − (the last epoch that improved) ≥ patience

Shapes: losses are `[K, E]`, patience and min_delta (in the units of the loss) are `[K]`. The epoch that improved
last is scored, whether or not the run was stopped. Patience ∞ never stops and scores the last epoch.
The epoch is chosen by the validation split: the run's validation metrics are a little too good, test metrics not.
Lineage: Prechelt 1998, whose criterion UP_s counts rises in a row; with a patience it is the form in common use.
"""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings


def scan(history: Tensor, patience: Tensor, min_delta: Tensor) -> tuple[Tensor, Tensor]:
    """(the epoch that improved last, the first is 0; whether patience is at its end), both `[K]`.

    `history` float64 `[K, E]`: infinity before the first epoch of a lane that is younger than others.
    """
    lowest = torch.full_like(history[:, 0], inf)
    best = torch.zeros_like(lowest, dtype=torch.int64)
    for epoch, loss in enumerate(history.unbind(1)):
        improves = (loss < lowest - min_delta) | (lowest.isinf() & loss.isfinite())
        lowest = loss.where(improves, lowest)
        best = torch.where(improves, epoch, best)
    waited = history.shape[1] - 1 - best
    return best, (waited >= patience.clamp(min=1)) & lowest.isfinite()


def choose(history: Tensor, p: Settings) -> tuple[Tensor, Tensor]:
    patience, min_delta = p.patience.to(history), p.min_delta.to(history)
    best, stop = scan(history, patience, min_delta)
    return best.where(patience.isfinite(), torch.full_like(best, history.shape[1] - 1)), stop


TRICK = Trick(
    name="early_stopping",
    title="Early stopping",
    seam="evaluation",
    parameters=(
        Parameter(
            "patience",
            5,
            low=1,
            high=20,
            neutral=inf,
            least=1,
            meaning="epochs without improvement before the end",
        ),
        Parameter(
            "min_delta",
            0.0,
            low=0.0,
            high=0.01,
            meaning="fall of the validation loss that counts as improvement",
        ),
    ),
    claims=(
        Claim(
            metric="loss",
            direction="down",
            statement="less over-fitting: the weights are those from before the validation loss rose again",
            source=Source(
                "Early Stopping - But When?",
                "Prechelt",
                1998,
                "https://doi.org/10.1007/3-540-49430-8_3",
            ),
            contested="the test loss may fall a second time later on (double descent, Nakkiran et al. 2019, 1912.02292)",
        ),
        Claim(
            metric="time",
            direction="down",
            statement="epochs that would not improve the result are not trained",
            source=Source(
                "Early Stopping - But When?",
                "Prechelt",
                1998,
                "https://doi.org/10.1007/3-540-49430-8_3",
            ),
        ),
    ),
)
