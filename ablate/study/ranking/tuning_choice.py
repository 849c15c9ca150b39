"""What tuning does next with an arm's points: which go on to more seeds, and which one the arm is run with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import hypot

import numpy as np

from ablate.records.recipe import Catalogue, Recipe
from ablate.records.study_rank import OPTIMIZER
from ablate.study.ranking.arms import Arm, with_rate
from ablate.study.ranking.rate_curve import RateCurve, between, fit_curve, setting_of
from ablate.study.ranking.tuning_points import Point, TuningBudget, chosen_of, lattice

CLEARLY = 0.5
"""Standard errors by which another rate must beat the reference's."""
BESIDE = 2
"""Places of the lattice from the top of the curve to the rates beside it that are run on more seeds."""


@dataclass(frozen=True)
class Anchor:
    """What a reference's tuning tells of its arms. `deviation`: of the difference between two of its rates, over seeds.

    `loss`: what its rate is expected to lose.
    """

    rate: float | None = None
    optimizer: str | None = None
    curve: RateCurve | None = None
    deviation: float | None = None
    loss: float = 0.0

    @classmethod
    def of(cls, arm: Arm, points: Sequence[Point], catalogue: Catalogue) -> Anchor:
        """Of a reference that is tuned."""
        optimizer = arm.recipes[0].slot(catalogue, OPTIMIZER)
        chosen = chosen_of(points)
        return cls(chosen.rate, optimizer, fit_curve(points), deviation_of(points), chosen.loss)

    def seen_from(self, arm: Arm, catalogue: Catalogue) -> Anchor:
        """Without a rate where the arm has another optimizer, whose rates are on another scale."""
        same = arm.recipes[0].slot(catalogue, OPTIMIZER) == self.optimizer
        return self if same else replace(self, rate=None)


def finalists_of(
    tried: Sequence[Point], anchor: Anchor, catalogue: Catalogue, budget: TuningBudget
) -> list[Point]:
    """What is run on more seeds: the two best settings at the top of the curve, then the best at the rates beside it.

    Without a curve: the best point at the anchor's rate, then the best points.
    """
    ordered = sorted(tried, key=lambda point: -point.score)
    curve = fit_curve(tried, anchor.curve)
    if curve is None:
        wanted = [point for point in ordered if anchor.rate is not None and point.rate == anchor.rate][:1]
    else:
        rates = between(lattice(curve.rates[0], -BESIDE), lattice(curve.rates[1], BESIDE))
        heights = {setting: curve.heights(setting, rates) for setting in curve.settings}
        best, *others = sorted(heights, key=lambda setting: -heights[setting].max())
        top = int(heights[best].argmax())
        sides = [place for place in (top - BESIDE, top + BESIDE) if 0 <= place < len(rates)]
        sides.sort(key=lambda place: -heights[best][place])
        recipes = {setting_of(point.recipe): point.recipe for point in tried}
        pairs = [(setting, top) for setting in (best, *others[:1])] + [(best, place) for place in sides]
        wanted = [
            Point(with_rate(recipes[setting], catalogue, rates[place]), rates[place])
            for setting, place in pairs
        ]
    known = {point.recipe: point for point in tried}
    unique = {point.recipe: known.get(point.recipe, point) for point in [*wanted, *ordered]}
    return list(unique.values())[: budget.finalists]


def chosen_among(points: Sequence[Point], anchor: Anchor) -> list[Point]:
    """The same points, one of them marked: the best on the curve, or its setting at the anchor's rate unless that is clearly
    worse. Without a curve: the finalist with the best mean, or that at the anchor's rate."""
    curve = fit_curve(points, anchor.curve)
    if curve is None:
        choice = _best_mean(points, anchor)
        return _marked(points, choice, anchor.loss)
    scored = [
        (float(curve.heights(setting_of(point.recipe), [point.rate])[0]), point)
        for point in points
        if point.rate is not None
    ]
    choice = max(scored, key=lambda pair: pair[0])[1]
    setting = setting_of(choice.recipe)
    same = [point for _, point in scored if setting_of(point.recipe) == setting]
    before = next((point for point in same if point.rate == anchor.rate), choice)
    gain, error = curve.gain(setting, choice.rate or 0.0, before.rate or 0.0)
    choice = choice if gain > CLEARLY * error else before
    loss = hypot(curve.expected_loss((setting, choice.rate or 0.0)), anchor.loss)
    return _marked(points, choice, loss)


def _marked(points: Sequence[Point], choice: Point, loss: float) -> list[Point]:
    """The points, `choice` marked as the one that the arm is run with."""
    return [replace(point, chosen=point is choice, loss=loss if point is choice else 0.0) for point in points]


def _best_mean(points: Sequence[Point], anchor: Anchor) -> Point:
    """The finalist with the best mean; the first one at the anchor's rate unless the best beats it clearly."""
    finals = [point for point in points if point.final] or points[:1]
    best = max(finals, key=lambda point: point.score)
    before = next((point for point in finals if point.rate == anchor.rate), best)
    gains = np.subtract(best.final or best.scores, before.final or before.scores)
    deviation = anchor.deviation
    if deviation is None:
        deviation = float(gains.std(ddof=1)) if len(gains) > 1 else 0.0
    return best if gains.mean() > CLEARLY * deviation / np.sqrt(len(gains)) else before


def deviation_of(points: Iterable[Point]) -> float | None:
    """Standard deviation over seeds of the difference between two rates of a reference: the median over its finalists, beside
    the best; None where none was run twice."""
    finals = [point.final for point in points if len(point.final) > 1]
    best = max(finals, key=lambda scores: float(np.mean(scores)), default=())
    spreads = [float(np.std(np.subtract(best, other), ddof=1)) for other in finals if other is not best]
    return float(np.median(spreads)) if spreads else None


def other_functions(
    points: Sequence[Point], reference: Sequence[Point], rate: float | None, catalogue: Catalogue
) -> list[Point]:
    """The points without settings that compute what the reference does (equal scores at every rate and seed that both
    tried); where all do, one at the reference's `rate`: what computes the same is not run at another rate."""
    known = {point.rate: point.scores for point in reference}
    by_setting: dict[Recipe, list[Point]] = {}
    for point in points:
        by_setting.setdefault(setting_of(point.recipe), []).append(point)
    other = []
    for group in by_setting.values():
        pairs = [(known[point.rate], point.scores) for point in group if point.rate in known]
        shared = [(a[:n], b[:n]) for a, b in pairs if (n := min(len(a), len(b)))]
        if not shared or any(a != b for a, b in shared):
            other += group
    return other or [replace(points[0], recipe=with_rate(points[0].recipe, catalogue, rate), rate=rate)]
