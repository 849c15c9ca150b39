"""Moderated variances against limma's formulae, written out here again, and against simulated priors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats
from sweep import sweep

from ablate.ranking.estimation.moderation import Prior, fit_prior, moderated, trigamma_inverse


def limma_prior(variances: np.ndarray, df: np.ndarray) -> tuple[float, float]:
    """(s₀², d₀) by limma's `fitFDist`, with its Newton iteration for the inverse of the trigamma function."""
    e = np.log(variances) - special.digamma(df / 2) + np.log(df / 2)
    mean = np.mean(e)
    evar = np.sum((e - mean) ** 2) / (len(e) - 1) - np.mean(special.polygamma(1, df / 2))
    if evar <= 0:
        return float(np.exp(mean)), np.inf
    y = 0.5 + 1 / evar
    for _ in range(50):
        tri = special.polygamma(1, y)
        y += tri * (1 - tri / evar) / special.polygamma(2, y)
    return float(np.exp(mean + special.digamma(y) - np.log(y))), float(2 * y)


def drawn(k: int, s2: float, d0: float, df: np.ndarray, seed: int) -> np.ndarray:
    """Sample variances of `k` arms whose true variances come from a scaled inverse χ²."""
    draw = np.random.default_rng(seed)
    true = np.full(k, s2) if np.isinf(d0) else s2 * d0 / draw.chisquare(d0, k)
    return true * draw.chisquare(df) / df


@sweep("seed", range(8))
@pytest.mark.parametrize("d0", [2.0, 6.0, 40.0, np.inf])
def test_prior_and_moderated_variances_are_those_of_limma(d0: float, seed: int) -> None:
    df = np.random.default_rng(100 + seed).integers(4, 40, 12).astype(float)
    variances = drawn(12, 0.3, d0, df, seed)
    prior = fit_prior(variances, df)
    s2, fitted = limma_prior(variances, df)
    assert prior.variance == pytest.approx(s2, rel=1e-9)
    assert prior.df == pytest.approx(fitted, rel=1e-6)
    shrunk, total = moderated(variances, df, prior)
    expected = np.full(12, s2) if np.isinf(fitted) else (fitted * s2 + df * variances) / (fitted + df)
    np.testing.assert_allclose(shrunk, expected, rtol=1e-6)
    np.testing.assert_allclose(total, np.minimum(fitted + df, df.sum()), rtol=1e-6)


def test_a_prior_is_found_again() -> None:
    df = np.full(20_000, 9.0)
    prior = fit_prior(drawn(20_000, 2.0, 8.0, df, 3), df)
    assert prior.variance == pytest.approx(2.0, rel=0.03)
    assert prior.df == pytest.approx(8.0, rel=0.06)


def test_arms_that_were_not_fitted_add_no_degrees_of_freedom() -> None:
    """Arms without any variance, or equal to the reference, say nothing of the others' variance."""
    variances, df = np.array([1.0, 1.05, 0.95, 0.0, 0.0, np.nan]), np.full(6, 7.0)
    prior = fit_prior(variances, df)
    assert np.isinf(prior.df)
    shrunk, total = moderated(variances, df, prior)
    np.testing.assert_array_equal(total, 21.0)
    assert np.isnan(shrunk[5])


def test_the_degrees_of_freedom_do_not_leap_where_the_prior_becomes_infinite() -> None:
    variances, df = np.array([1.0, 1.2, 0.9]), np.full(3, 7.0)
    nearly = moderated(variances, df, Prior(1.0, 1e9, 21.0))
    wholly = moderated(variances, df, Prior(1.0, np.inf, 21.0))
    np.testing.assert_allclose(nearly[0], wholly[0], rtol=1e-6)
    np.testing.assert_array_equal(nearly[1], wholly[1])


def test_too_few_arms_are_left_as_they_are() -> None:
    variances, df = np.array([1.0, 2.0, 0.0]), np.full(3, 7.0)
    shrunk, total = moderated(variances, df, fit_prior(variances, df))
    np.testing.assert_array_equal(shrunk, variances)
    np.testing.assert_array_equal(total, df)


def test_units_do_not_matter_and_shrunk_variances_lie_between_their_own_and_the_prior() -> None:
    df = np.arange(5.0, 25.0)
    variances = drawn(20, 1.0, 4.0, df, 1)
    prior, scaled = fit_prior(variances, df), fit_prior(1e-6 * variances, df)
    assert scaled.df == pytest.approx(prior.df, rel=1e-9)
    assert scaled.variance == pytest.approx(1e-6 * prior.variance, rel=1e-9)
    shrunk, total = moderated(variances, df, prior)
    low, high = np.minimum(variances, prior.variance), np.maximum(variances, prior.variance)
    assert ((shrunk >= low - 1e-12) & (shrunk <= high + 1e-12)).all()
    assert (total >= df).all()


@pytest.mark.parametrize("d0", [5.0, np.inf])
def test_moderated_t_keeps_its_level(d0: float) -> None:
    """Eleven arms with eight values each: 5 % of tests at the level of 5 % are false, over 400 families."""
    draw = np.random.default_rng(7)
    k, n, families, false = 11, 8, 400, 0
    for _ in range(families):
        sigma = np.ones(k) if np.isinf(d0) else np.sqrt(d0 / draw.chisquare(d0, k))
        values = sigma[:, None] * draw.standard_normal((k, n))
        variances, df = values.var(axis=1, ddof=1), np.full(k, n - 1.0)
        shrunk, total = moderated(variances, df, fit_prior(variances, df))
        t = values.mean(axis=1) / np.sqrt(shrunk / n)
        false += int((2 * stats.t.sf(np.abs(t), total) <= 0.05).sum())
    assert false / (k * families) == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("value", [1e-6, 1e-3, 0.1, 1.0, 30.0, 1e4])
def test_the_inverse_of_the_trigamma_function(value: float) -> None:
    assert special.polygamma(1, trigamma_inverse(value)) == pytest.approx(value, rel=1e-9)
