"""What tuning tries: budgets, points (a rate and a setting of an arm), and the lattice that rates lie on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import floor, log10, sqrt
from typing import Any

import numpy as np

from ablate.records.recipe import Catalogue, Recipe
from ablate.study.ranking.arms import Arm, rate_of, with_rate

DENSE = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
"""The lattice of rates, a decade of it. First tries are two places apart: 1, 2, 5 a decade, or 1.5, 3, 7."""
OFFSETS = {
    7: (0, -1, 1, -2, 2, -3, 3),
    5: (0, -1, 1, -2, 2),
    4: (0, -1, 1, -2),
    3: (0, -2, 2),
    2: (0, -2),
    1: (0,),
}
"""Steps of two places, relative to an arm's own rate, for so many rates."""


OPEN = (0.65, 0.35, 0.25, 0.2, 0.15, 0.1)
"""Share of the arms that a round of tuning is run for, where a design is chosen: the others are settled before. Between those of digits (0.55, 0.22, 0.15 of 74 arms) and 3,000
images of MNIST, and those of mammography (0.96, 0.85, 0.75 of 121), whose metric scatters by two margins."""
OPEN_WITH_MARGIN = (0.5, 0.25, 0.17, 0.14, 0.1, 0.07)
"""The same, for the times that are told, where a margin is given: 0.9 rounds an arm on digits, 1.5 on breast-cancer (n = 1 study each)."""
OPEN_WITHOUT_MARGIN = (0.95, 0.75, 0.6, 0.45, 0.35, 0.3, 0.25, 0.2)
"""The same without a margin: an arm is then settled by the scatter of its runs on one split, which is smaller: 3.2 rounds on diabetes, 4.4 on wine (n = 1 study each)."""


EARLY = 8
"""Rounds after which a round is twice as large: each takes a fit of a curve, which grows with the runs."""


@dataclass(frozen=True, slots=True)
class TuningBudget:
    """Runs of an arm: `first` to try rates and settings, then up to `rounds` of the `finalists` most promising points, each on
    `repeats` fresh seeds; rounds after the EARLY first are twice as large. An arm that is settled gets no further round."""

    first: int = 9
    finalists: int = 4
    repeats: int = 2
    rounds: int = 8

    @property
    def runs(self) -> int:
        """Runs in all, at most."""
        return self.first + self.finalists * sum(self.repeats_by_round)

    @property
    def repeats_by_round(self) -> list[int]:
        """Fresh seeds of each round."""
        rounds = self.rounds if self.repeats else 0
        return [self.repeats if number < EARLY else 2 * self.repeats for number in range(rounds)]

    @property
    def likely(self) -> float:
        """Runs that an arm takes on average, where a design is chosen."""
        return self.likely_runs(OPEN)

    def likely_runs(self, still_open: Sequence[float]) -> float:
        """Runs that an arm takes on average. `still_open`: share of the arms that each round is run for; the last one holds for later rounds, too."""
        repeats = self.repeats_by_round
        shares = [still_open[min(number, len(still_open) - 1)] for number in range(len(repeats))]
        return self.first + self.finalists * sum(a * b for a, b in zip(shares, repeats, strict=True))

    def to_json(self) -> dict[str, int]:
        return asdict(self)


LEAST_REFERENCE, MOST_REFERENCE = TuningBudget(21, 4, 4, 12), 24
"""Tuning of a reference with few arms, whose rounds are at most five more than theirs, and most rounds of one with many: what it loses is
in the effects of all its arms."""
FEW_ROUNDS, SHORT_REFERENCE = 2, TuningBudget(14, 4, 4, 5)
"""Rounds of an arm up to which its budget is a small one, and the tuning of a reference then. Of less (33 runs), a recurrent network's baseline lost eight points
of accuracy, which all its arms seemed to gain."""


@dataclass(frozen=True)
class Point:
    """One rate and setting of an arm. `scores`: of first tries, on the first seeds; `final`: of rounds, on the seeds at the places
    `seeds`; more is better.

    `chosen`: what the arm is run with; `loss`: what it loses to the arm's best rate (root mean square), together with what its
    reference loses: how far an effect is off since neither side is run at its very best rate.
    """

    recipe: Recipe
    rate: float | None
    scores: tuple[float, ...] = ()
    final: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    chosen: bool = False
    loss: float = 0.0

    @property
    def runs(self) -> int:
        """Number of runs, first tries and rounds."""
        return len(self.scores) + len(self.final)

    @property
    def by_seed(self) -> dict[int, float]:
        """Place of a seed -> the score there."""
        return dict(enumerate(self.scores)) | dict(zip(self.seeds, self.final, strict=True))

    @property
    def mean(self) -> float:
        """The mean score of all runs."""
        return float(np.mean([*self.scores, *self.final])) if self.runs else float("nan")

    @property
    def score(self) -> float:
        """The mean score of the rounds, or of first tries where there was no round."""
        values = self.final or self.scores
        return float(np.mean(values)) if values else float("nan")

    @property
    def middle(self) -> float:
        """Median of the runs that `score` is the mean of: one that exploded does not move it."""
        values = self.final or self.scores
        return float(np.median(values)) if values else float("nan")

    def further(self, seeds: Sequence[int], scores: Sequence[float]) -> Point:
        """The point with the runs of a round more."""
        return replace(self, final=(*self.final, *scores), seeds=(*self.seeds, *seeds))


