"""Pruning as a pure function of learning curves, without Optuna and without a storage.

The rules are those of Optuna's `MedianPruner` and `SuccessiveHalvingPruner` (tests compare them), with one
difference: the lanes of a group reach an epoch together, so each is compared with all the others, not only
with those that came first. A worker can therefore decide without importing Optuna.

Every parameter of a trial is suggested before its first epoch, so a pruned trial tells the sampler as
much about its location as a complete one.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from ablate.records.errors import unknown
from ablate.records.study import Pruner

Curve = Sequence[float]
PRUNERS: tuple[Pruner, ...] = ("none", "median", "successive-halving")
REDUCTION = 2  # a rung stops half of the trials; a group of lanes is compacted at the same time
FIRST_RUNG = 4  # the first rung is at 1/4 of the budget: earlier, warmup and slow starters would lose
STARTUP = 5  # complete curves needed for a median


def rungs(epochs: int) -> list[int]:
    """The epochs (from 1) at which successive halving decides: at 1/4 and 1/2 of the budget, never the last."""
    first = max(1, ceil(epochs / FIRST_RUNG))
    decision_epochs = []
    while first < epochs:
        decision_epochs.append(first)
        first *= REDUCTION
    return decision_epochs


def expected_share(pruner: str, epochs: int) -> float:
    """The share of its epochs that a trial is expected to train: with successive halving half of those that reach a rung are stopped there,
    with the median half at the first epoch at which it may stop any."""
    if pruner == "none":
        return 1.0
    stops = rungs(epochs) if pruner == "successive-halving" else rungs(epochs)[:1]
    alive, trained, before = 1.0, 0.0, 0
    for stop in stops:
        trained, alive, before = trained + alive * (stop - before), alive / REDUCTION, stop
    return (trained + alive * (epochs - before)) / epochs


def decide(
    pruner: str, finished: Sequence[Curve], group: Sequence[Curve], *, epochs: int, higher_is_better: bool
) -> list[bool]:
    """Whether to stop each lane of `group` now.

    A curve has the metric of epochs 1, 2, …; those of `group` end at the current epoch, those of
    `finished` where their trial ended. `epochs` is the full budget. If `finished` are the curves of the generations that
    the sampler uses (two back), the decision is as reproducible as the suggestions.
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
    """Stop lanes whose best value so far is worse than the median of the complete trials at this epoch."""
    epoch = lanes.shape[1]
    complete = [sign * curve[epoch - 1] for curve in finished if len(curve) >= epochs]
    if len(complete) < STARTUP or epoch < epochs / FIRST_RUNG or np.isnan(complete).all():
        return [False] * len(lanes)
    best = np.fmax.reduce(lanes, axis=1)
    return [bool(b) for b in np.isnan(best) | (best < np.nanmedian(complete))]


def _not_promoted(lanes: np.ndarray, sign: float, finished: Sequence[Curve]) -> list[bool]:
    """Stop lanes that are not among the best 1 / REDUCTION of all trials that reached this rung (ASHA, 1810.05934)."""
    epoch = lanes.shape[1]
    now = lanes[:, -1]
    competing = np.array([*now, *(sign * curve[epoch - 1] for curve in finished if len(curve) >= epoch)])
    competing = np.sort(competing[~np.isnan(competing)])
    if not len(competing):
        return [True] * len(lanes)
    promoted = max(1, len(competing) // REDUCTION)
    return [not value >= competing[-promoted] for value in now]
