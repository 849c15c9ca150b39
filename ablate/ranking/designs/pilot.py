"""The pilot: σ, failures, and whether a whole arm collapses, from six runs before the array is planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ablate.ranking.designs.design import Factor, effective
from ablate.ranking.designs.factorial import all_at
from ablate.ranking.estimation.coding import check_levels
from ablate.ranking.estimation.outcomes import classify
from ablate.ranking.verdicts.sequential import MARGIN_IN_SIGMA


@dataclass(frozen=True, slots=True)
class Pilot:
    """`sigma` of one run pooled over both arms, with its interval; `margin`: 0.95 σ.

    `sigma_on`, `sigma_off`, `noise_ratio` = their ratio; `failed_on`, `failed_off` of `runs_on`, `runs_off`.
    `warnings`: one line each; an arm in which every run failed would ruin the array. NaN: too few runs.
    """

    sigma: float
    sigma_low: float
    sigma_high: float
    sigma_on: float
    sigma_off: float
    noise_ratio: float
    margin: float
    runs_on: int
    runs_off: int
    failed_on: int
    failed_off: int
    warnings: tuple[str, ...]


def read_pilot(
    frame: pd.DataFrame,
    factors: Sequence[Factor],
    metric: str,
    direction: str,
    *,
    collapse: float | None = None,
    confidence: float = 0.95,
) -> Pilot:
    """Summarise the runs of `factorial.pilot`. Raises InputError for wrong columns."""
    check_levels(frame, factors)
    runs = classify(frame, metric, direction, collapse=collapse)
    table = frame[[factor.name for factor in factors]].to_numpy()
    arms = []
    for level in (1, 0):
        wanted = tuple(effective(all_at(factors, level), factors).values())
        arms.append(np.array([tuple(row) == wanted for row in table], dtype=bool))
    values = [runs.values[arm & runs.used] for arm in arms]
    spread = [float(v.std(ddof=1)) if len(v) > 1 else np.nan for v in values]
    df = sum(max(len(v) - 1, 0) for v in values)
    squares = sum(float(np.square(v - v.mean()).sum()) for v in values if len(v))
    sigma = float(np.sqrt(squares / df)) if df else np.nan
    low, high = np.nan, np.nan
    if df:
        tail = (1 - confidence) / 2
        low = float(np.sqrt(squares / stats.chi2.ppf(1 - tail, df)))
        high = float(np.sqrt(squares / stats.chi2.ppf(tail, df)))
    count = [int((arm & (runs.used | runs.failed)).sum()) for arm in arms]
    failed = [int((arm & runs.failed).sum()) for arm in arms]
    warnings = []
    for side, total, lost in zip(("on", "off"), count, failed, strict=True):
        if total and lost == total:
            warnings.append(
                f"with all tricks {side} every run failed: find the trick that training cannot "
                f"{'bear' if side == 'on' else 'do without and declare it must_have'}"
            )
        elif lost:
            warnings.append(f"with all tricks {side}, {lost} of {total} runs failed")
    ratio = spread[0] / spread[1] if spread[1] > 0 else np.nan
    return Pilot(
        sigma, low, high, spread[0], spread[1], ratio, MARGIN_IN_SIGMA * sigma,
        count[0], count[1], failed[0], failed[1], tuple(warnings),
    )  # fmt: skip
