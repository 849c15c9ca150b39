"""Comparisons on paired seeds: drop-one, add-one, winner against baseline, and A against B until decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from ablate.ranking.coding import check_levels, require
from ablate.ranking.design import Factor, effective
from ablate.ranking.factorial import shipped_levels
from ablate.ranking.outcomes import Runs, classify
from ablate.ranking.sequential import MARGIN_IN_SIGMA, decide, half_width, nominal_level, two_sided
from ablate.ranking.spread import Correlation, mann_whitney
from ablate.ranking.verdicts import Verdict, word
from ablate.records.errors import InputError

LOOKS = (5, 10, 15, 20)  # pairs after which `compare` looks, unless told otherwise
Arm = dict[int, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A against B on paired seeds. `effect` > 0: A is better. `looks_done` of `looks` planned.

    `probability`: P(A > B) and its interval; `rho`: correlation of the two over seeds. Units: the metric's.
    """

    verdict: Verdict
    effect: float
    low: float
    high: float
    se: float
    df: float
    p: float
    level: float
    margin: float
    margin_auto: bool
    pairs: int
    failed: tuple[int, int]
    probability: tuple[float, float, float]
    rho: Correlation
    sigma: tuple[float, float]
    looks_done: int
    looks: tuple[int, ...]
    next_pairs: int | None
    note: str


def compare(
    a: Mapping[int, float],
    b: Mapping[int, float],
    direction: str,
    *,
    margin: float | None = None,
    looks: Sequence[int] = LOOKS,
) -> Comparison:
    """Judge seed -> metric of A and B (NaN: the run failed) at the planned numbers of pairs.

    Only the first `looks[i]` seeds, in ascending order of their position in `a`, count at look i, so that a
    resumed comparison says what an uninterrupted one did. `next_pairs`: how many pairs to have before the
    next call, None when decided or at the last look. Paired t test at Pocock's level for `len(looks)`
    looks. Raises InputError for too few pairs or looks that do not grow.
    """
    sizes = tuple(looks)
    if not sizes or list(sizes) != sorted(set(sizes)) or sizes[0] < 3:
        raise InputError(f"looks must be growing numbers of pairs, 3 or more, not {list(sizes)}")
    if direction not in ("higher", "lower"):
        raise InputError(f"direction must be 'higher' or 'lower', not '{direction}'")
    if margin is not None and not (np.isfinite(margin) and margin > 0):
        raise InputError(f"the margin must be a positive number, not {margin}")
    sign = 1.0 if direction == "higher" else -1.0
    seeds = [seed for seed in a if seed in b]
    if len(seeds) < sizes[0]:
        raise InputError(f"{len(seeds)} paired seeds are too few", hint=f"the first look is at {sizes[0]}")
    result: Comparison | None = None
    for number, size in enumerate(sizes, 1):
        if size > len(seeds):
            break
        one, other = ([sign * arm[seed] for seed in seeds[:size]] for arm in (a, b))
        result = _judge(np.array(one), np.array(other), margin, number, sizes)
        if result.verdict != "undecided":
            break
    assert result is not None
    return result


def _judge(
    one: np.ndarray[Any, np.dtype[np.float64]],
    other: np.ndarray[Any, np.dtype[np.float64]],
    margin: float | None,
    look: int,
    sizes: tuple[int, ...],
) -> Comparison:
    level = nominal_level(len(sizes))
    kept = np.isfinite(one) & np.isfinite(other)
    failed = (int((~np.isfinite(one)).sum()), int((~np.isfinite(other)).sum()))
    effect, se, df = _mean(one[kept] - other[kept])
    sigmas = tuple(
        float(np.std(arm[np.isfinite(arm)], ddof=1)) if np.isfinite(arm).sum() > 1 else np.nan
        for arm in (one, other)
    )
    auto = MARGIN_IN_SIGMA * float(np.sqrt(np.mean(np.square(sigmas))))
    bound = auto if margin is None else margin
    code, _ = decide(np.array([effect]), np.array([se]), np.array([df]), bound, level)
    notes = []
    if effect == 0 and se == 0:
        code[0] = 0
        notes.append("equal on every seed")
    elif se == 0:
        notes.append("the differences do not vary: no interval")
    if any(failed):
        notes.append(
            f"{failed[0]} runs of A and {failed[1]} of B failed: the mean is of pairs that both finished"
        )
    verdict = word(int(code[0]))
    last = look == len(sizes)
    half = float(half_width(np.array(se), np.array(df), 0.95))
    return Comparison(
        verdict, effect, effect - half, effect + half, se, df,
        float(two_sided(np.array(effect), np.array(se), np.array(df))), level, bound, margin is None,
        int(kept.sum()), failed, mann_whitney(one[kept], other[kept]), _pearson(one[kept], other[kept]),
        (sigmas[0], sigmas[1]), look, sizes,
        None if verdict != "undecided" or last else sizes[look], "; ".join(notes),
    )  # fmt: skip


