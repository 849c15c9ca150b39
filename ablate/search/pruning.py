"""Which lanes of a group may stop early: a pure decision from curves, without Optuna and without a storage.

The rules are Optuna's `MedianPruner` and `SuccessiveHalvingPruner` (the tests hold them to it), with one
difference: the lanes of a group reach an epoch together, so each is judged against all the others, and not
against those alone that happened to come first. A worker can therefore decide without importing Optuna.

Every parameter of a trial is suggested before its first epoch, so a pruned trial teaches the sampler as
much about where it looked as a complete one.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from ablate.records.errors import unknown
from ablate.records.study import Pruner

Curve = Sequence[float]
PRUNERS: tuple[Pruner, ...] = ("none", "median", "successive-halving")
REDUCTION = 2  # a rung halves its trials, which is also when a group of lanes is compacted
FIRST_RUNG = 4  # the first rung stands at a quarter of the budget: earlier, warmup and slow starters lose
STARTUP = 5  # complete curves that a median needs


def rungs(epochs: int) -> list[int]:
    """The epochs (from 1) at which successive halving decides: a quarter, a half; never the last."""
    first = max(1, ceil(epochs / FIRST_RUNG))
    decision_epochs = []
    while first < epochs:
        decision_epochs.append(first)
        first *= REDUCTION
    return decision_epochs


def decide(
    pruner: str, finished: Sequence[Curve], group: Sequence[Curve], *, epochs: int, higher_is_better: bool
) -> list[bool]:
    """For each lane of `group` whether it should stop now.

    A curve holds the metric of epochs 1, 2, …; those of `group` end with the present epoch, those of
    `finished` where their trial ended. `epochs` is the full budget. Pass the curves of the generations that the
    sampler may see (two back) and the decision is as reproducible as the suggestions.
    Raises InputError for an unknown pruner.
    """
    if pruner not in PRUNERS:
        raise unknown("pruner", pruner, PRUNERS)
    epoch = len(group[0]) if group else 0
    if pruner == "none" or not 0 < epoch < epochs:
        return [False] * len(group)
    sign = 1.0 if higher_is_better else -1.0
    lanes = sign * np.array([list(curve) for curve in group], dtype=float)
    if pruner == "median":
        return _below_median(lanes, sign, finished, epochs)
    return _not_promoted(lanes, sign, finished) if epoch in rungs(epochs) else [False] * len(group)


def _below_median(lanes: np.ndarray, sign: float, finished: Sequence[Curve], epochs: int) -> list[bool]:
    """Stop where the best value so far is worse than the median of the complete trials at this epoch."""
    epoch = lanes.shape[1]
    complete = [sign * curve[epoch - 1] for curve in finished if len(curve) >= epochs]
    if len(complete) < STARTUP or epoch < epochs / FIRST_RUNG or np.isnan(complete).all():
        return [False] * len(lanes)
    best = np.fmax.reduce(lanes, axis=1)
    return [bool(b) for b in np.isnan(best) | (best < np.nanmedian(complete))]


def _not_promoted(lanes: np.ndarray, sign: float, finished: Sequence[Curve]) -> list[bool]:
    """Stop what is not among the best 1 / REDUCTION of all trials that reached this rung (ASHA, 1810.05934)."""
    epoch = lanes.shape[1]
    now = lanes[:, -1]
    competing = np.array([*now, *(sign * curve[epoch - 1] for curve in finished if len(curve) >= epoch)])
    competing = np.sort(competing[~np.isnan(competing)])
    if not len(competing):
        return [True] * len(lanes)
    promoted = max(1, len(competing) // REDUCTION)
    return [not value >= competing[-promoted] for value in now]
