"""Tuning at equal budget: every arm and placebo gets the same number of runs to find its rate and settings, and a reference
no fewer: it tries every rate on the seeds on which its arms choose theirs.

Rates lie on one lattice, 1-2-5 a decade, whatever the reference's own rate is: a study that begins at half or at twice a
rate tries the same ones. References are tuned first, and more thoroughly than the arms: an error there would be in every effect. Then each arm's
first setting is tried at rates around its reference's best, its other settings at that rate; the best setting at the best
rate and the next best points are run on more, fresh seeds. Where the best rate is the last one tried, further ones are tried
beyond it. A reference's best rate is the one at the top of a curve through all its runs (`rate_curve`).
The reference's own rate keeps its place unless another one is clearly better: arms whose best rate is
the reference's are then compared at one rate, and a placebo is not called harmful because tuning gave it another.
The learning rate is a nuisance parameter (Google's tuning playbook); equal budgets: Choi et al. 2019 (1910.05446).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ablate.records.recipe import Catalogue, Recipe
from ablate.records.study_rank import OPTIMIZER
from ablate.study.ranking.arms import LR, Arm, rate_of, with_rate
from ablate.study.ranking.rate_curve import on_curve
from ablate.study.ranking.tuning_points import (
    LEAST_REFERENCE,
    Point,
    TuningBudget,
    chosen_of,
    outwards,
    points_of,
    reference_tuning,
    repeats_of,
)

OUTWARDS = 3
"""Times that an arm whose best rate is the last one tried gets one more, further out."""
FIRST = 21
"""Seeds kept for first tries; finalists are run on those after them."""
CLEARLY = 1.5
"""Standard errors by which another rate must beat the reference's."""
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
    of_reference = reference_tuning(budget)
    tuner = _Tuner(catalogue, seeds, scores)
    own = {arm.name: arm for arm in arms if references[arm.name] == arm.name}
    first = {name: points_of(arm, catalogue, of_reference) for name, arm in own.items()}
    tried = tuner.first(
        first, {name: repeats_of(arm, first[name], of_reference) for name, arm in own.items()}
    )
    finals = {
        name: _finalists(arm, tried[name], _best(tried[name]), catalogue, of_reference)
        for name, arm in own.items()
    }
    found = {n: on_curve(points) for n, points in tuner.settle(finals, tried, of_reference).items()}
    leading = {name: chosen_of(points) for name, points in found.items()}

    rest = {arm.name: arm for arm in arms if arm.name not in own}
    scales = {
        name: _ratio(leading[name].rate, rate_of(arm.recipes[0], catalogue)) for name, arm in own.items()
    }
    points = {
        name: points_of(arm, catalogue, budget, scales.get(references[name], 1.0))
        for name, arm in rest.items()
    }
    tried |= tuner.first(points, {name: repeats_of(arm, points[name], budget) for name, arm in rest.items()})
    finals = {}
    for name, arm in rest.items():
        reference = references[name]
        possible = tried[name]
        if not arm.is_placebo and reference in leading:
            possible = _other_functions(possible, tried[reference], leading[reference].rate, catalogue)
        anchor = leading.get(reference, _best(possible))
        finals[name] = _finalists(arm, possible, anchor, catalogue, budget)
    return {**found, **tuner.settle(finals, tried, budget, deviation_of(found.values()))}


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
        self, points: Mapping[str, Sequence[Point]], repeats: Mapping[str, int]
    ) -> dict[str, list[Point]]:
        """Each point on the first seeds, as many as `repeats` says of its arm."""
        asked = [
            (name, point.recipe, seed)
            for name, own in points.items()
            for point in own
            for seed in self.seeds[name][: repeats[name]]
        ]
        values = iter(self.scores(asked))
        return {
            name: [replace(point, scores=tuple(next(values) for _ in range(repeats[name]))) for point in own]
            for name, own in points.items()
        }

    def settle(
        self,
        finals: Mapping[str, Sequence[Point]],
        tried: Mapping[str, Sequence[Point]],
        budget: TuningBudget,
        deviation: float | None = None,
    ) -> dict[str, list[Point]]:
        """All points, the finalists first, one of them chosen; arms whose best rate is at an edge get further ones."""
        finals = dict(finals)
        found = self._chosen(finals, tried, budget, deviation)
        for _ in range(OUTWARDS if budget.repeats else 0):
            further = {
                name: _one_further(found[name], points, self.catalogue)
                for name, points in finals.items()
                if outwards(found[name], chosen_of(found[name])) is not None
            }
            if not further:
                break
            finals |= further
            found |= self._chosen(further, {name: found[name] for name in further}, budget, deviation)
        return found

    def _chosen(
        self,
        finals: Mapping[str, Sequence[Point]],
        tried: Mapping[str, Sequence[Point]],
        budget: TuningBudget,
        deviation: float | None,
    ) -> dict[str, list[Point]]:
        """Run the finalists on seeds that chose none of them, and mark the one that each arm is run with."""
        asked = [
            (name, point.recipe, seed)
            for name, points in finals.items()
            for point in points
            if not point.final
            for seed in self.seeds[name][FIRST : FIRST + budget.repeats]
        ]
        values = iter(self.scores(asked))
        found: dict[str, list[Point]] = {}
        for name, points in finals.items():
            known = [
                point
                if point.final
                else replace(point, final=tuple(next(values) for _ in range(budget.repeats)))
                for point in points
            ]
            choice = choose(known, deviation)
            rest = [point for point in tried[name] if point.recipe not in {own.recipe for own in known}]
            found[name] = [replace(point, chosen=point is choice) for point in [*known, *rest]]
        return found