def paired(
    frame: pd.DataFrame,
    factors: Sequence[Factor],
    metric: str,
    direction: str,
    *,
    estimand: Literal["drop-one", "add-one"] = "drop-one",
    shipped: Mapping[str, str] | None = None,
    confidence: float = 0.95,
    collapse: float | None = None,
) -> pd.DataFrame:
    """Effects of a drop-one or add-one design, in the columns of `effects_table`; t on paired differences.

    drop-one: the shipped recipe minus that recipe without the trick; add-one: the baseline with the trick
    minus the baseline. `runs` counts both arms; `sigma` is the run-to-run σ pooled over all arms. A pair
    of which one run failed is left out and told. Raises InputError where the frame lacks the reference arm
    or holds two runs of one arm and seed.
    """
    check_levels(frame, factors)
    require(frame, ["seed"])
    runs = classify(frame, metric, direction, collapse=collapse)
    arms = _arms(frame, factors, runs)
    within = [np.array([v for v in arm.values() if np.isfinite(v)]) for arm in arms.values()]
    freedom = sum(max(len(arm) - 1, 0) for arm in within)
    squares = sum(float(np.square(arm - arm.mean()).sum()) for arm in within if len(arm))
    sigma = float(np.sqrt(squares / freedom)) if freedom else np.nan
    rows = []
    for factor, level, better, worse in _contrasts(factors, estimand, shipped):
        one, other = arms.get(_key(better, factors)), arms.get(_key(worse, factors))
        if one is None or other is None:
            continue
        seeds = [seed for seed in one if seed in other]
        first, second = (np.array([arm[seed] for seed in seeds], dtype=float) for arm in (one, other))
        both = np.isfinite(first) & np.isfinite(second)
        effect, se, df = _mean((first - second)[both])
        half = float(half_width(np.array(se), np.array(df), confidence))
        failed = int(np.isnan(first).sum() + np.isnan(second).sum())
        notes = [f"{failed} runs failed: the mean is of pairs that both finished"] if failed else []
        if effect == 0 and se == 0:
            notes.append("equal on every seed")
        elif se == 0:
            notes.append("no interval: the differences do not vary")
        elif not np.isfinite(se):
            notes.append("no interval: fewer than two pairs")
        rows.append(
            {
                "trick": factor.name, "level": level, "metric": metric, "direction": direction,
                "effect": effect, "low": effect - half, "high": effect + half,
                "level_of_confidence": confidence, "se": se, "df": df,
                "p": float(two_sided(np.array(effect), np.array(se), np.array(df))), "sigma": sigma,
                "runs": 2 * int(both.sum()), "runs_failed": failed, "runs_with": int(both.sum()),
                "rho": _pearson(first[both], second[both]).estimate, "note": "; ".join(notes),
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
    found = []
    if estimand == "drop-one":
        recipe = effective(shipped_levels(factors, shipped), factors)
        for factor in factors:
            if recipe[factor.name] != factor.levels[0]:
                without = effective({**recipe, factor.name: factor.levels[0]}, factors)
                found.append((factor, recipe[factor.name], recipe, without))
        return found
    for factor in factors:
        below = {other.name: other.levels[0] for other in factors}
        parent = factor.parent
        while parent is not None:
            below[parent] = by_name[parent].levels[1]
            parent = by_name[parent].parent
        found += [(factor, level, {**below, factor.name: level}, below) for level in factor.levels[1:]]
    return found


def _arms(frame: pd.DataFrame, factors: Sequence[Factor], runs: Runs) -> dict[tuple[str, ...], Arm]:
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


def _key(levels: Mapping[str, str], factors: Sequence[Factor]) -> tuple[str, ...]:
    return tuple(effective(levels, factors).values())


def _mean(differences: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float, float]:
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


def _pearson(
    one: np.ndarray[Any, np.dtype[np.float64]], other: np.ndarray[Any, np.dtype[np.float64]]
) -> Correlation:
    """Pearson's r over pairs, interval by Fisher's z (needs four pairs)."""
    n = len(one)
    if n < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return Correlation(np.nan, np.nan, np.nan, n)
    r = float(np.clip(np.corrcoef(one, other)[0, 1], -1, 1))
    if n < 4 or abs(r) == 1:
        return Correlation(r, np.nan, np.nan, n)
    half = float(stats.norm.ppf(0.975)) / np.sqrt(n - 3)
    return Correlation(r, float(np.tanh(np.arctanh(r) - half)), float(np.tanh(np.arctanh(r) + half)), n)
