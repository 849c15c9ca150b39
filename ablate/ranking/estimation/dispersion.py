"""How runs scatter: σ by arm, correlation of runs that share a seed, P(A > B), runs far from the fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats

from ablate.ranking.estimation.coding import at_level, is_active, nuisance_columns
from ablate.ranking.estimation.effects import Effects
from ablate.ranking.estimation.least_squares import Matrix, least_squares

_SWEEPS = 30
_MOST_FITTED = 20_000
FAR = 6.0  # robust standard deviations; a normal sample of 100 has one in 5 million tables


@dataclass(frozen=True, slots=True)
class Correlation:
    """An estimate with its interval; NaN where the data do not determine it. `n`: pairs or blocks."""

    estimate: float
    low: float
    high: float
    n: int


def arms(fitted: Effects, frame: pd.DataFrame) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Row masks (with, without) of the used runs, one pair per effect."""
    by_name = {factor.name: factor for factor in fitted.factors}
    masks = []
    for term in fitted.terms:
        factor = by_name[term.factor]
        active = is_active(frame, factor, fitted.factors) & fitted.used
        levels = term.level, factor.levels[0]
        masks.append(
            (active & at_level(frame, factor, levels[0]), active & at_level(frame, factor, levels[1]))
        )
    return masks


def spread_by_arm(fitted: Effects, frame: pd.DataFrame) -> pd.DataFrame:
    """`trick, level, sigma_with, sigma_without, runs_with, runs_without, p`: run-to-run σ in each arm.

    The fit spreads each arm's noise over the other's residuals; solving for the variances whose expected
    squared residuals are those observed undoes that (MINQUE, Rao 1970, JASA 65:161). Zero where the
    solution is negative. p: Brown & Forsythe's test of equal spread, not adjusted.
    """
    squares = np.square(fitted.residuals[fitted.used])
    many = len(squares) > _MOST_FITTED
    x = np.concatenate([fitted.columns, nuisance_columns(frame)], axis=1)[fitted.used]
    basis = np.empty((0, 0)) if many else orthonormal(x)
    slack = 1 - fitted.leverage
    rows = []
    for term, (with_it, without) in zip(fitted.terms, arms(fitted, frame), strict=True):
        both = with_it[fitted.used], without[fitted.used]
        if many:  # what the fit spreads is of the order of effects over runs
            sides = tuple(float(np.sqrt(squares[side].mean())) if side.any() else np.nan for side in both)
        else:
            sides = _sides(basis, squares, *both)
        p = np.nan
        if min(with_it.sum(), without.sum()) >= 3 and max(np.nan_to_num(sides)) > 0:
            scaled = fitted.residuals / np.sqrt(np.maximum(slack, 1e-9))
            p = float(stats.levene(scaled[with_it], scaled[without], center="median").pvalue)
        rows.append(
            {
                "trick": term.factor,
                "level": term.level,
                "sigma_with": sides[0],
                "sigma_without": sides[1],
                "runs_with": int(with_it.sum()),
                "runs_without": int(without.sum()),
                "p": p,
            }
        )
    return pd.DataFrame(rows)


def orthonormal(x: Matrix) -> Matrix:
    """An orthonormal basis [n, rank] of the columns of `x` [n, p]."""
    u, singular, _ = np.linalg.svd(x, full_matrices=False)
    tolerance = singular.max(initial=0.0) * max(x.shape) * np.finfo(float).eps
    return np.asarray(u[:, singular > tolerance])


def _sides(
    basis: Matrix, squares: Matrix, with_it: NDArray[np.bool_], without: NDArray[np.bool_]
) -> tuple[float, float]:
    """σ of the two arms. The expected squared residual of run i is Σ_j (δ_ij − h_ij)² σ_j², with h = Q Qᵀ of the `basis`
    Q [n, rank]; summed over two groups of runs, Σ h_ij² is the trace of a product of their Gram matrices."""
    groups = [group for group in (with_it, without, ~with_it & ~without) if group.any()]
    if len(groups) < 2 or not (with_it.any() and without.any()):
        return np.nan, np.nan
    grams = [basis[group].T @ basis[group] for group in groups[:2]]
    grams += [np.eye(basis.shape[1]) - grams[0] - grams[1]] if len(groups) == 3 else []
    system = np.array([[np.sum(one * other) for other in grams] for one in grams])
    system += np.diag([group.sum() - 2 * np.trace(gram) for group, gram in zip(groups, grams, strict=True)])
    if np.linalg.cond(system) > 1e8:
        return np.nan, np.nan
    variances = np.linalg.solve(system, np.array([squares[group].sum() for group in groups]))
    return float(np.sqrt(max(variances[0], 0.0))), float(np.sqrt(max(variances[1], 0.0)))