def lattice(rate: float, places: int = 0) -> float:
    """The rate `places` above the lattice's nearest to `rate`: … 0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, …"""
    place = _nearest(rate, 1) + places
    return float(f"{DENSE[place % len(DENSE)] * 10.0 ** (place // len(DENSE)):.2g}")


def even(rate: float) -> float:
    """The nearest of 0.01, 0.02, 0.05, 0.1, …: a study begun at half or at twice a rate tries the same ones."""
    return lattice(1.0, _nearest(rate, 2))


def _nearest(rate: float, every: int) -> int:
    """The place, a multiple of `every`, of the rate nearest to `rate`, counted from 1.0."""
    decade = floor(log10(rate))
    around = [
        (abs(log10(rate) - log10(step) - d), len(DENSE) * d + i)
        for d in (decade, decade + 1)
        for i, step in enumerate(DENSE)
    ]
    return min((distance, place) for distance, place in around if place % every == 0)[1]


def reference_tuning(budget: TuningBudget, arms: int = 1) -> TuningBudget:
    """Tuning of a reference with so many arms: never less than an arm's, and up to √k times an arm's most runs, since all k arms are compared with
    it."""
    if budget.rounds <= FEW_ROUNDS:
        least = SHORT_REFERENCE if arms > 1 else TuningBudget(9, 4, 2, budget.rounds + 2)
        least = least if budget.repeats else TuningBudget(7, 2, 2, 1)
        return max(budget, least, key=lambda one: one.runs)
    rounds = range(min(budget.rounds + 5, LEAST_REFERENCE.rounds), MOST_REFERENCE + 1)
    sizes = [replace(LEAST_REFERENCE, rounds=number) for number in rounds]
    shared = [one for one in sizes if one.runs <= sqrt(arms) * budget.runs]
    return max(budget, *sizes[:1], *shared, key=lambda one: one.runs)


def points_of(arm: Arm, catalogue: Catalogue, budget: TuningBudget, scale: float = 1.0) -> list[Point]:
    """What is tried first: the arm's first setting at several rates, then its other settings at the middle ones of them.

    The first rate is the arm's own, times `scale`.
    """
    others = others_of(arm, budget)
    rate = rate_of(arm.recipes[0], catalogue)
    if rate is None:
        return [Point(recipe, None) for recipe in (arm.recipes[0], *others)]
    count = max(n for n in OFFSETS if n <= budget.first - len(others))
    each = max(n for n in OFFSETS if n <= max((budget.first - count) // max(len(others), 1), 1))
    start, points = lattice(rate * scale), []
    for recipe, number in ((arm.recipes[0], count), *((recipe, each) for recipe in others)):
        rates = [lattice(start, 2 * offset) for offset in OFFSETS[number]]
        points += [Point(with_rate(recipe, catalogue, own), own) for own in rates]
    return points


def others_of(arm: Arm, budget: TuningBudget) -> tuple[Recipe, ...]:
    """The settings beside the first that are tried: for at most half of the first runs."""
    return arm.recipes[1 : 1 + budget.first // 2]


def repeats_of(points: Sequence[Point], budget: TuningBudget) -> int:
    """Seeds of each of an arm's first points: as many as fit into the budget; one where it has no rate to tune."""
    return max(1, budget.first // len(points)) if len(points) > 1 and points[0].rate is not None else 1


def chosen_of(points: Sequence[Point]) -> Point:
    """The point that the arm is run with."""
    return next(point for point in points if point.chosen)


def at_edge(points: Sequence[Point], chosen: Point) -> bool:
    """Whether the chosen rate is the lowest or the highest that was tried."""
    return outwards(points, chosen) is not None


def outwards(points: Sequence[Point], chosen: Point) -> float | None:
    """The rate beyond the chosen one, where that is the lowest or the highest of several that were tried; else None."""
    rates = {point.rate for point in points if point.rate is not None}
    if chosen.rate is None or len(rates) < 2 or chosen.rate not in (min(rates), max(rates)):
        return None
    return lattice(chosen.rate, 2 if chosen.rate == max(rates) else -2)


def to_json(points: Sequence[Point]) -> list[dict[str, Any]]:
    """The points as plain data, for the ledger."""
    return [{**asdict(point), "recipe": point.recipe.to_dict()} for point in points]
