"""Rank intervals: the ranks that are compatible with the data."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from scipy import stats

from ablate.ranking.estimation.effects import Effects


def rank_intervals(fitted: Effects, *, confidence: float = 0.95) -> pd.DataFrame:
    """`trick, level, rank, rank_low, rank_high`, one row per effect; 1 is the best.

    All intervals hold together with the given confidence: a trick ranks below another only where
    Tukey-Kramer separates the two (Mohamad, Goeman & van Zwet 2019, arXiv:1708.02428). Effects that are not
    estimable get no rank and any rank interval.
    """
    estimate, estimable = fitted.estimate, np.isfinite(fitted.se)
    count = len(estimate)
    ranks = np.full(count, np.nan)
    ranks[estimable] = stats.rankdata(-estimate[estimable])
    low, high = np.ones(count, dtype=int), np.full(count, count)
    if estimable.sum() >= 2 and fitted.df >= 1:
        critical = _tukey(confidence, int(estimable.sum()), fitted.df)
        variance = np.diag(fitted.covariance)
        spread = np.sqrt(np.maximum(variance[:, None] + variance[None, :] - 2 * fitted.covariance, 0))
        both = estimable[:, None] & estimable[None, :]
        better = both & (estimate[None, :] - estimate[:, None] > critical * spread)
        low = 1 + better.sum(axis=1)
        high = count - better.sum(axis=0)
    return pd.DataFrame(
        {
            "trick": [term.factor for term in fitted.terms],
            "level": [term.level for term in fitted.terms],
            "rank": ranks,
            "rank_low": low,
            "rank_high": high,
        }
    )


@cache
def _tukey(confidence: float, count: int, df: float) -> float:
    """How many standard errors of a difference separate two of `count` effects."""
    return float(stats.studentized_range.ppf(confidence, count, df)) / float(np.sqrt(2))
