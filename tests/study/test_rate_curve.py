"""The best rate by a curve through all tuning runs: against known optima, cliffs, and what it says of its own error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import log, log10, sin

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from threadpoolctl import threadpool_info, threadpool_limits

from ablate.catalogue.registry import registry
from ablate.records.recipe import Recipe
from ablate.study.ranking.arms import with_rate
from ablate.study.ranking.curve_covariance import (
    AMPLITUDES,
    INTERPLAY,
    PRIOR,
    USUAL,
    covariances_of,
    likeliest,
)
from ablate.study.ranking.rate_curve import RateCurve, between, fit_curve, setting_of
from ablate.study.ranking.stage import one_blas_thread
from ablate.study.ranking.tuning_choice import Anchor, chosen_among
from ablate.study.ranking.tuning_points import Point, chosen_of, even, lattice
from ablate.study.ranking.tuning_scatter import deviations

CATALOGUE = registry()
BASE = Recipe.of(CATALOGUE, {"momentum": {"lr": 0.1}})
SETTING = setting_of(BASE)
RATES = [lattice(0.1, step) for step in range(-6, 7, 2)]
Truth = Callable[[float], float]
"""Score over log₁₀ rate."""


def parabola(best: float) -> Truth:
    return lambda x: -6 * (x - log10(best)) ** 2


def ramp_and_cliff(x: float) -> float:
    """As digits measured: a slow rise to a top beside which training collapses."""
    return -40.0 if x > log10(0.25) else -4 * max(log10(0.15) - x, 0.0)


def points_of(truth: Truth, noise: float, seed: int, repeats: int = 3, finals: int = 4) -> list[Point]:
    """Runs of a made curve: `repeats` at every rate, then `finals` more of the three best, on seeds of their own."""
    draw = np.random.default_rng(seed)
    easy, other = draw.standard_normal(repeats), draw.standard_normal(finals) + 30

    def runs(rate: float, seeds: np.ndarray) -> tuple[float, ...]:
        return tuple(truth(log10(rate)) + seeds + noise * draw.standard_normal(len(seeds)))

    points = [Point(with_rate(BASE, CATALOGUE, rate), rate, runs(rate, easy)) for rate in RATES]
    points.sort(key=lambda point: -point.score)
    best = [p.further(range(1000, 1000 + finals), runs(p.rate or 0.0, other)) for p in points[:3]]
    return [*best, *points[3:]]


def top(curve: RateCurve | None) -> float:
    assert curve is not None
    rates = curve.rates_of(SETTING)
    return rates[int(heights(curve, rates).argmax())]


def heights(curve: RateCurve, rates: Sequence[float], setting: Recipe = SETTING) -> np.ndarray:
    return curve.heights([(setting, rate) for rate in rates])


@pytest.mark.parametrize("best", [0.03, 0.05, 0.1, 0.2, 0.3])
def test_with_little_noise_the_best_rate_is_found(best: float) -> None:
    assert top(fit_curve(points_of(parabola(best), 0.05, 0))) == best


@pytest.mark.parametrize("truth", [parabola(0.12), ramp_and_cliff], ids=["parabola", "ramp and cliff"])
def test_less_is_lost_than_by_the_best_mean(truth: Truth) -> None:
    by_mean, by_curve = [], []
    for seed in range(100):
        points = points_of(truth, 1.0, seed)
        finals = [point for point in points if point.final]
        by_mean.append(truth(log10(max(finals, key=lambda point: point.score).rate or 1.0)))
        by_curve.append(truth(log10(top(fit_curve(points)))))
    reached = max(truth(log10(rate)) for rate in between(RATES[0], RATES[-1]))
    assert reached - np.mean(by_curve) < 0.75 * (reached - np.mean(by_mean))


def test_rates_at_which_training_collapses_do_not_bend_the_curve() -> None:
    points = points_of(lambda x: parabola(0.1)(x) if x < -0.6 else -500.0, 0.05, 0)
    assert top(fit_curve(points)) == 0.1


def test_the_likely_loss_is_what_is_lost() -> None:
    """On average over tuned arms, within a factor of two: it is the standard deviation that intervals are widened by."""
    lost, expected = [], []
    for seed in range(100):
        truth = parabola(10 ** np.random.default_rng(seed).uniform(-1.4, -0.6))
        curve = fit_curve(points_of(truth, 1.0, seed))
        assert curve is not None
        rate = top(curve)
        lost.append(-truth(log10(rate)))
        expected.append(curve.likely_losses(SETTING, [rate])[0])
    assert 0.5 < np.sqrt(np.mean(np.square(expected)) / np.mean(np.square(lost))) < 2


def test_more_runs_leave_less_to_lose() -> None:
    few, many = (fit_curve(points_of(parabola(0.1), 1.0, 1, repeats, 4 * repeats)) for repeats in (2, 40))
    assert few is not None
    assert many is not None
    best, far = many.likely_losses(SETTING, [0.1, 0.01])
    assert best < 0.5 * few.likely_losses(SETTING, [0.1])[0]
    assert far > 3


def test_seeds_that_are_easier_than_others_do_not_count_for_a_rate() -> None:
    points = points_of(parabola(0.1), 1.0, 5)
    shifted = [replace(p, final=tuple(value + 50 for value in p.final)) if p.final else p for p in points]
    rates = between(RATES[0], RATES[-1])
    before, after = fit_curve(points), fit_curve(shifted)
    assert before is not None
    assert after is not None
    left, right = (heights(curve, rates) - heights(curve, rates).max() for curve in (before, after))
    np.testing.assert_allclose(left, right, atol=0.1)


def test_a_flat_curve_leaves_less_to_lose_than_a_wavy_one() -> None:
    """How far a curve bends is read off its own runs."""
    flat, wavy = (
        np.mean([
            min(curve.likely_losses(SETTING, RATES))
            for seed in range(20)
            if (curve := fit_curve(points_of(truth, 1.0, seed, 2))) is not None
        ])
        for truth in (lambda _: 0.0, lambda x: 2 * sin(8 * x))
    )  # fmt: skip
    assert flat < 0.75 * wavy


def test_settings_have_curves_of_their_own_that_help_each_other() -> None:
    def with_p(point: Point, p: float, change: float) -> Point:
        recipe = point.recipe.with_trick(CATALOGUE, "dropout", {"p": p})
        return Point(recipe, point.rate, tuple(value + change for value in point.scores))

    points = points_of(parabola(0.1), 0.1, 0, finals=0)
    # The second setting was tried at one rate alone.
    both = [*(with_p(p, 0.2, 0.0) for p in points), *(with_p(p, 0.7, 0.5) for p in points if p.rate == 0.05)]
    curve = fit_curve(both)
    assert curve is not None
    first, second = curve.tried
    rates = between(0.02, 0.5)
    assert (heights(curve, rates, second) > heights(curve, rates, first)).all()
    assert rates[int(heights(curve, rates, second).argmax())] in (0.07, 0.1, 0.15)


def test_a_round_goes_to_the_top_and_to_what_may_be_better() -> None:
    """Where runs tell little, rates far apart are worth a run; where they tell much, those around the top; none twice or beside."""
    few, many = (fit_curve(points_of(parabola(0.1), 1.0, 1, repeats, 4 * repeats)) for repeats in (2, 60))
    assert few is not None
    assert many is not None
    for curve in (few, many):
        (_, first), *others = curve.promising(3)
        assert first == top(curve)
        places = sorted(round(6 * log10(rate)) for _, rate in [(SETTING, first), *others])
        assert len(places) == 3
        assert min(np.diff(places)) >= 2
    assert all(abs(log10(rate / 0.1)) < 0.5 for _, rate in many.promising(3))


def test_the_edge_of_what_was_tried_may_be_widened() -> None:
    curve = fit_curve(points_of(lambda x: 3 * x, 0.1, 0))
    assert curve is not None
    assert top(curve) >= RATES[-1]
    assert any(rate > RATES[-1] for _, rate in curve.promising(3))


def test_runs_that_collapsed_are_no_noise_of_a_run() -> None:
    """Two of sixteen runs at a rate near the cliff: on digits they made σ five times too large, and every arm undecided."""
    points = points_of(parabola(0.1), 1.0, 3, repeats=16)
    place = next(i for i, point in enumerate(points) if point.rate == lattice(0.1, 2))
    scores = list(points[place].scores)
    scores[2], scores[9] = -40.0, -15.0
    points[place] = replace(points[place], scores=tuple(scores))
    sigma, _, _ = deviations(points)
    assert sigma == pytest.approx(1.0, rel=0.25)


def test_seeds_that_share_no_point_have_no_level_that_is_made_up() -> None:
    """Scores are far from zero, and the rounds' seeds are those of other points than the first tries' seeds."""
    points = [
        Point(with_rate(BASE, CATALOGUE, rate), rate, *runs)
        for rate, runs in (
            (0.1, ((150.0, 151.0),)),
            (0.05, ((149.0, 150.0),)),
            (0.2, ((), (150.5, 149.5), (30, 31))),
            (0.01, ((), (140.0, 139.0), (30, 31))),
        )
    ]
    reference = fit_curve(points_of(parabola(0.1), 1.0, 0, 20))
    assert reference is not None
    _, _, levels = deviations(points, (reference.sigma, reference.seed_sigma))
    assert all(abs(level) < 1.5 for level in levels.values()), levels
    assert top(fit_curve(points, reference)) > 0.03


def test_the_levels_of_seeds_are_told_from_the_noise_of_runs() -> None:
    draw = np.random.default_rng(0)
    level = 3 * draw.standard_normal(60)
    points = [
        Point(
            with_rate(BASE, CATALOGUE, rate),
            rate,
            tuple(parabola(0.1)(log10(rate)) + level + draw.standard_normal(60)),
        )
        for rate in RATES
    ]
    sigma, seed_sigma, levels = deviations(points)
    assert sigma == pytest.approx(1.0, rel=0.1)
    assert seed_sigma == pytest.approx(3.0, rel=0.2)
    assert np.corrcoef(list(levels.values()), level)[0, 1] > 0.95


@pytest.mark.parametrize(
    "points",
    [
        points_of(parabola(0.1), 1.0, 0)[:2],
        points_of(parabola(0.1), 1.0, 0, repeats=1, finals=0),
        [Point(BASE, None, (1.0,), (1.0, 1.1), (30, 31), chosen=True)],
        [Point(with_rate(BASE, CATALOGUE, rate), rate, (1.0, 1.0)) for rate in RATES],
    ],
    ids=["few rates", "nothing repeated", "no rate", "no spread"],
)
def test_without_enough_runs_there_is_no_curve(points: list[Point]) -> None:
    assert fit_curve(points) is None


def test_a_reference_lends_its_spread() -> None:
    reference = fit_curve(points_of(parabola(0.1), 1.0, 0, 20))
    assert reference is not None
    curve = fit_curve(points_of(parabola(0.1), 1.0, 0, repeats=1, finals=0), reference)
    assert curve is not None
    assert curve.sigma == pytest.approx(reference.sigma)


@pytest.mark.parametrize("rate", [0.03, 0.033, 0.05, 0.06, 0.07, 1.0, 7.4, 2e-5])
def test_rates_that_begin_near_each_other_are_tuned_on_the_same_ones(rate: float) -> None:
    assert f"{even(rate):.0e}"[0] in "125"
    assert abs(log10(even(rate) / rate)) < 0.2
    assert {even(rate * factor) for factor in (0.999, 1.001)} == {even(rate)}
    assert even(10 * rate) == pytest.approx(10 * even(rate))


def choose(points: list[Point], anchor: Anchor) -> list[Point]:
    return chosen_among(points, anchor, fit_curve(points, anchor.curve))


def test_what_a_reference_may_lose_is_in_the_effects_of_arms_without_a_curve() -> None:
    alone = [Point(BASE, 0.1, (1.0, 1.2))]
    assert chosen_of(choose(alone, Anchor(rate=0.1, loss=0.3))).loss == 0.3
    assert chosen_of(choose(alone, Anchor())).loss == 0.0
    points = points_of(parabola(0.1), 1.0, 0)
    loss = chosen_of(choose(points, Anchor())).loss
    assert loss > 0
    assert chosen_of(choose(points, Anchor(loss=0.3))).loss == pytest.approx(np.hypot(loss, 0.3))


def test_points_of_different_numbers_of_runs_are_compared_on_the_seeds_that_both_have() -> None:
    usual = Point(BASE, 0.1, (1.0,), (1.0, 1.1), (21, 22))
    better = Point(with_rate(BASE, registry(), 0.2), 0.2, (1.3,), (1.3, 1.4, 1.5), (21, 22, 23))
    assert chosen_of(choose([usual, better], Anchor(rate=0.1))).rate == 0.2
    lucky = Point(with_rate(BASE, registry(), 0.2), 0.2, (0.5,), (0.9, 1.1, 9.0), (21, 22, 23))
    assert chosen_of(choose([usual, lucky], Anchor(rate=0.1))).rate == 0.1
    apart = Point(with_rate(BASE, registry(), 0.2), 0.2, (), (1.2,), (23,))
    assert chosen_of(choose([replace(usual, scores=()), apart], Anchor(rate=0.1))).rate == 0.2


def test_the_curves_of_a_stage_are_fitted_in_one_thread():
    """Two threads of the driver wait for each other while the workers train on every core."""

    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        before = threads()
        with one_blas_thread():
            assert threads() == {1}
        assert threads() == before


def split_points(seed: int, seeds: int, hard: float) -> list[Point]:
    """Runs of a parabola whose best rate is half a decade higher or lower by the split that a seed deals, as far as `hard` goes."""
    noise, splits = np.random.default_rng(seed), np.random.default_rng(7)
    shifts = splits.normal(0, hard, seeds)
    return [
        Point(
            with_rate(BASE, CATALOGUE, rate),
            rate,
            tuple(-4 * (log10(rate) + 1 - shift) ** 2 + noise.normal(0, 0.3) for shift in shifts),
        )
        for rate in RATES
    ]


def test_seeds_with_curves_of_their_own_are_found_and_leave_more_to_lose():
    """On easy splits higher rates are better. Three of them, each with little noise, do not say what is best on all."""
    alike, apart = (fit_curve(split_points(1, 12, hard)) for hard in (0.0, 0.5))
    assert alike is not None
    assert apart is not None
    assert alike.interplay < 0.3 * alike.sigma
    assert apart.interplay > 0.5 * apart.sigma
    few = split_points(2, 3, 0.5)
    with_interplay, without_interplay = fit_curve(few, apart), fit_curve(few, replace(apart, interplay=0.0))
    assert with_interplay is not None
    assert without_interplay is not None
    assert min(with_interplay.likely_losses(SETTING, RATES)) > 1.2 * min(
        without_interplay.likely_losses(SETTING, RATES)
    )


def test_a_references_curve_counts_where_the_optimizer_is_the_same():
    """Few runs say that the rate is ten times as high; the reference's many say where it is."""
    reference = fit_curve(points_of(parabola(0.1), 0.5, 0, 10))
    few = points_of(parabola(0.1), 1.5, 5, 1)
    errors = {
        alike: np.mean([
            abs(log10(top(fit_curve(points_of(parabola(0.1), 1.5, seed, 1), reference, alike=alike))) + 1)
            for seed in range(20)
        ])
        for alike in (False, True)
    }  # fmt: skip
    assert errors[True] < 0.7 * errors[False], errors
    assert fit_curve(few, None, alike=True) is None or fit_curve(few, None, alike=True).settings == (SETTING,)


