"""Tuning by one rule for all: every arm and placebo gets the same first runs to find its rate and settings, then rounds until
it is settled, at most as many as the budget has; on seeds that the race does not use.

References are tuned first, and more thoroughly than the arms: an error there would be in every effect. First tries go over rates
around a recipe's own rate; an arm's over rates around its reference's best one, at which its other settings are tried too. A
curve through all runs (`rate_curve`) tells where the top may be; the points there are run on fresh seeds, and so on, until
the best of the points that were tried loses too little to matter to the unknown best one. Rates beyond those that
were tried are candidates too, so that a range is widened where the best rate is at its edge.
An arm is run at its reference's rate unless the curve says that another is clearly better: arms that differ from
the reference in nothing are then compared with it at one rate, and a placebo is not called harmful because tuning gave it
another. Most arms are decided by the first pairs of the race, whatever their tuning leaves open; those that are not get further
rounds then (`tune_closer`).
The learning rate is a nuisance parameter (Google's tuning playbook); equal budgets: Choi et al. 2019 (1910.05446). What is
equal here is the rule to stop, not the number of runs: an arm whose runs leave its best rate open gets more of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ablate.records.recipe import Catalogue, Recipe
from ablate.study.ranking.arms import Arm, rate_of
from ablate.study.ranking.rate_curve import fit_curve
from ablate.study.ranking.tuning_choice import (
    SETTLED,
    Anchor,
    chosen_among,
    is_settled,
    next_points,
    other_functions,
)
from ablate.study.ranking.tuning_points import (
    LEAST_REFERENCE,
    Point,
    TuningBudget,
    chosen_of,
    even,
    points_of,
    reference_tuning,
    repeats_of,
)

FIRST = 21
"""Seeds kept for first tries; rounds are run on those after them."""
FURTHER_ROUNDS = 6
"""Rounds that an arm gets at most beside those of its budget."""
LEAST_ROUNDS = 2
"""Rounds that a reference gets at least: they tell the scatter of runs and of seeds."""
Scores = Callable[[Sequence[tuple[str, Recipe, int]]], list[float]]
"""(arm, recipe, seed) of many runs -> their scores, more is better; a failed run has the score of a collapsed one."""


def tune(
    arms: Sequence[Arm],
    references: Mapping[str, str],
    catalogue: Catalogue,
    budget: TuningBudget,
    seeds: Mapping[str, Sequence[int]],
    scores: Scores,
    margin: float | None = None,
) -> dict[str, list[Point]]:
    """Points of every arm, one of them chosen. `references`: names, arm -> its reference (itself for a reference).

    `seeds`: arm -> at least `seeds_of(budget)` tuning seeds (common ones; a placebo's are its own). `margin`: the smallest effect
    worth having, in scores, if that is known.
    """
    tuner = _Tuner(catalogue, seeds, scores, margin)
    of_reference = reference_tuning(budget)
    own = {arm.name: arm for arm in arms if references[arm.name] == arm.name}
    rates = {name: rate_of(arm.recipes[0], catalogue) for name, arm in own.items()}
    snapped = {name: even(rate) if rate else None for name, rate in rates.items()}
    tried = tuner.first(own, {name: _ratio(snapped[name], rates[name]) for name in own}, of_reference)
    tuned = tuner.settle(own, tried, of_reference, {}, LEAST_ROUNDS)
    tuned = tuner.leading(tuned)
    anchors = {name: Anchor.of(arm, tuned[name], catalogue) for name, arm in own.items()}

    rest = {arm.name: arm for arm in arms if arm.name not in own}
    scales = {name: _ratio(anchors[name].rate, rates[name]) for name in own}
    tried = tuner.first(rest, {name: scales.get(references[name], 1.0) for name in rest}, budget)
    for name, arm in rest.items():
        reference = references[name]
        if not arm.is_placebo and reference in own:
            tried[name] = other_functions(tried[name], tuned[reference], anchors[reference].rate, catalogue)
    seen = {
        name: anchors.get(references[name], Anchor()).seen_from(arm, catalogue) for name, arm in rest.items()
    }
    return {**tuned, **tuner.settle(rest, tried, budget, seen)}


def tune_closer(
    arms: Sequence[Arm],
    references: Mapping[str, Arm],
    points: Mapping[str, Sequence[Point]],
    catalogue: Catalogue,
    budget: TuningBudget,
    seeds: Mapping[str, Sequence[int]],
    scores: Scores,
    margin: float,
    share: float,
) -> dict[str, list[Point]]:
    """The points of `arms` after up to FURTHER_ROUNDS more, until an arm loses no more than `share` margins. `points`: of all arms
    and references, as `tune` left them; `references`: arm -> its reference."""
    tuner = _Tuner(catalogue, seeds, scores, margin, share)
    anchors = {arm.name: Anchor.of(arm, points[arm.name], catalogue) for arm in references.values()}
    seen = {arm.name: anchors[references[arm.name].name].seen_from(arm, catalogue) for arm in arms}
    more = replace(budget, rounds=FURTHER_ROUNDS)
    tried = {arm.name: points[arm.name] for arm in arms}
    place = FIRST + budget.rounds * budget.repeats
    return tuner.settle({arm.name: arm for arm in arms}, tried, more, seen, first_place=place)


def seeds_of(budget: TuningBudget) -> int:
    """Tuning seeds that an arm or reference needs."""
    own = (budget.rounds + FURTHER_ROUNDS) * budget.repeats
    return FIRST + max(own, LEAST_REFERENCE.rounds * LEAST_REFERENCE.repeats)


@dataclass(frozen=True)
class _Tuner:
    """Trains points and notes their scores: first tries on the first FIRST seeds, rounds on those after them."""

    catalogue: Catalogue
    seeds: Mapping[str, Sequence[int]]
    scores: Scores
    margin: float | None
    share: float = SETTLED

    def first(
        self, arms: Mapping[str, Arm], scales: Mapping[str, float], budget: TuningBudget
    ) -> dict[str, list[Point]]:
        """Each arm's first tries, around its own rate times `scales`."""
        points = {name: points_of(arm, self.catalogue, budget, scales[name]) for name, arm in arms.items()}
        repeats = {name: repeats_of(points[name], budget) for name in arms}
        runs = self._run(points, {name: self.seeds[name][: repeats[name]] for name in arms})
        return {
            name: [replace(point, scores=own) for point, own in zip(points[name], runs[name], strict=True)]
            for name in arms
        }

    def leading(self, tuned: Mapping[str, Sequence[Point]]) -> dict[str, list[Point]]:
        """References' points with first tries of the chosen one too: arms, whose first tries are around it, are compared with it."""
        missing = {
            name: [chosen_of(points)] for name, points in tuned.items() if not chosen_of(points).scores
        }
        repeats = {name: max(len(point.scores) for point in tuned[name]) for name in missing}
        runs = self._run(missing, {name: self.seeds[name][: repeats[name]] for name in missing})
        return {
            name: [
                replace(point, scores=runs[name][0]) if point.chosen and name in missing else point
                for point in points
            ]
            for name, points in tuned.items()
        }

    def settle(
        self,
        arms: Mapping[str, Arm],
        tried: Mapping[str, Sequence[Point]],
        budget: TuningBudget,
        anchors: Mapping[str, Anchor],
        least: int = 1,
        first_place: int = FIRST,
    ) -> dict[str, list[Point]]:
        """All points, one of them chosen, after at least `least` rounds and then until the arm is settled. `first_place`: that of the
        first round's first seed."""
        anchors = {name: anchors.get(name, Anchor()) for name in arms}
        curves = {name: fit_curve(own, anchors[name].curve) for name, own in tried.items()}
        points = {name: chosen_among(own, anchors[name], curves[name]) for name, own in tried.items()}
        unsettled = list(arms)
        for number in range(budget.rounds if budget.repeats else 0):
            start = first_place + number * budget.repeats
            places = range(start, start + budget.repeats)
            asked = {
                name: next_points(points[name], anchors[name], curves[name], self.catalogue, budget)
                for name in unsettled
            }
            runs = self._run(asked, {name: [self.seeds[name][place] for place in places] for name in asked})
            for name, own in asked.items():
                known = {point.recipe: point for point in points[name]}
                new = [p.further(places, scores) for p, scores in zip(own, runs[name], strict=True)]
                merged = list((known | {point.recipe: point for point in new}).values())
                curves[name] = fit_curve(merged, anchors[name].curve)
                points[name] = chosen_among(merged, anchors[name], curves[name])
            if number + 1 >= least:
                unsettled = [
                    name
                    for name in unsettled
                    if not is_settled(points[name], anchors[name], curves[name], self.margin, self.share)
                ]
            if not unsettled:
                break
        return {name: sorted(own, key=lambda point: not point.final) for name, own in points.items()}

    def _run(
        self, points: Mapping[str, Sequence[Point]], seeds: Mapping[str, Sequence[int]]
    ) -> dict[str, list[tuple[float, ...]]]:
        """Scores of each arm's points on its seeds."""
        asked = [
            (name, point.recipe, seed)
            for name, own in points.items()
            for point in own
            for seed in seeds[name]
        ]
        values = iter(self.scores(asked))
        return {name: [tuple(next(values) for _ in seeds[name]) for _ in own] for name, own in points.items()}


def _ratio(rate: float | None, before: float | None) -> float:
    return rate / before if rate and before else 1.0
