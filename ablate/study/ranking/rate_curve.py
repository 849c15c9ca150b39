"""The best learning rate of a reference by a curve through all its tuning runs, not by the best single mean.

    score = seed + setting + b x + c x²,    x = log₁₀ rate

fitted by least squares to the runs near the best finalist. The means of a few runs at neighbouring rates differ by chance
about as much as they differ truly; a curve uses the runs of all rates. In simulations (a decade costs 6 σ of a run) a
reference, whose loss is in every effect, then loses 0.08 σ in place of 0.17 σ to a rate that is not its best. Not for arms: their
first tries are many settings on one seed, whose errors are not independent, and the curve follows that seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ablate.records.recipe import Recipe
from ablate.study.ranking.arms import LR
from ablate.study.ranking.tuning_points import Point, chosen_of

REACH = 1.05
"""Decades from the best finalist to the points that are fitted: three places of the lattice."""
DROP = 5.0
"""Points worse than the best finalist by more standard deviations of a run lie beyond the curve (runs that diverge)."""
LEAST_RATES = 4


def on_curve(points: Sequence[Point]) -> list[Point]:
    """The same points, with the one chosen whose rate is best on the curve, among those with the setting chosen before.

    Unchanged where fewer than LEAST_RATES rates lie near, finalists were run once, or the curve has no maximum.
    """
    choice = chosen_of(points)
    near = _near(points)
    curve = _fit(near)
    if curve is None:
        return list(points)
    setting = _setting(choice.recipe)
    candidates = [point for point in near if _setting(point.recipe) == setting]
    if not candidates:
        return list(points)
    best = max(candidates, key=lambda point: float(_terms(point) @ curve))
    return [replace(point, chosen=point.recipe == best.recipe) for point in points]


def _near(points: Sequence[Point]) -> list[Point]:
    """The points that the curve is fitted to; none where finalists were run once."""
    finals = [point for point in points if len(point.final) > 1 and point.rate is not None]
    if not finals:
        return []
    best = max(finals, key=lambda point: point.score)
    sigma = float(np.median([np.std(point.final, ddof=1) for point in finals]))
    assert best.rate is not None
    return [
        point
        for point in points
        if point.rate is not None
        and abs(np.log10(point.rate / best.rate)) < REACH
        and point.score >= best.score - DROP * sigma
    ]


def _fit(points: Sequence[Point]) -> np.ndarray | None:
    """(b, c); None if they are not determined, or the curve has no maximum."""
    if len({point.rate for point in points}) < LEAST_RATES:
        return None
    settings = list(dict.fromkeys(_setting(point.recipe) for point in points))
    rows, seeds, scores = [], [], []
    for point in points:
        own = [float(_setting(point.recipe) == other) for other in settings[1:]]
        for stage, values in enumerate((point.scores, point.final)):
            for place, value in enumerate(values):
                rows.append([*_terms(point), *own])
                seeds.append((stage, place))
                scores.append(value)
    known = sorted(set(seeds))
    dummies = np.array([[float(seed == other) for other in known] for seed in seeds])
    design, y = np.hstack([np.array(rows), dummies]), np.array(scores)
    coefficients, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    if len(y) <= rank or coefficients[1] >= 0:
        return None
    return np.asarray(coefficients[:2])


def _terms(point: Point) -> np.ndarray:
    assert point.rate is not None
    x = np.log10(point.rate)
    return np.array([x, x * x])


def _setting(recipe: Recipe) -> Recipe:
    """The recipe without the optimizer that has the learning rate."""
    return Recipe({name: settings for name, settings in recipe.items() if LR not in settings})
