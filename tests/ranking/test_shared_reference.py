"""Effects against a shared reference: formulae written out again, classical special cases, simulated standard errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from ablate.ranking.estimation.shared_reference import Effect, compare_to_reference

N, MORE = 10, 30


def series(values: Sequence[float] | np.ndarray, first: int = 0) -> dict[int, float]:
    return {first + seed: float(value) for seed, value in enumerate(values)}


def world(
    betas: Sequence[float],
    seed: int = 0,
    n: int = N,
    more: int = MORE,
    effects: Sequence[float] | None = None,
) -> tuple[dict[str, dict[int, float]], dict[int, float]]:
    """Arms whose regressions on the reference are `betas`; all have variance 1."""
    draw = np.random.default_rng(seed)
    reference = draw.standard_normal(more)
    arms = {}
    for place, beta in enumerate(betas):
        scores = beta * reference[:n] + np.sqrt(1 - beta**2) * draw.standard_normal(n)
        arms[f"arm{place}"] = series(scores + (effects[place] if effects else 0.0))
    return arms, series(reference)


def half(effect: Effect) -> float:
    return float(stats.t.ppf(0.975, effect.df)) * effect.se


def test_effects_are_those_of_the_formula() -> None:
    arms, reference = world((0.3, 0.6, 0.9, 0.5))
    comparison = compare_to_reference(arms, reference)
    r = np.array(list(reference.values()))
    products = squares = 0.0
    for values in arms.values():
        a, reference_of_pairs = np.array(list(values.values())), r[:N]
        products += np.cov(a, reference_of_pairs)[0, 1]
        squares += np.var(reference_of_pairs, ddof=1)
    beta = products / squares
    assert comparison.beta == pytest.approx(beta, rel=1e-12)
    for name, values in arms.items():
        a = np.array(list(values.values()))
        assert comparison.effects[name].effect == pytest.approx(
            np.mean(a - beta * r[:N]) - (1 - beta) * np.mean(r), rel=1e-12
        )


def test_standard_errors_are_those_of_two_independent_parts() -> None:
    """Two arms, so that nothing is moderated."""
    arms, reference = world((0.4, 0.8))
    comparison = compare_to_reference(arms, reference)
    r = np.array(list(reference.values()))
    gamma = comparison.beta + (1 - comparison.beta) * N / MORE
    for name, values in arms.items():
        first = np.var(np.array(list(values.values())) - gamma * r[:N], ddof=1) / N
        second = (1 - gamma) ** 2 * np.var(r, ddof=1) / (MORE - N)
        df = (first + second) ** 2 / (first**2 / (N - 1) + second**2 / (MORE - 1))
        assert comparison.effects[name].se == pytest.approx(np.sqrt(first + second), rel=1e-12)
        assert comparison.effects[name].df == pytest.approx(df, rel=1e-12)


def test_with_the_reference_on_the_same_seeds_it_is_the_paired_t_test() -> None:
    arms, reference = world((0.4, 0.8), more=N)
    for name, values in arms.items():
        effect = compare_to_reference(arms, reference).effects[name]
        other = stats.ttest_rel(list(values.values()), list(reference.values()))
        assert effect.effect / effect.se == pytest.approx(other.statistic, rel=1e-10)
        assert effect.df == pytest.approx(N - 1)


def test_an_arm_with_seeds_of_its_own_is_compared_by_welchs_test() -> None:
    arms, reference = world((0.5, 0.5, 0.5))
    apart = np.random.default_rng(9).standard_normal(14)
    comparison = compare_to_reference({**arms, "placebo": series(apart, 1000)}, reference, ("placebo",))
    effect, other = (
        comparison.effects["placebo"],
        stats.ttest_ind(apart, list(reference.values()), equal_var=False),
    )
    assert effect.effect / effect.se == pytest.approx(other.statistic, rel=1e-10)
    assert effect.df == pytest.approx(other.df, rel=1e-10)
    assert comparison.effects["arm0"] == compare_to_reference(arms, reference).effects["arm0"]


def exactly(betas: tuple[float, ...]) -> tuple[dict[str, dict[int, float]], dict[int, float]]:
    """Arms whose sample moments are the population's: variances 1, covariances with the reference `betas`, means 0."""
    draw = np.random.default_rng(4)
    raw = np.column_stack([np.ones(N), draw.standard_normal((N, 1 + len(betas)))])
    base = np.linalg.qr(raw)[0][:, 1:] * np.sqrt(N - 1)
    r = base[:, 0]
    rest = draw.standard_normal(MORE - N)
    rest -= rest.mean()
    rest *= np.sqrt((MORE - N) / np.sum(rest**2))
    arms = {f"arm{i}": series(b * r + np.sqrt(1 - b**2) * base[:, i + 1]) for i, b in enumerate(betas)}
    return arms, series([*r, *rest])


