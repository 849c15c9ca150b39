"""Exploratory effects from a search's own trials: signed, with intervals, never a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ablate.ranking.designs.design import Factor
from ablate.ranking.estimation.coding import Matrix, check_levels, effect_columns, is_active, require
from ablate.ranking.estimation.effects import effects_table, fit_effects
from ablate.ranking.estimation.least_squares import least_squares
from ablate.ranking.estimation.outcomes import classify
from ablate.ranking.verdicts.sequential import half_width

ADAPTIVE = "exploratory: the search chose these runs by their results"


def exploratory(
    frame: pd.DataFrame,
    factors: Sequence[Factor],
    metric: str,
    direction: str,
    *,
    parameters: Mapping[str, Sequence[str]] | None = None,
    confidence: float = 0.95,
    collapse: float | None = None,
    slopes: Mapping[str, Matrix] | None = None,
    covariates: Matrix | None = None,
) -> pd.DataFrame:
    """Effects from search trials in the columns of `effects_table` plus `verdict` ("exploratory") and `margin`.

    Least squares on all tricks, with heteroscedasticity-robust intervals (HC3). `parameters`: trick ->
    columns of its settings (empty where the trick is off); they enter centred within the trick's own
    runs, so that the trick's effect is the one at its typical setting, and only while at least a third of
    the runs is left to judge by. More tricks than trials can separate: each alone against the rest, and
    the note says so. Pruned and failed trials are left out and counted. The intervals ignore that the
    sampler chose the runs: no verdict rests on them. `slopes`, `covariates`: see `fit_effects`. Raises InputError.
    """
    check_levels(frame, factors)
    runs = classify(frame, metric, direction, collapse=collapse)
    plain = frame.drop(columns=[c for c in ("block",) if c in frame.columns])
    count = int(runs.used.sum())
    terms, columns = effect_columns(plain, factors, slopes)
    notes = [ADAPTIVE]
    pruned = int(runs.excluded.sum())
    if pruned:
        notes.append(f"{pruned} pruned or unfinished runs left out")
    wide = count < len(terms) + 5
    if wide:
        notes.append("each trick alone: too few runs to separate them")
        table = _alone(plain, factors, metric, direction, confidence, collapse, columns, slopes or {})
    else:
        extra = [] if covariates is None else [covariates]
        if parameters:
            inside = setting_columns(plain, factors, parameters)
            if count - len(terms) - 1 - inside.shape[1] < count / 3:
                notes.append("not adjusted for settings within tricks: too few runs")
            else:
                extra.append(inside)
        fitted = fit_effects(
            plain, factors, metric, direction, robust=True, collapse=collapse, slopes=slopes,
            covariates=np.concatenate(extra, axis=1) if extra else None,
        )  # fmt: skip
        table = effects_table(fitted, plain, confidence=confidence)
    table["p"] = np.nan
    table["p_adjusted"] = np.nan
    table["verdict"] = "exploratory"
    table["margin"] = np.nan
    table["note"] = ["; ".join([*([note] if note else []), *notes]) for note in table["note"]]
    return table


def setting_columns(
    frame: pd.DataFrame, factors: Sequence[Factor], parameters: Mapping[str, Sequence[str]]
) -> Matrix:
    """Columns [n, c] of settings within tricks: standardised where the trick is on, zero elsewhere.

    Numbers that are all positive and span a factor of ten enter as logarithms; labels as centred 0/1
    columns. A setting that does not vary has no column.
    """
    by_name = {factor.name: factor for factor in factors}
    columns: list[Matrix] = []
    for trick, names in parameters.items():
        require(frame, names)
        if trick not in by_name:
            continue
        factor = by_name[trick]
        on = is_active(frame, factor, factors) & (frame[trick].to_numpy() != factor.levels[0])
        for name in names:
            given = on & frame[name].notna().to_numpy()
            numbers = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
            if np.isfinite(numbers[given]).all() and frame[name].dtype != bool:
                if (
                    given.any()
                    and numbers[given].min() > 0
                    and numbers[given].max() >= 10 * numbers[given].min()
                ):
                    numbers = np.log(np.where(given, numbers, 1.0))
                shapes = [numbers]
            else:
                labels = frame[name].astype(str).to_numpy()
                shapes = [(labels == label).astype(float) for label in sorted(set(labels[given]))[1:]]
            for shape in shapes:
                inside = shape[given]
                if len(inside) and np.ptp(inside) > 0:
                    column = np.zeros(len(frame))
                    column[given] = (inside - inside.mean()) / inside.std()
                    columns.append(column)
    return np.array(columns, dtype=float).reshape(len(columns), len(frame)).T


def _alone(
    frame: pd.DataFrame, factors: Sequence[Factor], metric: str, direction: str, confidence: float,
    collapse: float | None, columns: Matrix, slopes: Mapping[str, Matrix],
) -> pd.DataFrame:  # fmt: skip
    """Each trick's difference of two means, unadjusted, with Welch's standard error; each slope separately, HC3."""
    fitted = fit_effects(frame, factors, metric, direction, collapse=collapse, slopes=slopes)
    table = effects_table(fitted, frame, confidence=confidence)
    effect, error, freedom = (np.full(len(table), np.nan) for _ in range(3))
    for i in range(len(table)):
        if fitted.terms[i].factor in slopes:
            line = np.stack([columns[:, i], np.ones(len(frame))], axis=1)
            one_line = least_squares(line, np.where(fitted.used, fitted.runs.values, np.nan), robust=True)
            effect[i], error[i] = one_line.coefficients[0, 0], one_line.standard_errors[0, 0]
            freedom[i] = one_line.df[0]
            continue
        column = np.where(fitted.used, columns[:, i], np.nan)
        on, indicator = np.nanmax(column), column
        with_it = fitted.runs.values[(indicator == on) & fitted.used]
        without = fitted.runs.values[(indicator != on) & fitted.used]
        if len(with_it) > 1 and len(without) > 1:
            one, other = with_it.var(ddof=1) / len(with_it), without.var(ddof=1) / len(without)
            effect[i] = with_it.mean() - without.mean()
            error[i] = np.sqrt(one + other)
            spread = one**2 / (len(with_it) - 1) + other**2 / (len(without) - 1)
            freedom[i] = (one + other) ** 2 / spread if spread > 0 else np.nan
    half = half_width(error, np.nan_to_num(freedom, nan=1.0), confidence)
    table["effect"], table["se"], table["df"] = effect, error, freedom
    table["low"], table["high"], table["note"] = effect - half, effect + half, ""
    return table
