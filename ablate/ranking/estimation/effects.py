"""Main effects of a table of runs: least squares with blocks, pooled variance, t intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.ranking.designs.design import Factor
from ablate.ranking.estimation.coding import (
    Term,
    at_level,
    check_levels,
    effect_columns,
    is_active,
    nuisance_columns,
)
from ablate.ranking.estimation.least_squares import Fit, Matrix, least_squares
from ablate.ranking.estimation.outcomes import RunMasks, classify
from ablate.ranking.verdicts.sequential import half_width, two_sided
from ablate.records.errors import InputError


@dataclass(frozen=True, slots=True)
class Effects:
    """A fitted table: p effects, signed so that positive helps.

    `estimate`, `se` [p] and `covariance` [p, p] in the metric's units; `sigma` the pooled residual standard
    deviation of one run, `df` its degrees of freedom; `used` [n] the runs that entered; `residuals`,
    `leverage` and `columns` [n, p] over all runs (NaN where a run did not enter); `adjusted`: whether covariates entered.
    """

    factors: tuple[Factor, ...]
    terms: tuple[Term, ...]
    metric: str
    direction: str
    estimate: Matrix
    se: Matrix
    covariance: Matrix
    sigma: float
    df: float
    runs: RunMasks
    residuals: Matrix
    leverage: Matrix
    columns: Matrix
    adjusted: bool = False

    @property
    def used(self) -> NDArray[np.bool_]:
        """bool `[N]`: the runs that enter."""
        return self.runs.used


def fit_effects(
    frame: pd.DataFrame,
    factors: Sequence[Factor],
    metric: str,
    direction: str,
    *,
    robust: bool = False,
    collapse: float | None = None,
    covariates: Matrix | None = None,
    slopes: Mapping[str, Matrix] | None = None,
) -> Effects:
    """Regress the metric on all main effects and blocks. A `must_have` that never varies is left out.

    `covariates` [n, c]: further columns to adjust for (parameters within tricks), centred where they act.
    `slopes`: see `effect_columns`.

    Raises InputError for unknown columns, levels or direction, and if no run has the metric.
    """
    check_levels(frame, factors)
    runs = classify(frame, metric, direction, collapse=collapse)
    if not runs.used.any():
        raise InputError(f"no complete run has a finite '{metric}'")
    varied = [f for f in factors if f.role != "must_have" or frame[f.name].nunique() > 1]
    terms, columns = effect_columns(frame, varied, slopes)
    everything = np.concatenate(
        [columns, nuisance_columns(frame), *([] if covariates is None else [covariates])], axis=1
    )
    fit: Fit = least_squares(everything, np.where(runs.used, runs.values, np.nan), robust=robust)
    width = len(terms)
    return Effects(
        tuple(factors), tuple(terms), metric, direction,
        fit.coefficients[0, :width], fit.standard_errors[0, :width], fit.covariance[0, :width, :width],
        float(fit.sigma[0]), float(fit.df[0]), runs, fit.residuals[0], fit.leverage[0], columns,
        covariates is not None,
    )  # fmt: skip


def effects(
    frame: pd.DataFrame,
    factors: Sequence[Factor],
    metric: str,
    direction: str,
    *,
    confidence: float = 0.95,
    robust: bool = False,
    collapse: float | None = None,
) -> pd.DataFrame:
    """One row per trick and level: see `effects_table`."""
    fitted = fit_effects(frame, factors, metric, direction, robust=robust, collapse=collapse)
    return effects_table(fitted, frame, confidence=confidence)


def effects_table(fitted: Effects, frame: pd.DataFrame, *, confidence: float = 0.95) -> pd.DataFrame:
    """Columns `trick, level, metric, direction, effect, low, high, level_of_confidence, se, df, p, sigma,
    runs, runs_failed, runs_with, note`.

    `effect` = mean with the level minus mean with the reference level, the other tricks held balanced, in
    the metric's units, positive where it helps. The interval is per trick, not simultaneous. `p` is raw.
    """
    half = half_width(fitted.se, np.array(fitted.df), confidence)
    p = two_sided(fitted.estimate, fitted.se, np.array(fitted.df))
    by_name = {factor.name: factor for factor in fitted.factors}
    rows = []
    for i, term in enumerate(fitted.terms):
        factor = by_name[term.factor]
        active = is_active(frame, factor, fitted.factors)
        with_it = active & at_level(frame, factor, term.level)
        concerned = with_it | (active & at_level(frame, factor, factor.levels[0]))
        rows.append(
            {
                "trick": term.factor,
                "level": term.level,
                "metric": fitted.metric,
                "direction": fitted.direction,
                "effect": fitted.estimate[i],
                "low": fitted.estimate[i] - half[i],
                "high": fitted.estimate[i] + half[i],
                "level_of_confidence": confidence,
                "se": fitted.se[i],
                "df": fitted.df,
                "p": p[i],
                "sigma": fitted.sigma,
                "runs": int((fitted.used & concerned).sum()),
                "runs_failed": int((fitted.runs.failed & concerned).sum()),
                "runs_with": int((fitted.used & with_it).sum()),
                "note": _note(factor, fitted, i),
            }
        )
    return pd.DataFrame(rows)


def _note(factor: Factor, fitted: Effects, i: int) -> str:
    notes = []
    if not np.isfinite(fitted.estimate[i]):
        notes.append("not estimable: the finished runs do not separate it from the rest")
    elif fitted.df < 1:
        notes.append("no interval: as many effects as runs")
    elif fitted.se[i] == 0:
        notes.append("no interval: the outcomes do not vary")
    if factor.role == "conditional":
        notes.append(f"given {factor.parent} on")
    if factor.role == "needs_retune":
        notes.append("learning rate not re-tuned for this trick")
    return "; ".join(notes)