def test_standard_errors_are_right_for_each_arm_whatever_its_own_regression() -> None:
    """The variance of the estimator in closed form, with the covariance of its two terms where β is not the arm's own."""
    betas = (0.0, 0.9)
    comparison = compare_to_reference(*exactly(betas))
    beta = comparison.beta
    assert beta == pytest.approx(0.45)
    for arm_beta, effect in zip(betas, comparison.effects.values(), strict=True):
        apart = (1 - 2 * beta * arm_beta + beta**2) / N
        together = (1 - beta) ** 2 / MORE - 2 * (1 - beta) * (arm_beta - beta) / MORE
        assert effect.se**2 == pytest.approx(apart + together, rel=1e-12)


def test_intervals_hold_the_effect_where_arms_differ_in_regression_and_variances_are_moderated() -> None:
    repetitions, betas = 250, (0.0, 0.95) * 3
    covered = np.empty((repetitions, len(betas)))
    for i in range(repetitions):
        comparison = compare_to_reference(*world(betas, seed=i))
        covered[i] = [abs(effect.effect) <= half(effect) for effect in comparison.effects.values()]
    assert covered.mean() > 0.93


def test_an_arm_that_scatters_more_than_the_others_is_no_more_certain_than_by_its_own_runs() -> None:
    """A common prior would give it a third of its variance; the narrow arms are moderated as ever."""
    arms, reference = world((0.5,) * 8, more=N)
    wide = {seed: 4 * value for seed, value in arms["arm0"].items()}
    effects = compare_to_reference({**arms, "arm0": wide}, reference).effects
    beta = compare_to_reference({**arms, "arm0": wide}, reference).beta
    own = np.array([wide[seed] - reference[seed] for seed in wide])
    assert beta <= 1
    assert effects["arm0"].se >= 0.999 * float(own.std(ddof=1)) / np.sqrt(N)
    assert effects["arm0"].se > 2 * max(effects[f"arm{n}"].se for n in range(1, 8))


def test_more_runs_of_the_reference_make_no_effect_less_certain() -> None:
    few, many = (
        np.mean(
            [
                compare_to_reference(*world((0.2,) * 5, seed, more=more)).effects["arm0"].se
                for seed in range(60)
            ]
        )
        for more in (N, 60)
    )
    assert many < 0.93 * few


def test_shifts_and_units_pass_through() -> None:
    arms, reference = world((0.3, 0.6, 0.9, 0.1))
    plain = compare_to_reference(arms, reference)
    changed = compare_to_reference(
        {name: {seed: 5 + 0.01 * value for seed, value in values.items()} for name, values in arms.items()},
        {seed: 3 + 0.01 * value for seed, value in reference.items()},
    )
    for name, effect in plain.effects.items():
        assert changed.effects[name].effect == pytest.approx(2 + 0.01 * effect.effect, rel=1e-9)
        assert changed.effects[name].se == pytest.approx(0.01 * effect.se, rel=1e-9)
        assert changed.effects[name].df == pytest.approx(effect.df, rel=1e-9)


def test_runs_without_a_number_are_left_out_on_either_side() -> None:
    arms, reference = world((0.5,) * 4)
    arms["arm1"][2] = float("nan")
    reference[5] = float("nan")
    comparison = compare_to_reference(arms, reference)
    assert comparison.effects["arm0"].pairs == N - 1
    assert comparison.effects["arm1"].pairs == N - 2
    assert comparison.reference_runs == MORE - 1
    without = {name: {s: v for s, v in values.items() if s != 5} for name, values in arms.items()}
    del without["arm1"][2]
    kept = {seed: value for seed, value in reference.items() if seed != 5}
    assert compare_to_reference(without, kept).effects == comparison.effects


def test_an_arm_without_any_number_has_no_effect_and_harms_no_other() -> None:
    arms, reference = world((0.5,) * 4)
    comparison = compare_to_reference({**arms, "dead": dict.fromkeys(range(N), float("nan"))}, reference)
    assert np.isnan(comparison.effects["dead"].effect)
    assert comparison.effects["dead"].pairs == 0
    assert comparison.effects["arm0"] == compare_to_reference(arms, reference).effects["arm0"]


def test_an_arm_that_equals_its_reference_is_said_to_be_the_same_and_widens_nothing() -> None:
    arms, reference = world((0.5,) * 4)
    twin = {seed: reference[seed] for seed in range(N)}
    comparison = compare_to_reference({**arms, "twin": twin}, reference)
    assert comparison.effects["twin"] == Effect(0.0, 0.0, N - 1, N, same=True)
    assert comparison.effects["arm0"] == compare_to_reference(arms, reference).effects["arm0"]
