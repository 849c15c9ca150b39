"""Tuning at equal budget: every arm and placebo gets the same number of runs to find its rate and settings, and a reference
no fewer, on seeds that the race does not use.

References are tuned first, and more thoroughly than the arms: an error there would be in every effect. First tries go over rates
around a recipe's own rate; an arm's over rates around its reference's best one, at which its other settings are tried too. A
curve through all of them (`rate_curve`) tells where the top is; the rates there, and the best settings, are run on more,
fresh seeds, and the curve through everything tells the best of the rates that were tried. Where that is the last one tried,
further ones are tried beyond it.
An arm is run at its reference's rate unless the curve says that another is clearly better: arms that differ from
the reference in nothing are then compared with it at one rate, and a placebo is not called harmful because tuning gave it
another.
The learning rate is a nuisance parameter (Google's tuning playbook); equal budgets: Choi et al. 2019 (1910.05446).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ablate.records.recipe import Catalogue, Recipe
from ablate.study.ranking.arms import Arm, rate_of, with_rate
from ablate.study.ranking.tuning_choice import Anchor, chosen_among, finalists_of, other_functions
from ablate.study.ranking.tuning_points import (
    LEAST_REFERENCE,
    Point,
    TuningBudget,
    chosen_of,
    even,
    outwards,
    points_of,
    reference_tuning,
    repeats_of,
)

OUTWARDS = 3
"""Times that an arm whose best rate is the last one tried gets one more, further out."""
FIRST = 21
"""Seeds kept for first tries; finalists are run on those after them."""
Scores = Callable[[Sequence[tuple[str, Recipe, int]]], list[float]]
"""(arm, recipe, seed) of many runs -> their scores, more is better; a failed run has the score of a collapsed one."""


def tune(
    arms: Sequence[Arm],
    references: Mapping[str, str],
    catalogue: Catalogue,
    budget: TuningBudget,
    seeds: Mapping[str, Sequence[int]],
    scores: Scores,
) -> dict[str, list[Point]]:
    """Points of every arm, one of them chosen. `references`: names, arm -> its reference (itself for a reference).

    `seeds`: arm -> at least `seeds_of(budget)` tuning seeds (common ones; a placebo's are its own).
    """
    tuner = _Tuner(catalogue, seeds, scores)
    of_reference = reference_tuning(budget)
    own = {arm.name: arm for arm in arms if references[arm.name] == arm.name}
    rates = {name: rate_of(arm.recipes[0], catalogue) for name, arm in own.items()}
    snapped = {name: even(rate) if rate else None for name, rate in rates.items()}
    tried = tuner.first(own, {name: _ratio(snapped[name], rates[name]) for name in own}, of_reference)
    tuned = tuner.settle(own, tried, of_reference, {})
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


def seeds_of(budget: TuningBudget) -> int:
    """Tuning seeds that an arm or reference needs."""
    return FIRST + max(budget.repeats, LEAST_REFERENCE.repeats)


@dataclass(frozen=True)
class _Tuner:
    """Trains points and notes their scores: first on the first FIRST seeds, finalists on those after them."""

    catalogue: Catalogue
    seeds: Mapping[str, Sequence[int]]
    scores: Scores

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
    ) -> dict[str, list[Point]]:
        """All points, the finalists first, one of them chosen; arms whose best rate is at an edge get further ones."""
        anchors = {name: anchors.get(name, Anchor()) for name in arms}
        points = {name: list(own) for name, own in tried.items()}
        finals = {name: finalists_of(points[name], anchors[name], self.catalogue, budget) for name in arms}
        for _ in range(1 + (OUTWARDS if budget.repeats else 0)):
            seeds = {name: self.seeds[name][FIRST : FIRST + budget.repeats] for name in finals}
            runs = self._run(finals, seeds)
            for name, own in finals.items():
                known = [replace(point, final=scores) for point, scores in zip(own, runs[name], strict=True)]
                points[name] = chosen_among(_in_front(known, points[name]), anchors[name])
            finals = {name: further for name in finals if (further := self._further(points[name]))}
            if not finals:
                break
        return points

    def _further(self, points: Sequence[Point]) -> list[Point]:
        """The chosen setting at the next rate outwards, where the chosen rate is at an edge."""
        chosen = chosen_of(points)
        rate = outwards(points, chosen)
        return [] if rate is None else [Point(with_rate(chosen.recipe, self.catalogue, rate), rate)]

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


def _in_front(finals: Sequence[Point], points: Sequence[Point]) -> list[Point]:
    """`finals` after the finalists of `points` and before its other points, in place of those with the same recipe."""
    recipes = {point.recipe for point in finals}
    rest = [point for point in points if point.recipe not in recipes]
    return [*(p for p in rest if p.final), *finals, *(p for p in rest if not p.final)]


def _ratio(rate: float | None, before: float | None) -> float:
    return rate / before if rate and before else 1.0
