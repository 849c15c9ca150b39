"""Tuning at equal budget: every arm and placebo gets the same number of runs to find its rate and settings, and a reference
no fewer: it tries every rate on the seeds on which its arms choose theirs.

Rates lie on one lattice, 1-2-5 a decade, whatever the reference's own rate is: a study that begins at half or at twice a
rate tries the same ones. First each pair of rate and setting is tried on few seeds; then the best few on more, fresh ones. Where the best rate is the
last one tried, further ones are tried beyond it.
The reference's own rate keeps its place unless another one is clearly better: arms whose best rate is
the reference's are then compared at one rate, and a placebo is not called harmful because tuning gave it another.
The learning rate is a nuisance parameter (Google's tuning playbook); equal budgets: Choi et al. 2019 (1910.05446).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import floor, log10
from typing import Any

import numpy as np

from ablate.records.recipe import Catalogue, Recipe
from ablate.records.study_rank import OPTIMIZER
from ablate.study.ranking.arms import LR, Arm, rate_of, with_rate

STEPS = (1.0, 2.0, 5.0)
OFFSETS = {
    7: (0, -1, 1, -2, 2, -3, 3),
    5: (0, -1, 1, -2, 2),
    4: (0, -1, 1, -2),
    3: (0, -2, 2),
    2: (0, -2),
    1: (0,),
}
"""Places on the lattice, relative to the nearest to an arm's own rate, for so many rates."""
OUTWARDS = 3
"""Times that an arm whose best rate is the last one tried gets one more, further out."""
SAME = 2
"""Rates at which a setting must score exactly what its reference scores, to be taken for the same function."""
CLEARLY = 1.5
"""Standard errors by which another rate must beat the reference's."""
Scores = Callable[[Sequence[tuple[str, Recipe, int]]], list[float]]
"""(arm, recipe, seed) of many runs -> their scores, more is better; a failed run has the score of a collapsed one."""


