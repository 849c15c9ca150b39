"""The measured value of a claim's metric for each run of a pair, and the effect over pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, log
from statistics import fmean, median

import numpy as np

from ablate.ledger.entry import Entry
from ablate.ranking.estimation.paired import mean_of
from ablate.ranking.verdicts.sequential import half_width
from ablate.records.claim_file import Direction
from ablate.records.claim_metrics import COSTS, ROBUST_ACCURACY, STEPS_TO_TARGET
from ablate.records.run import Outcome
from ablate.study.ranking.scores import is_scored_apart, score_of
from ablate.study.session import Session
from ablate.tasks.chance_level import chance_level

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class ClaimEffect:
    """Mean difference (with minus without) and its 95 % interval, in the metric's units; of time and memory the logarithm of the ratio.

    `without`, `with_trick`: the means of the two recipes over the pairs that count. `pairs`: how many those are.
    """

    effect: float
    low: float
    high: float
    without: float
    with_trick: float
    pairs: int


def measured_by_runs(metric: str) -> bool:
    """Whether training runs measure the metric; time and memory are measured separately."""
    return metric not in COSTS


def values(
    session: Session, metric: str, without: Sequence[Entry], with_trick: Sequence[Entry]
) -> tuple[list[float], list[float]]:
    """The metric of every run of both recipes, in the order of their seeds; NaN for a failed run of a metric without a chance level.

    A metric with a curve counts as the mean of the last three evaluations, unless a trick decides at the end what is scored. A failed run counts as
    a constant prediction.
    """
    if metric == STEPS_TO_TARGET:
        return _steps_to_target(session, without, with_trick)
    task = session.context.task
    collapsed = 0.0 if metric == ROBUST_ACCURACY else chance_level(task, metric)
    final = any(
        is_scored_apart(entries[0].run.recipe, session.context.catalogue) for entries in (without, with_trick)
    )
    name = f"validation/{metric}"
    one, other = (
        [score_of(entry, name, higher=True, final=final, collapsed=collapsed) for entry in entries]
        for entries in (without, with_trick)
    )  # fmt: skip
    return one, other


def _steps_to_target(
    session: Session, without: Sequence[Entry], with_trick: Sequence[Entry]
) -> tuple[list[float], list[float]]:
    """Steps, in whole epochs, until the task's metric first reaches the median of what the runs without the trick end at; all steps if it never does."""
    curves = [[*entry.result.curves.get(session.metric, ())] for entry in without]
    ends = [curve[-1] for curve in curves if curve and isfinite(curve[-1])]
    target = median(ends) if ends else float("nan")

    def steps(entry: Entry) -> float:
        curve = entry.result.curves.get(session.metric, ())
        reached = (value >= target if session.higher else value <= target for value in curve)
        epochs = next((i for i, is_there in enumerate(reached, 1) if is_there), session.epochs)
        complete = entry.result.outcome is Outcome.COMPLETE
        return float((epochs if complete else session.epochs) * steps_per_epoch(session, entry))

    return [steps(entry) for entry in without], [steps(entry) for entry in with_trick]


def steps_per_epoch(session: Session, entry: Entry) -> int:
    """Whole batches of the training data at the recipe's batch size."""
    task = session.context.task
    examples = len(task.train)
    size = int(entry.run.recipe.get("batch_size", {}).get("size", task.batch_size))
    return max(1, examples // min(size, examples))


def paired_effect(without: Sequence[float], with_trick: Sequence[float]) -> ClaimEffect:
    """The mean difference with a t interval; pairs with a NaN are left out."""
    one, other = np.array(without), np.array(with_trick)
    kept = np.isfinite(one) & np.isfinite(other)
    effect, se, df = mean_of((other - one)[kept])
    half = float(half_width(np.array(se), np.array(df), CONFIDENCE)) if se else 0.0
    mean_without, mean_with = (
        float(side[kept].mean()) if kept.any() else float("nan") for side in (one, other)
    )
    return ClaimEffect(effect, effect - half, effect + half, mean_without, mean_with, int(kept.sum()))


def cost_effect(without: Sequence[float], with_trick: Sequence[float]) -> ClaimEffect:
    """The effect on seconds or bytes, in logarithms, so that exp(effect) is the ratio; the means are geometric."""
    in_logs = paired_effect([log(value) for value in without], [log(value) for value in with_trick])
    return ClaimEffect(
        in_logs.effect, in_logs.low, in_logs.high, fmean(without), fmean(with_trick), in_logs.pairs
    )


def verdict(effect: ClaimEffect, direction: Direction, margin: float) -> str:
    """ "supported", "contradicted" or "no evidence here".

    "up" and "down" are supported where the interval excludes zero on that side, contradicted where it excludes zero on the other. "same" is supported where the
    interval lies within ±margin (an equivalence test at 2.5 %), contradicted where it lies wholly outside. "not lower" is supported where the interval lies above −margin,
    contradicted where it lies below; "not higher" likewise.
    """
    low, high = effect.low, effect.high
    if not (isfinite(low) and isfinite(high)):
        return "no evidence here"
    if direction == "same":
        if -margin <= low and high <= margin:
            return "supported"
        return "contradicted" if low > margin or high < -margin else "no evidence here"
    if direction in ("down", "not higher"):
        low, high = -high, -low
    threshold = 0.0 if direction in ("up", "down") else -margin
    if low > threshold:
        return "supported"
    return "contradicted" if high < threshold else "no evidence here"
