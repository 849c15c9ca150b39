"""A against B on paired seeds, until decided: `ablate compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ablate.ranking.estimation.dispersion import Correlation, mann_whitney
from ablate.ranking.estimation.least_squares import Matrix
from ablate.ranking.estimation.outcomes import check_direction
from ablate.ranking.estimation.paired import mean_of, pearson
from ablate.ranking.verdicts.sequential import (
    MARGIN_IN_SIGMA,
    Verdict,
    decide,
    half_width,
    nominal_level,
    two_sided,
    word,
)
from ablate.records.errors import InputError
from ablate.records.words import noun

LOOKS = (5, 10, 15, 20)  # pairs after which `compare` looks, by default


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
    check_direction(direction)
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
    one: Matrix,
    other: Matrix,
    margin: float | None,
    look: int,
    sizes: tuple[int, ...],
) -> Comparison:
    level = nominal_level(len(sizes))
    kept = np.isfinite(one) & np.isfinite(other)
    failed = (int((~np.isfinite(one)).sum()), int((~np.isfinite(other)).sum()))
    effect, se, df = mean_of(one[kept] - other[kept])
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
            f"{failed[0]} {noun(failed[0], 'run')} of A and {failed[1]} of B failed: the mean is of pairs that both finished"
        )
    verdict = word(int(code[0]), effect, bound)
    last = look == len(sizes)
    half = float(half_width(np.array(se), np.array(df), 0.95))
    return Comparison(
        verdict, effect, effect - half, effect + half, se, df,
        float(two_sided(np.array(effect), np.array(se), np.array(df))), level, bound, margin is None,
        int(kept.sum()), failed, mann_whitney(one[kept], other[kept]), pearson(one[kept], other[kept]),
        (sigmas[0], sigmas[1]), look, sizes,
        None if verdict != "undecided" or last else sizes[look], "; ".join(notes),
    )  # fmt: skip
