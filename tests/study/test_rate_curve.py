"""The best rate by a curve through all tuning runs: against the known optimum, cliffs, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import log10

import numpy as np
import pytest

from ablate.catalogue.registry import registry
from ablate.records.recipe import Recipe
from ablate.study.ranking.arms import with_rate
from ablate.study.ranking.rate_curve import on_curve
from ablate.study.ranking.tuning_points import Point, lattice

CATALOGUE = registry()
BASE = Recipe.of(CATALOGUE, {"momentum": {"lr": 0.1}})
RATES = [lattice(0.1, step) for step in range(-3, 4)]


def tuned(
    truth: Callable[[float], float], noise: float = 0.0, seed: int = 0, finalists: int = 3
) -> list[Point]:
    """Points of a made curve (score over log₁₀ rate): a run each, then four more of the best; the best mean is chosen."""
    draw = np.random.default_rng(seed)
    first, final = draw.standard_normal(1), draw.standard_normal(4)
    points = [
        Point(
            with_rate(BASE, CATALOGUE, rate),
            rate,
            tuple(truth(log10(rate)) + first + noise * draw.standard_normal(1)),
        )
        for rate in RATES
    ]
    points.sort(key=lambda point: -point.score)
    points = [
        replace(p, final=tuple(truth(log10(p.rate or 1)) + final + noise * draw.standard_normal(4)))
        if i < finalists
        else p
        for i, p in enumerate(points)
    ]
    best = max(points[:finalists], key=lambda point: point.score)
    return [replace(point, chosen=point is best) for point in points]


def chosen(points: list[Point]) -> float | None:
    (one,) = (point.rate for point in points if point.chosen)
    return one


@pytest.mark.parametrize("best", [0.02, 0.05, 0.1, 0.2, 0.5])
def test_without_noise_the_best_rate_is_found(best: float) -> None:
    assert chosen(on_curve(tuned(lambda x: -6 * (x - log10(best)) ** 2))) == best


def test_less_is_lost_than_by_the_best_mean() -> None:
    def truth(x: float) -> float:
        return -6 * (x + 1) ** 2 if x < -0.4 else -12.0

    by_mean, by_curve = [], []
    for seed in range(150):
        points = tuned(truth, 1.0, seed)
        by_mean.append(-truth(log10(chosen(points) or 1)))
        by_curve.append(-truth(log10(chosen(on_curve(points)) or 1)))
    assert np.mean(by_curve) < 0.7 * np.mean(by_mean)


def test_rates_at_which_training_collapses_do_not_bend_the_curve() -> None:
    points = tuned(lambda x: -6 * (x + 1) ** 2 if x < -0.6 else -500.0, 0.1)
    assert chosen(on_curve(points)) == 0.1


def test_seeds_that_are_easier_than_others_do_not_count_for_a_rate() -> None:
    """Finalists have other seeds than first tries: a shift of all of them changes nothing."""
    points = tuned(lambda x: -6 * (x + 1) ** 2, 1.0, 5)
    shifted = [replace(point, final=tuple(value + 50 for value in point.final)) for point in points]
    assert chosen(on_curve(shifted)) == chosen(on_curve(points))


def test_the_setting_that_was_chosen_stays() -> None:
    def with_setting(point: Point, p: float, worse: float) -> Point:
        recipe = point.recipe.with_trick(CATALOGUE, "dropout", {"p": p})
        return Point(
            recipe, point.rate, *(tuple(v - worse for v in values) for values in (point.scores, point.final))
        )

    points = tuned(lambda x: -6 * (x + 1) ** 2, 0.1)
    both = [with_setting(point, 0.2, 0.0) for point in points] + [
        with_setting(point, 0.7, 0.5) for point in points
    ]
    place = next(i for i, point in enumerate(points) if point.rate == 0.2) + len(points)
    both = [replace(point, chosen=i == place) for i, point in enumerate(both)]
    (one,) = (point for point in on_curve(both) if point.chosen)
    assert one.recipe["dropout"]["p"] == 0.7
    assert one.rate == 0.1


@pytest.mark.parametrize(
    "points",
    [
        tuned(lambda x: -6 * (x + 1) ** 2)[:3],
        tuned(lambda x: 6 * (x + 1) ** 2, 0.1),
        [replace(point, final=()) for point in tuned(lambda x: -6 * (x + 1) ** 2)],
        [Point(BASE, None, (1.0,), (1.0, 1.1), chosen=True)],
    ],
    ids=["few rates", "no maximum", "no finalists", "no rate"],
)
def test_without_a_curve_nothing_changes(points: list[Point]) -> None:
    assert on_curve(points) == points
