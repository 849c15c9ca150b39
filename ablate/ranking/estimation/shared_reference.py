"""Effects of many arms against one reference, which has more seeds than they: each arm shares some of the reference's.

With a_s an arm's value on seed s, r_s the reference's, S the arm's seeds and A ⊇ S the reference's:

    effect = mean_S(a − β r) − (1 − β) mean_A(r)
           = mean_S(a − γ r) − (1 − γ) mean_A∖S(r),    γ = β + (1 − β) |S| / |A|
    variance = var(a − γ r) / |S| + (1 − γ)² var(r) / |A∖S|

β is the regression of an arm's values on its reference's, one for all arms. β = 1 or A = S is the paired difference;
β = 0 the difference of the two means. The two terms of the second form have no seed in common and so are independent, also
where an arm's own regression differs from β. The variance of the first is moderated over the arms, but not below an arm's own: where
arms truly differ in scatter, a common prior makes the widest ones too certain (Phipson et al., Ann. Appl. Stat. 10, 2016).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablate.ranking.estimation.moderation import Prior, fit_prior, moderated

Vector = NDArray[np.float64]
Values = Mapping[int, float]
"""Seed -> score, more is better."""


@dataclass(frozen=True, slots=True)
class Effect:
    """An arm minus its reference, in the score's units. `pairs`: seeds that both have.

    `same`: equal on every seed, so that the arm computes what its reference does.
    """

    effect: float
    se: float
    df: float
    pairs: int
    same: bool = False


@dataclass(frozen=True, slots=True)
class SharedComparison:
    """All arms against one reference. `sigma`: of one run of the reference; `beta`, `prior`: see above."""

    effects: Mapping[str, Effect]
    sigma: float
    beta: float
    prior: Prior
    reference_runs: int


def compare_to_reference(
    arms: Mapping[str, Values], reference: Values, alone: Sequence[str] = ()
) -> SharedComparison:
    """Effects of `arms`. Those in `alone` have seeds of their own (a placebo): their means are compared with the
    reference's as independent ones, and they stay out of β and of the prior."""
    reference_values = np.array([value for value in reference.values() if np.isfinite(value)])
    spread = float(reference_values.var(ddof=1)) if len(reference_values) > 1 else float("nan")
    paired = {name: _pairs(values, reference) for name, values in arms.items() if name not in alone}
    beta = _slope(list(paired.values()))
    weights = {
        name: beta + (1 - beta) * len(r) / max(len(reference_values), 1) for name, (_, r) in paired.items()
    }
    rests = {name: a - weights[name] * r for name, (a, r) in paired.items()}
    same = {name: len(a) > 1 and bool(np.array_equal(a, r)) for name, (a, r) in paired.items()}
    names = list(paired)
    variances = np.array([_variance(rests[name]) for name in names])
    df = np.array([max(len(rests[name]) - 1, 0) for name in names], dtype=float)
    varied = np.array([not same[name] for name in names], dtype=bool)
    prior = fit_prior(variances[varied], df[varied])
    shrunk, shrunk_df = moderated(variances, df, prior)
    shrunk = np.fmax(shrunk, variances)
    effects: dict[str, Effect] = {}
    for number, name in enumerate(names):
        count = len(rests[name])
        if same[name]:
            effects[name] = Effect(0.0, 0.0, float(count - 1), count, same=True)
            continue
        if not count:
            effects[name] = Effect(float("nan"), float("nan"), 1.0, 0)
            continue
        estimate, first, second, others = (
            rests[name].mean(),
            shrunk[number] / count,
            0.0,
            len(reference_values) - count,
        )
        if others:
            complement = 1 - weights[name]
            estimate -= complement * (reference_values.sum() - paired[name][1].sum()) / others
            second = complement**2 * spread / others
        error, error_df = _combined(first, shrunk_df[number], second, len(reference_values) - 1)
        effects[name] = Effect(float(estimate), error, error_df, count)
    for name in alone:
        values = np.array([value for value in arms[name].values() if np.isfinite(value)])
        estimate = (
            float(values.mean() - reference_values.mean())
            if len(values) and len(reference_values)
            else float("nan")
        )
        first = _variance(values) / max(len(values), 1)
        second = spread / max(len(reference_values), 1)
        effects[name] = Effect(
            estimate, *_combined(first, len(values) - 1, second, len(reference_values) - 1), len(values)
        )
    return SharedComparison(effects, float(np.sqrt(spread)), beta, prior, len(reference_values))


def _pairs(values: Values, reference: Values) -> tuple[Vector, Vector]:
    """The two arms' values on the seeds that both have."""
    rows = [
        (value, reference[seed])
        for seed, value in values.items()
        if np.isfinite(value) and np.isfinite(reference.get(seed, np.nan))
    ]
    table = np.array(rows, dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _slope(pairs: Sequence[tuple[Vector, Vector]]) -> float:
    """One β for all arms, from sums of products within each arm; between 0 and 1."""
    products = squares = 0.0
    for a, r in pairs:
        if len(a) > 1 and not np.array_equal(a, r):
            centred = r - r.mean()
            products += float(((a - a.mean()) * centred).sum())
            squares += float((centred**2).sum())
    return float(np.clip(products / squares, 0.0, 1.0)) if squares > 0 else 1.0


def _variance(values: Vector) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else float("nan")


def _combined(first: float, first_df: float, second: float, second_df: float) -> tuple[float, float]:
    """(standard error, degrees of freedom) of a sum of two independent parts (Welch & Satterthwaite)."""
    total = first + second
    if not np.isfinite(total) or total <= 0:
        return float(np.sqrt(max(total, 0.0))) if np.isfinite(total) else float("nan"), max(first_df, 1.0)
    df = total**2 / (first**2 / max(first_df, 1) + second**2 / max(second_df, 1))
    return float(np.sqrt(total)), float(df)
