"""Error rates over many tricks and several looks: Pocock's level, Holm's adjustment, two one-sided tests."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ablate.records.errors import InputError

Array = NDArray[np.float64]
# Nominal two-sided levels that spend 0.05 over 1, 2, … equally spaced looks (Pocock, Biometrika 64, 1977);
# the tests recompute each from the multivariate normal distribution.
POCOCK = (0.05, 0.0294, 0.0221, 0.0182, 0.0158, 0.0142, 0.0130, 0.0120, 0.0112, 0.0106)
Verdict = Literal[
    "helps", "helps a little", "hurts", "hurts a little", "no measurable effect", "undecided", "exploratory"
]
_WORDS: dict[int, Verdict] = {1: "helps", -1: "hurts", 0: "no measurable effect", 2: "undecided"}
UNDECIDED_CODE = 2
_LITTLE: dict[int, Verdict] = {1: "helps a little", -1: "hurts a little"}
MARGIN_IN_SIGMA = 0.95  # P(A > B) = 0.75 for two normal runs that differ by 0.954 σ
LARGE_SHARE = 0.02
"""Two points of a metric that is a share (accuracy, recall, calibration error, R²): larger effects always matter."""
LARGE_RELATIVE = 0.05
"""The same of other metrics (a loss, an error), relative to the baseline's value."""


def large_effect(baseline: float, *, share: bool) -> float:
    """What is commonly called large: an effect of this size matters however much runs scatter. `baseline`, `share`: as for `automatic_margin`."""
    return LARGE_SHARE if share else LARGE_RELATIVE * abs(baseline)


def nominal_level(looks: int) -> float:
    """The level of each of `looks` looks at which the whole keeps 5 %. Raises InputError outside 1–10."""
    if not 1 <= looks <= len(POCOCK):
        raise InputError(f"the number of looks must be from 1 to {len(POCOCK)}, not {looks}")
    return POCOCK[looks - 1]


def two_sided(effect: Array, se: Array, df: Array) -> Array:
    """p-values of `effect` = 0 by Student's t. NaN where nothing was estimated or nothing varied (se = 0)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.abs(effect) / np.where(se > 0, se, np.nan)
    return 2 * np.asarray(special.stdtr(np.maximum(df, 1), -statistic))


def holm(p: Array) -> Array:
    """Holm's step-down adjusted p-values along the last axis (Scand. J. Statist. 6, 1979).

    NaN stays NaN and does not count as a hypothesis.
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, axis=-1)  # NaN sorts last
    ranked = np.take_along_axis(p, order, axis=-1)
    family = np.isfinite(p).sum(axis=-1, keepdims=True)
    factor = np.maximum(family - np.arange(p.shape[-1]), 1)
    stepped = np.fmax.accumulate(np.where(np.isnan(ranked), -np.inf, factor * ranked), axis=-1)
    stepped = np.where(np.isnan(ranked), np.nan, np.minimum(stepped, 1.0))
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, stepped, axis=-1)
    return adjusted


def equivalence(effect: Array, se: Array, df: Array, margin: Array | float) -> Array:
    """p-value of "the effect is at least `margin` in size": the larger of two one-sided t tests (TOST).

    Schuirmann, J. Pharmacokinet. Biopharm. 15 (1987).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = (margin - np.abs(effect)) / np.where(se > 0, se, np.nan)
    return np.asarray(special.stdtr(np.maximum(df, 1), -statistic))


def half_width(se: Array, df: Array, confidence: Array | float) -> Array:
    """Half the length of the t interval."""
    return np.asarray(special.stdtrit(np.maximum(df, 1), (1 + confidence) / 2)) * se


def smallness_level(level: float) -> float:
    """The level of each one-sided test of smallness, given the level of the look."""
    return min(level, 0.025)


def decide(
    effect: Array, se: Array, df: Array, margin: Array | float, level: float
) -> tuple[NDArray[np.int8], Array]:
    """Verdict codes and Holm-adjusted p-values, tricks along the last axis.

    +1 helps, -1 hurts (adjusted p ≤ `level`), 0 no measurable effect (TOST p ≤ `level`), 2 undecided.
    A sign that is certain wins over smallness: "helps, by less than the margin" is the truer sentence.
    The tests of smallness are never taken above 0.025, so that "no measurable effect" always shows a 95 %
    interval that lies inside the margin's band.
    """
    adjusted = holm(two_sided(effect, se, df))
    return codes(effect, se, df, margin, level, adjusted), adjusted


def codes(
    effect: Array, se: Array, df: Array, margin: Array | float, level: float, adjusted: Array
) -> NDArray[np.int8]:
    """Verdict codes as in `decide`, given p-values that are adjusted for the family."""
    code = np.full(np.shape(effect), UNDECIDED_CODE, dtype=np.int8)
    code[equivalence(effect, se, df, margin) <= smallness_level(level)] = 0
    significant = adjusted <= level
    code[significant] = np.sign(effect[significant]).astype(np.int8)
    return code


def word(code: int, effect: float, margin: float) -> Verdict:
    """The word for a code of `decide`: an effect within the margin is not called "helps" without "a little"."""
    return _LITTLE[code] if code in _LITTLE and abs(effect) < margin else _WORDS[code]
