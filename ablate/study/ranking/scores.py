"""The score of a run in the tuned design: the mean of its last evaluations, or the metric of its scored weights."""

from __future__ import annotations

from math import isfinite

from ablate.catalogue.registry import Registry
from ablate.ledger.entry import Entry
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome

LAST = 3
"""Evaluations whose mean a run counts for: on digits this halves the variance of an effect (design notes, 11 arms × 512 runs)."""
FINAL_PORTS = ("choose", "views", "ensemble")
"""Tricks with one of these score other weights or other outputs than the curves show."""


def is_scored_apart(recipe: Recipe, catalogue: Registry) -> bool:
    """Whether a trick of the recipe decides at the end what is scored (early stopping, test-time views)."""
    return any(
        getattr(catalogue.code(name), port, None) is not None
        for name in recipe
        if catalogue[name].seam == "evaluation"
        for port in FINAL_PORTS
    )


def score_of(entry: Entry, metric: str, *, higher: bool, final: bool, collapsed: float | None) -> float:
    """More is better. `final`: the metric of what is scored at the end, else the mean of the last evaluations.

    A run that did not complete, or whose metric is no number, counts as `collapsed` (the metric of a constant prediction).
    """
    sign = 1.0 if higher else -1.0
    result = entry.result
    curve = result.curves.get(metric, ())[-LAST:]
    value = result.metrics.get(metric, float("nan")) if final or not curve else sum(curve) / len(curve)
    if result.outcome is not Outcome.COMPLETE or not isfinite(value):
        return float("nan") if collapsed is None else sign * collapsed
    return sign * value


def floor_of(reference: float, collapsed: float | None) -> float:
    """The least that a run counts for: as much worse than a constant prediction as the reference is better than one.

    One exploded run in two hundred (an RMSE of 10⁷) would otherwise decide the mean of its arm. No floor, -inf, where the
    reference itself is no better than a constant prediction, or the metric has no such level. Scores: more is better.
    """
    if collapsed is None or not reference > collapsed:
        return float("-inf")
    return 2 * collapsed - reference


def failed(entry: Entry) -> bool:
    """Whether the run did not complete."""
    return entry.result.outcome is not Outcome.COMPLETE
