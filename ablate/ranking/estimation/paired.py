"""Effects on paired seeds: drop-one, add-one, winner against baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from ablate.ranking.designs.design import Factor, effective
from ablate.ranking.designs.factorial import shipped_levels
from ablate.ranking.estimation.coding import check_levels, require
from ablate.ranking.estimation.dispersion import Correlation
from ablate.ranking.estimation.least_squares import Matrix, least_squares
from ablate.ranking.estimation.outcomes import RunMasks, classify
from ablate.ranking.verdicts.sequential import half_width, two_sided
from ablate.records.designs import DROP_ONE, PairedEstimand
from ablate.records.errors import InputError

Arm = dict[int, float]
Contrast = tuple[float, float, float]


def paired(
    frame: pd.DataFrame,
    factors: Sequence[Factor],
    metric: str,
    direction: str,
    *,
    estimand: PairedEstimand = DROP_ONE,
    shipped: Mapping[str, str] | None = None,
    confidence: float = 0.95,
    collapse: float | None = None,
    pooled: bool = False,
) -> pd.DataFrame:
    """Effects of a drop-one or add-one design, in the columns of `effects_table`; t on paired differences.

    drop-one: the shipped recipe minus that recipe without the trick; add-one: the baseline with the trick
    minus the baseline. `pooled`: one residual variance for all arms (two-way least squares, arms + seeds)
    instead of one per comparison: with 5 seeds that is the difference between 4 degrees of freedom and
    4 × arms, at the price of assuming that all arms scatter alike. Runs of one `block` (else of one `seed`) are
    a pair. `runs` counts both arms; `sigma` is the run-to-run σ pooled over all arms. A pair of which one run
    failed is left out and reported. Raises InputError if the frame lacks the reference arm
    or holds two runs of one arm and seed.
    """
    check_levels(frame, factors)
    require(frame, ["seed"])
    if "block" in frame.columns:  # the placebo of a design has separate seeds, and its pairs are the blocks
        frame = frame.assign(seed=frame["block"])
    runs = classify(frame, metric, direction, collapse=collapse)
    arms = _arms(frame, factors, runs)
    within = [np.array([v for v in arm.values() if np.isfinite(v)]) for arm in arms.values()]
    freedom = sum(max(len(arm) - 1, 0) for arm in within)
    squares = sum(float(np.square(arm - arm.mean()).sum()) for arm in within if len(arm))
    sigma = float(np.sqrt(squares / freedom)) if freedom else np.nan
    layout = _two_way(arms) if pooled else None
    rows = []
    for factor, level, better, worse in _contrasts(factors, estimand, shipped):
        one, other = arms.get(_key(better, factors)), arms.get(_key(worse, factors))
        if one is None or other is None:
            continue
        seeds = [seed for seed in one if seed in other]
        first, second = (np.array([arm[seed] for seed in seeds], dtype=float) for arm in (one, other))
        both = np.isfinite(first) & np.isfinite(second)
        effect, se, df = mean_of((first - second)[both])
        if layout is not None and not (effect == 0 and se == 0):
            effect, se, df = layout(_key(better, factors), _key(worse, factors))
        half = float(half_width(np.array(se), np.array(df), confidence))
        failed = int(np.isnan(first).sum() + np.isnan(second).sum())
        notes = [f"{failed} runs failed: the mean is of pairs that both finished"] if failed else []
        if effect == 0 and se == 0:
            notes.append("equal on every seed")
        elif se == 0:
            notes.append("no interval: the differences do not vary")
        elif not np.isfinite(se):
            notes.append("no interval: too few pairs")
        rows.append(
            {
                "trick": factor.name, "level": level, "metric": metric, "direction": direction,
                "effect": effect, "low": effect - half, "high": effect + half,
                "level_of_confidence": confidence, "se": se, "df": df,
                "p": float(two_sided(np.array(effect), np.array(se), np.array(df))), "sigma": sigma,
                "runs": 2 * int(both.sum()), "runs_failed": failed, "runs_with": int(both.sum()),
                "rho": pearson(first[both], second[both]).estimate, "note": "; ".join(notes),
            }
        )  # fmt: skip
    if not rows:
        raise InputError(
            f"the runs hold no {estimand} comparison", hint="is the shipped recipe the one that was run?"
        )
    return pd.DataFrame(rows)


def _contrasts(
    factors: Sequence[Factor], estimand: str, shipped: Mapping[str, str] | None
) -> list[tuple[Factor, str, dict[str, str], dict[str, str]]]:
    """(factor, level, arm with it, arm without it) for every comparison of the design."""
    by_name = {factor.name: factor for factor in factors}
    contrasts = []
    if estimand == DROP_ONE:
        recipe = effective(shipped_levels(factors, shipped), factors)
        for factor in factors:
            if recipe[factor.name] != factor.levels[0]:
                without = effective({**recipe, factor.name: factor.levels[0]}, factors)
                contrasts.append((factor, recipe[factor.name], recipe, without))
        return contrasts
    for factor in factors:
        below = {other.name: other.levels[0] for other in factors}
        parent = factor.parent
        while parent is not None:
            below[parent] = by_name[parent].levels[1]
            parent = by_name[parent].parent
        contrasts += [(factor, level, {**below, factor.name: level}, below) for level in factor.levels[1:]]
    return contrasts


def _arms(frame: pd.DataFrame, factors: Sequence[Factor], runs: RunMasks) -> dict[tuple[str, ...], Arm]:
    """Levels -> seed -> metric (NaN where the run failed; excluded runs are absent)."""
    names = [factor.name for factor in factors]
    arms: dict[tuple[str, ...], Arm] = {}
    table = frame[names].to_numpy()
    for i, seed in enumerate(frame["seed"].to_numpy()):
        if runs.excluded[i]:
            continue
        key = _key(dict(zip(names, table[i], strict=True)), factors)
        arm = arms.setdefault(key, {})
        if seed in arm:
            raise InputError(f"two runs of one recipe share the seed {seed}", hint="keep one")
        arm[seed] = float(runs.values[i]) if runs.used[i] else np.nan
    return arms


def _two_way(arms: Mapping[tuple[str, ...], Arm]) -> Callable[[tuple[str, ...], tuple[str, ...]], Contrast]:
    """Fit value = arm + seed and return the contrast of two arms: effect, standard error, df.

    An arm that repeats another to the last digit (a placebo on equal seeds) has no noise of its own and
    would make the pooled variance too small: it is left out.
    """
    keys: list[tuple[str, ...]] = []
    for key, arm in arms.items():
        if not any(arm == arms[other] for other in keys):
            keys.append(key)
    seeds = sorted({seed for key in keys for seed in arms[key]})
    cells = [(i, seeds.index(seed), value) for i, key in enumerate(keys) for seed, value in arms[key].items()]
    columns = np.zeros((len(cells), len(keys) + len(seeds)))
    for row, (i, j, _) in enumerate(cells):
        columns[row, i] = columns[row, len(keys) + j] = 1
    # The first seed is the reference, so that arms are estimable one by one.
    columns = np.delete(columns, len(keys), axis=1)
    fit = least_squares(columns, np.array([value for _, _, value in cells]))
    names = {key: next(i for i, kept in enumerate(keys) if arm == arms[kept]) for key, arm in arms.items()}

    def contrast(one: tuple[str, ...], other: tuple[str, ...]) -> Contrast:
        i, j = names[one], names[other]
        v = fit.covariance[0]
        effect = float(fit.coefficients[0, i] - fit.coefficients[0, j])
        return effect, float(np.sqrt(v[i, i] + v[j, j] - 2 * v[i, j])), float(fit.df[0])

    return contrast


def _key(levels: Mapping[str, str], factors: Sequence[Factor]) -> tuple[str, ...]:
    return tuple(effective(levels, factors).values())


def mean_of(differences: Matrix) -> tuple[float, float, float]:
    """Mean, its standard error and degrees of freedom."""
    n = len(differences)
    if n == 0:
        return np.nan, np.nan, 0.0
    mean = float(differences.mean())
    if n == 1:
        return mean, np.nan, 0.0
    if np.ptp(differences) == 0:
        return mean, 0.0, n - 1.0
    return mean, float(differences.std(ddof=1) / np.sqrt(n)), n - 1.0


def pearson(one: Matrix, other: Matrix) -> Correlation:
    """Pearson's r over pairs, interval by Fisher's z (needs four pairs)."""
    n = len(one)
    if n < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return Correlation(np.nan, np.nan, np.nan, n)
    r = float(np.clip(np.corrcoef(one, other)[0, 1], -1, 1))
    if n < 4 or abs(r) == 1:
        return Correlation(r, np.nan, np.nan, n)
    half = float(stats.norm.ppf(0.975)) / np.sqrt(n - 3)
    return Correlation(r, float(np.tanh(np.arctanh(r) - half)), float(np.tanh(np.arctanh(r) + half)), n)
