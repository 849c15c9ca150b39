"""Moderated variances: the variance of each arm, shrunk towards a prior that is fitted to the variances of all arms.

    s̃² = (d₀ s₀² + d s²) / (d₀ + d),    t̃ has min(d₀ + d, Σd) degrees of freedom

Where the arms' variances differ by no more than chance, d₀ is infinite and every arm has the same variance; where they
differ truly, d₀ is small and each keeps its own. Smyth, Stat. Appl. Genet. Mol. Biol. 3 (2004), sections 4 and 6.2. The bound
by the pooled degrees of freedom is limma's (`eBayes`): a prior knows no more than the data that it was fitted to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prior:
    """`variance` s₀² and `df` d₀ (infinite: all variances agree; 0: nothing could be fitted).

    `pooled`: Σd, the degrees of freedom of the variances that it was fitted to.
    """

    variance: float
    df: float
    pooled: float = 0.0


def fit_prior(variances: Vector, df: Vector) -> Prior:
    """The prior of variances `[k]` with degrees of freedom `[k]`. Variances that are zero or not finite are left out."""
    kept = np.isfinite(variances) & (variances > 0) & (df > 0)
    if kept.sum() < 3:
        return Prior(float("nan"), 0.0)
    logs, half, pooled = np.log(variances[kept]), df[kept] / 2, float(df[kept].sum())
    centred = logs - special.digamma(half) + np.log(half)
    mean = float(centred.mean())
    excess = float(centred.var(ddof=1) - special.polygamma(1, half).mean())
    if excess <= 0:
        return Prior(float(np.exp(mean)), float("inf"), pooled)
    half_df = trigamma_inverse(excess)
    return Prior(float(np.exp(mean + special.digamma(half_df) - np.log(half_df))), 2 * half_df, pooled)


def trigamma_inverse(value: float) -> float:
    """The x > 0 with ψ′(x) = `value` > 0."""
    low, high = 1e-8, 1.0
    while special.polygamma(1, high) > value:
        high *= 2
    return float(optimize.brentq(lambda x: float(special.polygamma(1, x)) - value, low, high, xtol=1e-12))


def moderated(variances: Vector, df: Vector, prior: Prior) -> tuple[Vector, Vector]:
    """(s̃² `[k]`, degrees of freedom `[k]`). A variance that could not be estimated is unchanged."""
    if prior.df == 0:
        return variances, df
    total = np.maximum(np.minimum(prior.df + df, prior.pooled), df)
    if np.isinf(prior.df):
        return np.where(np.isfinite(variances), prior.variance, variances), total
    return (prior.df * prior.variance + df * variances) / (prior.df + df), total
