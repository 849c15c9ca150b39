"""Ordinary least squares for one outcome or thousands at once; coefficients that cannot be estimated are NaN."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fit:
    """p coefficients of R outcomes over n runs.

    `coefficients` [R, p] (NaN where not estimable), `covariance` [R, p, p] (already times the variance),
    `sigma` [R] pooled residual standard deviation, `df` [R] residual degrees of freedom,
    `residuals` [R, n] (NaN where the outcome was missing), `leverage` [R, n].
    """

    coefficients: Matrix
    covariance: Matrix
    sigma: Matrix
    df: Matrix
    residuals: Matrix
    leverage: Matrix

    @property
    def standard_errors(self) -> Matrix:
        """[R, p], NaN where not estimable."""
        diagonal = np.diagonal(self.covariance, axis1=1, axis2=2)
        return np.where(np.isnan(self.coefficients), np.nan, np.sqrt(diagonal))


def least_squares(columns: Matrix, outcomes: Matrix, *, robust: bool = False) -> Fit:
    """Regress each row of `outcomes` [R, n] (or [n]) on `columns` [n, p]; NaN outcomes are left out.

    A coefficient that the remaining runs do not determine is NaN, never a minimum-norm guess. With no
    residual degree of freedom sigma and the covariance are NaN. `robust`: covariance HC3 (MacKinnon &
    White 1985) instead of pooled, for unbalanced tables whose arms spread unequally.
    """
    outcomes = np.atleast_2d(np.asarray(outcomes, dtype=float))
    count, runs = outcomes.shape
    width = columns.shape[1]
    fit = Fit(
        np.full((count, width), np.nan),
        np.full((count, width, width), np.nan),
        np.full(count, np.nan),
        np.zeros(count),
        np.full((count, runs), np.nan),
        np.full((count, runs), np.nan),
    )
    patterns: dict[bytes, list[int]] = {}  # np.unique would make each run a field of a record
    for number, present in enumerate(np.isfinite(outcomes)):
        patterns.setdefault(present.tobytes(), []).append(number)
    for pattern, numbers in patterns.items():
        rows, present = np.array(numbers), np.frombuffer(pattern, dtype=bool)
        if present.any():
            fitted = columns if present.all() else columns[present]  # of a large table no copy is made
            _fit_pattern(fit, fitted, outcomes[np.ix_(rows, present)], rows, present, robust)
    return fit


def _fit_pattern(
    fit: Fit,
    columns: Matrix,
    outcomes: Matrix,
    rows: NDArray[np.intp],
    present: NDArray[np.bool_],
    robust: bool,
) -> None:
    """Fill in the rows of `fit` that share one pattern of missing outcomes."""
    u, singular, vt = np.linalg.svd(columns, full_matrices=False)
    rank = int((singular > singular[0] * max(columns.shape) * np.finfo(float).eps * 8).sum())
    u, singular, vt = u[:, :rank], singular[:rank], vt[:rank]
    inverse = (vt.T / singular) @ u.T
    # A coefficient is determined by the data when its unit vector lies in the row space of the columns.
    estimable = np.abs(np.diagonal(vt.T @ vt) - 1) < 1e-8
    coefficients = outcomes @ inverse.T
    residuals = outcomes - coefficients @ columns.T
    # What is left of an exact fit is rounding, not noise.
    rounding = np.finfo(float).eps * 64 * np.abs(outcomes).max(axis=1, keepdims=True)
    residuals = np.where(np.abs(residuals) <= rounding, 0.0, residuals)
    df = len(columns) - rank
    leverage = np.square(u).sum(axis=1)
    fit.df[rows] = df
    fit.coefficients[rows] = np.where(estimable, coefficients, np.nan)
    fit.residuals[np.ix_(rows, present)] = residuals
    fit.leverage[np.ix_(rows, present)] = leverage
    if df == 0:
        return
    variance = np.square(residuals).sum(axis=1) / df
    fit.sigma[rows] = np.sqrt(variance)
    if robust:
        slack = np.maximum(1 - leverage, 1e-9)
        scaled = residuals / np.where(leverage > 1 - 1e-9, np.inf, slack)
        fit.covariance[rows] = np.stack([(inverse * row) @ inverse.T for row in np.square(scaled)])
    else:
        fit.covariance[rows] = variance[:, None, None] * ((vt.T / np.square(singular)) @ vt)