@dataclass(frozen=True, slots=True)
class TuningBudget:
    """Runs of every arm: `first` to try rates and settings, then `repeats` more of each of the `finalists` best."""

    first: int = 21
    finalists: int = 3
    repeats: int = 8

    @property
    def runs(self) -> int:
        return self.first + self.finalists * self.repeats

    def to_json(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class Point:
    """One rate and setting of an arm. `score`: mean over its runs, more is better; `chosen`: what the arm is run with."""

    recipe: Recipe
    rate: float | None
    scores: tuple[float, ...] = ()
    final: tuple[float, ...] = ()
    chosen: bool = False

    @property
    def score(self) -> float:
        values = self.final or self.scores
        return float(np.mean(values)) if values else float("nan")


def lattice(rate: float, steps: int) -> float:
    """The rate `steps` places above the lattice's nearest to `rate`: … 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, …"""
    decade = floor(log10(rate))
    around = [(abs(log10(rate) - log10(step * 10.0**d)), 3 * d + i) for d in (decade, decade + 1) for i, step in enumerate(STEPS)]  # fmt: skip
    place = min(around)[1] + steps
    return float(f"{STEPS[place % 3] * 10.0 ** (place // 3):.1g}")


def points_of(arm: Arm, catalogue: Catalogue, budget: TuningBudget) -> list[Point]:
    """The pairs of rate and setting that are tried first, at most `budget.first`; the arm's own rate first.

    Every setting gets as many rates as there are for all, and what is left over goes to the first settings.
    """
    settings = arm.recipes[: budget.first]
    each, more = divmod(budget.first, len(settings))
    points = []
    for number, recipe in enumerate(settings):
        rate = rate_of(recipe, catalogue)
        if rate is None:
            points.append(Point(recipe, None))
            continue
        count = max(n for n in OFFSETS if n <= max(each + (number < more), 1))
        for offset in OFFSETS[count]:
            own = lattice(rate, offset)
            points.append(Point(with_rate(recipe, catalogue, own), own))
    unique = {point.recipe: point for point in points}
    return list(unique.values())


def tune(
    arms: Sequence[Arm],
    references: Mapping[str, str],
    catalogue: Catalogue,
    budget: TuningBudget,
    seeds: Mapping[str, Sequence[int]],
    scores: Scores,
) -> dict[str, list[Point]]:
    """Points of every arm, one of them chosen. `references`: names, arm -> its reference (itself for a reference).

    `seeds`: arm -> at least `budget.first + budget.repeats` tuning seeds (common ones; a placebo's are its own).
    """
    first = {arm.name: points_of(arm, catalogue, budget) for arm in arms}
    repeats = {name: max(1, budget.first // len(points)) for name, points in first.items()}
    asked = [
        (name, point.recipe, seed)
        for name, points in first.items()
        for point in points
        for seed in seeds[name][: repeats[name]]
    ]
    values = iter(scores(asked))
    tried = {
        name: [replace(point, scores=tuple(next(values) for _ in range(repeats[name]))) for point in points]
        for name, points in first.items()
    }
    found: dict[str, list[Point]] = {}
    leading: dict[str, Point] = {}
    for is_reference in (True, False):
        finals = {}
        for arm in arms:
            reference, own = references[arm.name], tried[arm.name]
            if (arm.name == reference) != is_reference:
                continue
            if is_reference:
                # Every rate: arms choose theirs on the same seeds, and must not find one that the reference never tried.
                every = replace(budget, finalists=len(own) + 1)
                finals[arm.name] = _finalists(arm, own, _best(own), catalogue, every)
                continue
            if not arm.is_placebo:
                own = _other_functions(own, tried[reference], leading[reference].rate, catalogue)
            finals[arm.name] = _finalists(arm, own, leading[reference], catalogue, budget)
        found |= _chosen(finals, tried, budget, seeds, scores)
        for _ in range(OUTWARDS):
            further = {
                name: _one_further(found[name], points, catalogue)
                for name, points in finals.items()
                if outwards(found[name], _the_chosen(found[name])) is not None
            }
            if not further:
                break
            finals |= further
            found |= _chosen(further, {name: found[name] for name in further}, budget, seeds, scores)
        leading |= {name: _the_chosen(points) for name, points in found.items()}
    return found


def _the_chosen(points: Sequence[Point]) -> Point:
    return next(point for point in points if point.chosen)


def _one_further(points: Sequence[Point], finals: Sequence[Point], catalogue: Catalogue) -> list[Point]:
    """The finalists, the first of `points`, and the chosen setting at the next rate outwards."""
    chosen = _the_chosen(points)
    rate = outwards(points, chosen)
    return [*points[: len(finals)], Point(with_rate(chosen.recipe, catalogue, rate), rate)]


def _chosen(
    finals: Mapping[str, Sequence[Point]],
    tried: Mapping[str, Sequence[Point]],
    budget: TuningBudget,
    seeds: Mapping[str, Sequence[int]],
    scores: Scores,
) -> dict[str, list[Point]]:
    """Run the finalists on seeds that chose none of them, and mark the one that each arm is run with."""
    asked = [
        (name, point.recipe, seed)
        for name, points in finals.items()
        for point in points
        if not point.final
        for seed in seeds[name][budget.first : budget.first + budget.repeats]
    ]
    values = iter(scores(asked))
    found: dict[str, list[Point]] = {}
    for name, points in finals.items():
        known = [
            point if point.final else replace(point, final=tuple(next(values) for _ in range(budget.repeats)))
            for point in points
        ]
        choice = choose(known)
        rest = [point for point in tried[name] if point.recipe not in {own.recipe for own in known}]
        found[name] = [replace(point, chosen=point is choice) for point in [*known, *rest]]
    return found


def choose(points: Sequence[Point]) -> Point:
    """The best of the finalists; the first of them (the anchor) unless the best beats it clearly."""
    anchor, best = points[0], max(points, key=lambda point: point.score)
    gains = np.subtract(best.final or best.scores, anchor.final or anchor.scores)
    if len(gains) < 2:
        return best if gains.mean() > 0 else anchor
    return best if gains.mean() > CLEARLY * gains.std(ddof=1) / np.sqrt(len(gains)) else anchor


def at_edge(points: Sequence[Point], chosen: Point) -> bool:
    """Whether the chosen rate is the lowest or the highest that was tried."""
    return outwards(points, chosen) is not None


def outwards(points: Sequence[Point], chosen: Point) -> float | None:
    """The rate beyond the chosen one, where that is the lowest or the highest of several that were tried; else None."""
    rates = {point.rate for point in points if point.rate is not None}
    if chosen.rate is None or len(rates) < 2 or chosen.rate not in (min(rates), max(rates)):
        return None
    return lattice(chosen.rate, 1 if chosen.rate == max(rates) else -1)


def _finalists(
    arm: Arm, tried: Sequence[Point], leading: Point, catalogue: Catalogue, budget: TuningBudget
) -> list[Point]:
    """The anchor first, then the best of the rest; where the best rate is at an edge, the next one outwards comes too.

    The anchor is the arm's best setting at its reference's leading rate, or its own best where it has another optimizer.
    """
    ordered = sorted(tried, key=lambda point: -point.score)
    same = arm.recipes[0].slot(catalogue, OPTIMIZER) == leading.recipe.slot(catalogue, OPTIMIZER)
    anchor = next((point for point in ordered if same and point.rate == leading.rate), ordered[0])
    chosen = [anchor, *(point for point in ordered if point is not anchor)][: budget.finalists]
    best = ordered[0]
    rate = outwards(tried, best)
    if rate is not None and budget.finalists > 1:
        next_one = Point(with_rate(best.recipe, catalogue, rate), rate)
        rest = [point for point in chosen if point not in (anchor, best)]
        chosen = [anchor, *([best] if best is not anchor else []), next_one, *rest][: budget.finalists]
    return chosen


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
        if len(shared) < SAME or any(a != b for a, b in shared):
            other += group
    return other or [replace(points[0], recipe=with_rate(points[0].recipe, catalogue, rate), rate=rate)]


def _best(points: Sequence[Point]) -> Point:
    return max(points, key=lambda point: point.score)


def to_json(points: Sequence[Point]) -> list[dict[str, Any]]:
    return [{**asdict(point), "recipe": point.recipe.to_dict()} for point in points]
