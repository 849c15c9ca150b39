"""What tuning does next with an arm's points: which get a further round, whether it is settled, and which one the arm is run with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import hypot, sqrt

import numpy as np

from ablate.ranking.verdicts.sequential import MARGIN_IN_SIGMA
from ablate.records.recipe import Catalogue, Recipe
from ablate.records.study_rank import OPTIMIZER
from ablate.study.ranking.arms import Arm, with_rate
from ablate.study.ranking.rate_curve import RateCurve, fit_curve, setting_of
from ablate.study.ranking.tuning_points import Point, TuningBudget, chosen_of

NEARLY = 3.0
"""Likely losses within this factor: the reference's rate is kept."""
CLEARLY = 1.0
"""Standard errors by which another point must beat that at the reference's rate, where there is no curve."""
SETTLED, REFERENCE_SETTLED = 0.3, 0.05
"""Likely losses, in margins, at which an arm and a reference get no further round before the race. A reference's is in all its
arms' effects."""

Equal = Callable[[Recipe, Recipe, int], bool]
"""Whether two recipes had equal runs on a seed."""


@dataclass(frozen=True)
class Anchor:
    """What a reference's tuning tells of its arms. `loss`: what its rate loses, root mean square."""

    rate: float | None = None
    optimizer: str | None = None
    curve: RateCurve | None = None
    loss: float = 0.0

    @classmethod
    def of(cls, arm: Arm, points: Sequence[Point], catalogue: Catalogue) -> Anchor:
        """The anchor of a reference that is tuned."""
        optimizer = arm.recipes[0].slot(catalogue, OPTIMIZER)
        chosen = chosen_of(points)
        return cls(chosen.rate, optimizer, _reference_curve(tuple(points)), chosen.loss)

    def for_arm(self, arm: Arm, catalogue: Catalogue) -> Anchor:
        """This anchor for `arm`; its rate is dropped if the arm uses a different optimizer, whose rates are not comparable."""
        same = arm.recipes[0].slot(catalogue, OPTIMIZER) == self.optimizer
        return self if same else replace(self, rate=None)

    def curve_of(self, points: Sequence[Point]) -> RateCurve | None:
        """The curve through an arm's points: like the reference's where the optimizer is the same."""
        return fit_curve(points, self.curve, alike=self.rate is not None)


@lru_cache(maxsize=8)
def _reference_curve(points: tuple[Point, ...]) -> RateCurve | None:
    """The curve through a reference's points, fitted once: arms that are tuned further ask for it again."""
    return fit_curve(points)


def next_points(
    points: Sequence[Point],
    anchor: Anchor,
    curve: RateCurve | None,
    catalogue: Catalogue,
    budget: TuningBudget,
) -> list[Point]:
    """What the next round is run for: the points where the curve says that the best rate and setting may be.

    Without a curve: the best point at the anchor's rate, then the best points.
    """
    if curve is None:
        ordered = sorted(points, key=lambda point: -point.mean)
        wanted = [point for point in ordered if anchor.rate is not None and point.rate == anchor.rate][:1]
        wanted = [*wanted, *(point for point in ordered if point not in wanted)]
    else:
        recipes = {setting_of(point.recipe): point.recipe for point in points}
        wanted = [
            Point(with_rate(recipes[setting], catalogue, rate), rate)
            for setting, rate in curve.promising(budget.finalists)
        ]
    known = {point.recipe: point for point in points}
    unique = {point.recipe: known.get(point.recipe, point) for point in wanted}
    return list(unique.values())[: budget.finalists]


def is_settled(
    points: Sequence[Point],
    anchor: Anchor,
    curve: RateCurve | None,
    margin: float | None,
    share: float = SETTLED,
) -> bool:
    """Whether a further round would hardly change an effect: an arm loses no more than `share` margins. `margin`: the smallest effect
    worth having; None: MARGIN_IN_SIGMA σ of one run. An arm without a curve is settled once it has had a round."""
    if curve is None:
        return True
    share = REFERENCE_SETTLED if anchor.curve is None else share
    return chosen_of(points).loss <= hypot(share * (margin or MARGIN_IN_SIGMA * curve.sigma), anchor.loss)


