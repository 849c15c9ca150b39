"""Failure rate as a separate outcome: a trick may win among surviving runs and still cause failures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from ablate.ranking.designs.design import Factor
from ablate.ranking.estimation.coding import at_level, check_levels, is_active, lines
from ablate.ranking.estimation.outcomes import classify
from ablate.ranking.verdicts.sequential import holm


def wilson(failed: int, runs: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a rate (J. Am. Stat. Assoc. 22, 1927). (0, 1) for no runs."""
    if runs == 0:
        return 0.0, 1.0
    z = float(stats.norm.ppf((1 + confidence) / 2))
    rate = failed / runs
    centre = (rate + z * z / (2 * runs)) / (1 + z * z / runs)
    half = z * np.sqrt(rate * (1 - rate) / runs + z * z / (4 * runs * runs)) / (1 + z * z / runs)
    low = 0.0 if failed == 0 else float(centre - half)
    return low, 1.0 if failed == runs else float(centre + half)


def newcombe(
    failed: int, runs: int, other_failed: int, other_runs: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the difference of two rates (Newcombe 1998, Stat. Med. 17:873, method 10)."""
    if runs == 0 or other_runs == 0:
        return -1.0, 1.0
    one, two = failed / runs, other_failed / other_runs
    one_low, one_high = wilson(failed, runs, confidence)
    two_low, two_high = wilson(other_failed, other_runs, confidence)
    difference = one - two
    low = difference - float(np.hypot(one - one_low, two_high - two))
    high = difference + float(np.hypot(one_high - one, two - two_low))
    return low, high


def failure_effects(
    frame: pd.DataFrame,
    factors: Sequence[Factor],
    metric: str,
    *,
    direction: str = "higher",
    collapse: float | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Failure rate with and without each trick, one row per trick and level.

    Columns `trick, level, failed_with, runs_with, failed_without, runs_without, rate_with, rate_without,
    difference, low, high, p, p_adjusted, note`. `difference` > 0: more failures with the trick. p by
    Fisher's exact test, Holm over the rows. Pruned and interrupted runs count on neither side.
    """
    check_levels(frame, factors)
    runs = classify(frame, metric, direction, collapse=collapse)
    counted = runs.used | runs.failed
    rows = []
    for factor in factors:
        active = is_active(frame, factor, factors) & counted
        without = active & at_level(frame, factor, factor.levels[0])
        for level in factor.levels[1:]:
            with_it = active & at_level(frame, factor, level)
            n, m = int(with_it.sum()), int(without.sum())
            a, b = int((with_it & runs.failed).sum()), int((without & runs.failed).sum())
            low, high = newcombe(a, n, b, m, confidence)
            rows.append(
                {
                    "trick": factor.name,
                    "level": level,
                    "failed_with": a,
                    "runs_with": n,
                    "failed_without": b,
                    "runs_without": m,
                    "rate_with": a / n if n else np.nan,
                    "rate_without": b / m if m else np.nan,
                    "difference": a / n - b / m if n and m else np.nan,
                    "low": low,
                    "high": high,
                    "p": float(stats.fisher_exact(np.array([[a, n - a], [b, m - b]]))[1])
                    if n and m
                    else np.nan,
                }
            )
    table = pd.DataFrame(rows)
    table["p_adjusted"] = holm(table["p"].to_numpy(dtype=float))
    table["note"] = [
        f"{row['failed_with']} of {row['runs_with']} runs failed with it, {row['failed_without']} of "
        f"{row['runs_without']} without: the mean is of the survivors"
        if row["failed_with"] + row["failed_without"]
        else ""
        for row in lines(table)
    ]
    return table
