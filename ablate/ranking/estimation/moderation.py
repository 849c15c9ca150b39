"""Variances of many arms, shrunk towards each other: few pairs an arm say little of its variance, all arms together more.

    s̃² = (d₀ s₀² + d s²) / (d₀ + d),    t̃ has d₀ + d degrees of freedom

s₀² and d₀ are fitted to all arms' variances: where they differ by no more than chance, d₀ is infinite and every arm has
the same variance; where they differ truly, d₀ is small and each keeps its own.
Smyth, Stat. Appl. Genet. Mol. Biol. 3 (2004), sections 4 and 6.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prior:
    """`variance` s₀² and `df` d₀ (infinite: all variances agree; 0: nothing could be fitted)."""

    variance: float
    df: float


def fit_prior(variances: Vector, df: Vector) -> Prior:
    """The prior of variances `[k]` with degrees of freedom `[k]`; those of zero or no number are left out."""
    kept = np.isfinite(variances) & (variances > 0) & (df > 0)
    if kept.sum() < 3:
        return Prior(float("nan"), 0.0)
    logs, half = np.log(variances[kept]), df[kept] / 2
    centred = logs - special.digamma(half) + np.log(half)
    mean = float(centred.mean())
    excess = float(centred.var(ddof=1) - special.polygamma(1, half).mean())
    if excess <= 0:
        return Prior(float(np.exp(mean)), float("inf"))
    half_df = trigamma_inverse(excess)
    return Prior(float(np.exp(mean + special.digamma(half_df) - np.log(half_df))), 2 * half_df)


def trigamma_inverse(value: float) -> float:
    """The x > 0 with ψ′(x) = `value` > 0."""
    low, high = 1e-8, 1.0
    while special.polygamma(1, high) > value:
        high *= 2
    return float(optimize.brentq(lambda x: float(special.polygamma(1, x)) - value, low, high, xtol=1e-12))


def moderated(variances: Vector, df: Vector, prior: Prior) -> tuple[Vector, Vector]:
    """(s̃² `[k]`, degrees of freedom `[k]`). A variance that could not be estimated stays as it is."""
    if prior.df == 0:
        return variances, df
    if np.isinf(prior.df):
        total = np.full_like(df, float(df[np.isfinite(variances)].sum()))
        return np.where(np.isfinite(variances), prior.variance, variances), np.maximum(total, df)
    mixed = (prior.df * prior.variance + df * variances) / (prior.df + df)
    return mixed, prior.df + df