def chosen_among(points: Sequence[Point], anchor: Anchor, curve: RateCurve | None) -> list[Point]:
    """The same points, one of them marked: the setting with the top of the curve, at the rate that probably loses least, or at the
    anchor's rate where that loses hardly more. Without a curve: the finalist with the best mean, or that at the anchor's rate."""
    if curve is None:
        choice = _best_mean(points, anchor)
        return _marked(points, choice, anchor.loss)
    asked = [
        (setting_of(point.recipe), point.rate) for point in points if point.rate is not None and point.runs
    ]
    setting, _ = asked[int(curve.heights(asked).argmax())]
    rates = [rate for own, rate in asked if own == setting]
    losses = dict(zip(rates, curve.likely_losses(setting, rates), strict=True))
    rate = min(rates, key=losses.__getitem__)
    if anchor.rate in losses and losses[anchor.rate] <= NEARLY * losses[rate]:
        rate = anchor.rate
    choice = next(point for point in points if setting_of(point.recipe) == setting and point.rate == rate)
    return _marked(points, choice, hypot(losses[rate], anchor.loss))


def _marked(points: Sequence[Point], choice: Point, loss: float) -> list[Point]:
    """The points, `choice` marked as the one that the arm is run with."""
    return [replace(point, chosen=point is choice, loss=loss if point is choice else 0.0) for point in points]


def _best_mean(points: Sequence[Point], anchor: Anchor) -> Point:
    """The point of a round with the best mean; the first one at the anchor's rate unless the best beats it clearly."""
    finals = [point for point in points if point.final] or points[:1]
    best = max(finals, key=lambda point: point.score)
    before = next((point for point in finals if point.rate == anchor.rate), best)
    common = sorted(best.by_seed.keys() & before.by_seed.keys())
    gains = np.array(
        [best.by_seed[seed] - before.by_seed[seed] for seed in common] or [best.score - before.score]
    )
    if anchor.curve is not None:
        deviation = sqrt(2) * anchor.curve.sigma
    else:
        deviation = float(gains.std(ddof=1)) if len(gains) > 1 else 0.0
    return best if gains.mean() > CLEARLY * deviation / np.sqrt(len(gains)) else before


def at_all_rates(kept: Sequence[Point], tried: Sequence[Point], catalogue: Catalogue) -> list[Point]:
    """The points that are missing for the settings of `kept` to be tried at every rate of `tried`."""
    recipes = {setting_of(point.recipe): point.recipe for point in kept}
    rates = sorted({point.rate for point in tried if point.rate is not None})
    there = {(setting_of(point.recipe), point.rate) for point in kept}
    return [
        Point(with_rate(recipe, catalogue, rate), rate)
        for setting, recipe in recipes.items()
        for rate in rates
        if (setting, rate) not in there
    ]


def other_functions(
    points: Sequence[Point], reference: Sequence[Point], seeds: Sequence[int], equal: Equal
) -> list[Point]:
    """The points without settings that compute what the reference does: equal scores at every rate and seed that both tried, and equal runs by
    `equal`, as an accuracy of few examples is often the same by chance. `seeds`: of first tries."""
    known = {point.rate: point for point in reference}
    by_setting: dict[Recipe, list[Point]] = {}
    for point in points:
        by_setting.setdefault(setting_of(point.recipe), []).append(point)
    other = []
    for group in by_setting.values():
        shared = [
            (point, known[point.rate], place)
            for point in group
            if point.rate in known
            for place in range(min(len(point.scores), len(known[point.rate].scores)))
        ]
        same = all(
            one.scores[place] == its.scores[place] and equal(one.recipe, its.recipe, seeds[place])
            for one, its, place in shared
        )
        if not shared or not same:
            other += group
    return other