def _ratio(rate: float | None, before: float | None) -> float:
    return rate / before if rate and before else 1.0


def _one_further(points: Sequence[Point], finals: Sequence[Point], catalogue: Catalogue) -> list[Point]:
    """The finalists, the first of `points`, and the chosen setting at the next rate outwards."""
    chosen = chosen_of(points)
    rate = outwards(points, chosen)
    return [*points[: len(finals)], Point(with_rate(chosen.recipe, catalogue, rate), rate)]


def choose(points: Sequence[Point], deviation: float | None = None) -> Point:
    """The best of the finalists; the first of them (the anchor) unless the best beats it clearly.

    `deviation`: of a paired difference of two runs, as the references' many runs tell it; without it the few runs' own, and
    with a single final run each: unless the best is better in the first tries too, where both have them.
    """
    anchor, best = points[0], max(points, key=lambda point: point.score)
    gains = np.subtract(best.final or best.scores, anchor.final or anchor.scores)
    if deviation is None and len(gains) > 1:
        deviation = float(gains.std(ddof=1))
    if deviation is not None:
        clearly = gains.mean() > CLEARLY * deviation / np.sqrt(len(gains))
    else:
        first = [b - a for a, b in zip(anchor.scores, best.scores, strict=False)]
        clearly = gains.mean() > 0 and float(np.mean(first or [1.0])) > 0
    return best if clearly else anchor


def deviation_of(references: Iterable[Sequence[Point]]) -> float | None:
    """Standard deviation over seeds of the difference between two rates of a reference: the median over its finalists, beside
    the best; None where none was run twice."""
    found = []
    for points in references:
        finals = [point.final for point in points if len(point.final) > 1]
        best = max(finals, key=lambda values: float(np.mean(values)), default=())
        found += [float(np.std(np.subtract(best, other), ddof=1)) for other in finals if other is not best]
    return float(np.median(found)) if found else None


def _finalists(
    arm: Arm, tried: Sequence[Point], leading: Point, catalogue: Catalogue, budget: TuningBudget
) -> list[Point]:
    """The anchor first, then its setting at the best rate of the arm's first setting (and at the next rate outwards, where that
    is at an edge), then the best of the rest.

    The anchor is the arm's best setting at its reference's leading rate, or its own best where it has another optimizer.
    """
    ordered = sorted(tried, key=lambda point: -point.score)
    same = arm.recipes[0].slot(catalogue, OPTIMIZER) == leading.recipe.slot(catalogue, OPTIMIZER)
    anchor = next((point for point in ordered if same and point.rate == leading.rate), ordered[0])
    own = [point for point in ordered if with_rate(arm.recipes[0], catalogue, point.rate) == point.recipe]
    best = ordered[0] if not own else own[0]
    rates = [best.rate] if budget.finalists > 1 else []
    if budget.finalists > 1 and (rate := outwards(tried, best)) is not None:
        rates.append(rate)
    at_best = [Point(with_rate(anchor.recipe, catalogue, rate), rate) for rate in rates]
    known = {point.recipe: point for point in tried}
    chosen = [anchor, *(known.get(point.recipe, point) for point in at_best), *ordered]
    return list({point.recipe: point for point in chosen}.values())[: budget.finalists]


def _other_functions(
    points: Sequence[Point], reference: Sequence[Point], rate: float | None, catalogue: Catalogue
) -> list[Point]:
    """The points without settings that compute what the reference does (equal scores at every rate and seed that both
    tried); where all do, one at the reference's `rate`: what computes the same is not run at another rate."""
    known = {point.rate: point.scores for point in reference}
    by_setting: dict[Recipe, list[Point]] = {}
    for point in points:
        by_setting.setdefault(Recipe({n: s for n, s in point.recipe.items() if LR not in s}), []).append(
            point
        )
    other = []
    for group in by_setting.values():
        pairs = [(known[p.rate], p.scores) for p in group if p.rate in known]
        shared = [(a[:n], b[:n]) for a, b in pairs if (n := min(len(a), len(b)))]
        if not shared or any(a != b for a, b in shared):
            other += group
    return other or [replace(points[0], recipe=with_rate(points[0].recipe, catalogue, rate), rate=rate)]


def _best(points: Sequence[Point]) -> Point:
    return max(points, key=lambda point: point.score)