def seed_correlation(fitted: Effects, frame: pd.DataFrame, *, confidence: float = 0.95) -> Correlation:
    """ρ̂, the share of variance that runs of one block (one seed, one wave) have in common.

    One-way random effects on what the tricks leave over, interval from the F distribution (Searle,
    Linear Models, 1971). With the two blocks of one wave the interval is wide, and says so.
    """
    nothing = Correlation(np.nan, np.nan, np.nan, 0)
    if "block" not in frame.columns:
        return nothing
    used = fitted.used
    blocks = frame["block"].to_numpy()[used]
    labels, sizes = np.unique(blocks, return_counts=True)
    if len(labels) < 2 or fitted.df < 1:
        return nothing
    y = fitted.runs.values[used][None, :]
    columns = fitted.columns[used]
    if fitted.adjusted:
        full = least_squares(np.concatenate([columns, nuisance_columns(frame)[used]], axis=1), y)
        residuals, sigma, df = full.residuals[0], float(full.sigma[0]), float(full.df[0])
    else:  # which has been fitted
        residuals, sigma, df = fitted.residuals[used], fitted.sigma, fitted.df
    plain = least_squares(np.concatenate([columns, np.ones((len(blocks), 1))], axis=1), y)
    between = float(np.square(plain.residuals).sum() - np.square(residuals).sum())
    freedom = float(plain.df[0]) - df
    if freedom < 1 or not sigma > 0:
        return nothing
    ratio = between / freedom / sigma**2
    size = (len(blocks) - np.square(sizes).sum() / len(blocks)) / (len(labels) - 1)

    def share(f: float) -> float:
        return float((f - 1) / (f - 1 + size))

    tail = (1 - confidence) / 2
    low = share(ratio / float(stats.f.ppf(1 - tail, freedom, df)))
    high = share(ratio / float(stats.f.ppf(tail, freedom, df)))
    return Correlation(share(ratio), low, high, len(labels))


def probability_of_improvement(
    fitted: Effects, frame: pd.DataFrame, *, confidence: float = 0.95
) -> pd.DataFrame:
    """P(A > B): the chance that one run with the trick beats one without. `trick, level, probability, low, high`.

    Mann-Whitney on outcomes cleared of the other effects; interval by Newcombe (2006), Stat. Med. 25:559,
    method 5. 0.5 is no effect, 0.75 a worthwhile one (Bouthillier et al. 2021, arXiv:2103.03098).
    """
    rows = []
    for i, (term, (with_it, without)) in enumerate(zip(fitted.terms, arms(fitted, frame), strict=True)):
        cleared = fitted.residuals + fitted.columns[:, i] * fitted.estimate[i]
        value, low, high = mann_whitney(cleared[with_it], cleared[without], confidence=confidence)
        rows.append(
            {"trick": term.factor, "level": term.level, "probability": value, "low": low, "high": high}
        )
    return pd.DataFrame(rows)


def mann_whitney(one: Matrix, other: Matrix, *, confidence: float = 0.95) -> tuple[float, float, float]:
    """P(one > other) + ½ P(equal), and its interval. NaN for an empty or unknown sample."""
    n, m = len(one), len(other)
    if n == 0 or m == 0 or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return np.nan, np.nan, np.nan
    tie = 1e-12 * max(float(np.abs(one).max()), float(np.abs(other).max()), 1e-300)
    one, ordered = np.sort(one), np.sort(other)  # sorted needles are found several times faster
    beaten = np.searchsorted(ordered, one - tie, side="left")
    not_above = np.searchsorted(ordered, one + tie, side="right")
    estimate = float(beaten.sum() + not_above.sum()) / (2 * n * m)
    z = float(stats.norm.ppf((1 + confidence) / 2))
    middle = (n + m) / 2 - 1

    def gap(theta: float) -> float:
        shape = 1 + middle * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (theta - estimate) ** 2 - z * z * theta * (1 - theta) * shape / (n * m)

    # At 0 and 1 the estimate itself solves the equation; the interval ends at the other root.
    nudge = 1e-9 if estimate in (0, 1) else 0.0
    low = 0.0 if estimate == 0 else float(optimize.brentq(gap, 0.0, estimate - nudge))
    high = 1.0 if estimate == 1 else float(optimize.brentq(gap, estimate + nudge, 1.0))
    return estimate, low, high


def far_runs(fitted: Effects, frame: pd.DataFrame) -> list[int]:
    """Positions of used runs that lie more than six robust standard deviations from the fit of the others."""
    everything = np.concatenate([fitted.columns, nuisance_columns(frame)], axis=1)
    return outlying(everything, np.where(fitted.used, fitted.runs.values, np.nan))


def outlying(columns: Matrix, y: Matrix) -> list[int]:
    """Positions of values of `y` [n] far from the regression on `columns` [n, p] of the rest.

    Against a least-absolute-deviations fit, which a few collapses cannot pull over (in a least-squares fit
    they hide one another), of a sample where there are many; its scale is the median size of the residuals that are free to differ from zero.
    """
    present = np.flatnonzero(np.isfinite(y))
    x, values = columns[present], y[present]
    freedom = len(present) - int(np.linalg.matrix_rank(x)) if len(present) else 0
    if freedom < 3:
        return []
    some = np.arange(len(values))
    if len(values) > _MOST_FITTED:
        some = np.random.default_rng(0).choice(len(values), _MOST_FITTED, replace=False)
    residuals = np.abs(values - x @ _least_absolute(x[some], values[some]))
    typical = 1.4826 * float(np.median(np.sort(residuals)[-freedom:]))
    floor = 1e-9 * float(np.abs(values).max())
    return [int(i) for i in present[residuals > max(FAR * typical, floor)]]


def _least_absolute(x: Matrix, y: Matrix) -> Matrix:
    """Coefficients that minimise Σ |y - x b|, by reweighted least squares (Schlossmacher, JASA 68, 1973)."""
    weights = np.ones(len(y))
    ridge = 1e-10 * float(np.square(x).sum()) * np.eye(x.shape[1])
    coefficients = np.zeros(x.shape[1])
    for _ in range(_SWEEPS):
        scaled = x.T * weights
        coefficients = np.linalg.solve(scaled @ x + ridge * weights.max() / len(y), scaled @ y)
        residuals = np.abs(y - x @ coefficients)
        weights = 1 / np.maximum(residuals, max(1e-4 * float(np.median(residuals)), 1e-300))
    return coefficients
