"""Numeric columns as straight lines: the effect of one standard deviation, and whether a line fits at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ablate.ranking.designs.design import Factor
from ablate.ranking.estimation.coding import effect_columns, nuisance_columns
from ablate.ranking.estimation.dispersion import orthonormal
from ablate.ranking.estimation.least_squares import Matrix
from ablate.ranking.estimation.outcomes import classify
from ablate.records.errors import InputError

PER_SD = "per SD"
HALVES = ("lower half", "upper half")
DECADE = 10.0
_BENT = 0.01


@dataclass(frozen=True, slots=True)
class Slope:
    """`column` [n]: standard deviations from the mean, zero where absent. `half` [n]: HALVES by the median, NaN
    where absent. `note`: the size of one standard deviation."""

    column: Matrix
    half: pd.Series
    note: str


def slope(values: Matrix, used: NDArray[np.bool_], *, log: bool | None = None) -> Slope:
    """`values` [n], NaN where absent; mean and standard deviation are those of the `used` runs.

    `log` None: numbers that are all positive, span a factor of ten and are less skewed on a logarithmic scale
    enter as logarithms; a choice made from the column alone.
    """
    present = np.isfinite(values)
    inside = values[present & used]
    if log is None:
        wide = bool(inside.min() > 0 and inside.max() >= DECADE * inside.min())
        log = wide and abs(float(stats.skew(np.log(inside)))) < abs(float(stats.skew(inside)))
    if log and not values[present].min() > 0:
        raise InputError("a logarithm needs numbers above zero")
    scaled = np.log(np.where(present, values, 1.0)) if log else np.where(present, values, 0.0)
    chosen = scaled[present & used]
    spread = float(chosen.std(ddof=1))
    column = np.where(present, (scaled - chosen.mean()) / (spread or 1.0), 0.0)
    middle = np.median(chosen)
    upper = scaled > middle if (chosen > middle).any() else scaled >= middle
    half = pd.Series(np.where(upper, HALVES[1], HALVES[0]), dtype=object).where(present)
    unit = f"its logarithm, a factor of {np.exp(spread):.3g}" if log else f"{spread:.3g}"
    return Slope(column, half, f"straight line, per standard deviation ({unit})")


def split(values: Matrix, at: float | None) -> tuple[pd.Series, tuple[str, str]]:
    """Labels below and above `at` (the median where None), and both labels in that order."""
    present = np.isfinite(values)
    at = float(np.median(values[present])) if at is None else at
    # With many ties at the median one side would be empty: then the median itself is the upper side.
    strict = bool((values[present] > at).any())
    below, above = (f"≤ {at:g}", f"> {at:g}") if strict else (f"< {at:g}", f"≥ {at:g}")
    upper = values > at if strict else values >= at
    return pd.Series(np.where(upper, above, below), dtype=object).where(present), (below, above)


def curvature_notes(
    frame: pd.DataFrame,
    factors: Sequence[Factor],
    slopes: Mapping[str, Matrix],
    metric: str,
    direction: str,
) -> list[str]:
    """The slopes to which a square adds something (t test, 1 % shared among them): a line is not the whole story."""
    if not slopes:
        return []
    runs = classify(frame, metric, direction)
    _, columns = effect_columns(frame, factors, slopes)
    base = np.concatenate([columns, nuisance_columns(frame)], axis=1)
    notes = []
    used, y = runs.used, runs.values[runs.used]
    basis = orthonormal(base[used])
    cleared = y - basis @ (basis.T @ y)
    df = len(y) - basis.shape[1] - 1
    for name, column in slopes.items():
        # The square's coefficient in the whole regression, from what neither it nor the outcome shares with the rest
        # (Frisch and Waugh 1933).
        squares = np.where(column == 0, 0.0, column**2 - 1)[used]
        curvature = squares - basis @ (basis.T @ squares)
        norm = float(curvature @ curvature)
        if df < 3 or not norm > 1e-12 * float(squares @ squares):
            continue
        estimate = float(curvature @ cleared) / norm
        left = float(np.square(cleared - estimate * curvature).sum())
        error = float(np.sqrt(left / df / norm))
        if not error > 0:
            continue
        p = 2 * stats.t.sf(abs(estimate) / error, df)
        if p <= _BENT / len(slopes):
            shape = "a best value inside its range" if estimate < 0 else "a worst value inside"
            notes.append(
                f"'{name}' does not act along a straight line (p = {p:.1g}; {shape}): its slope is an average, look at "
                f"--as {name}=split or {name}=levels"
            )
    return notes