@pytest.mark.parametrize("interplay", [None, 0.4])
def test_the_amplitudes_are_those_that_scikit_learn_finds(interplay: float | None) -> None:
    """Its own marginal likelihood is nowhere larger (the prior of the interplay apart) on a grid of amplitudes."""
    draw = np.random.default_rng(0)
    rates, seeds = np.tile(np.linspace(-2, 0, 9), 4), np.repeat(np.arange(4.0), 9)
    inputs = np.column_stack([rates, np.ones(36), seeds])
    scores = -3 * (rates + 1) ** 2 + seeds * rates + draw.standard_normal(36)
    covariances, noise = covariances_of((SETTING,), 1.0), np.full(36, 1.0)

    def surprise(amplitudes: tuple[float, float]) -> float:
        process = GaussianProcessRegressor(covariances.kernel(amplitudes), alpha=noise, optimizer=None)
        prior = (log(amplitudes[1]) / 2 - log(USUAL)) ** 2 / (2 * PRIOR**2) if interplay is None else 0.0
        return prior - process.fit(inputs, scores).log_marginal_likelihood_value_

    found = likeliest(covariances, inputs, scores, noise, 1.0, interplay)
    own = np.geomspace(*INTERPLAY, 15) if interplay is None else [interplay]
    grid = [(a**2, b**2) for a in np.geomspace(*AMPLITUDES, 15) for b in own]
    assert surprise(found) <= min(map(surprise, grid)) + 0.05


def test_what_is_tried_next_does_not_depend_on_the_signs_of_eigenvectors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rounding decides them, and curves drawn by them: a reference was tuned by 118 runs or by 214."""
    curve = fit_curve(points_of(parabola(0.1), 1.0, 3))
    assert curve is not None
    before = curve.promising(4)
    eigh = np.linalg.eigh

    def flipped(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = eigh(matrix)
        return values, vectors * (-1.0) ** np.arange(len(values))

    monkeypatch.setattr(np.linalg, "eigh", flipped)
    assert curve.promising(4) == before
    drawn = curve._draws([(SETTING, rate) for rate in curve.rates_of(SETTING)])
    monkeypatch.undo()
    np.testing.assert_allclose(
        drawn, curve._draws([(SETTING, rate) for rate in curve.rates_of(SETTING)]), atol=1e-6
    )
