"""Many races at once, in numpy: an implementation of its own of what `ablate.ranking.verdicts.racing.replay` does to one.

It is written from the formulae and a hundred times as fast; `tests/ranking/test_race_simulation.py` holds it to the shipped
functions, row by row. Every sum over the first n seeds is a difference of cumulative sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ablate.ranking.designs.racing import Racing

Array = NDArray[np.float64]
HELPS, HURTS, NONE, UNDECIDED = 1, -1, 0, 2
NEWTON = 40
MOVED, HOPE_FROM = 1.0, 18
"""An arm that twice the pairs that are left would not decide, by its present estimate, is run no further from so many pairs on."""


@dataclass(frozen=True)
class Outcome:
    """R races of k arms and a placebo, which stands last: arrays `[R, k + 1]`, each at the look where the arm stopped.

    `runs` `[R]`: of all arms and the reference.
    """

    effect: Array
    se: Array
    df: Array
    code: NDArray[np.int8]
    look: NDArray[np.int64]
    pairs: NDArray[np.int64]
    runs: NDArray[np.int64]
    levels: tuple[float, ...]

    @property
    def half(self) -> Array:
        """Half the length of the interval: of 95 %, and up to 97 % where an arm is decided before the last look."""
        by_look = 1 - 2 * np.minimum(self.levels, 0.025)
        by_look[-1] = 0.0
        nominal = np.where(self.code == UNDECIDED, 0.0, by_look[self.look]).clip(0.95, 0.97)
        return np.asarray(special.stdtrit(np.maximum(self.df, 1), (1 + nominal) / 2)) * self.se


@dataclass(frozen=True)
class _Sums:
    """Cumulative sums over seeds, with a zero first: of arms `[R, k, n + 1]`, placebo `[R, n + 1]`, reference `[R, m + 1]`."""

    a: Array
    aa: Array
    ar: Array
    p: Array
    pp: Array
    r: Array
    rr: Array


def replay_many(
    arms: Array,
    placebo: Array,
    reference: Array,
    racing: Racing,
    margin: float,
    tuning_se: Array | float = 0.0,
) -> Outcome:
    """`arms` `[R, k, n]` on the first n seeds of `reference` `[R, m]`; `placebo` `[R, n]` on others; more is better.

    `tuning_se` `[R, k + 1]`: standard deviation of what tuning leaves an effect off.
    """
    count, k, n = arms.shape
    arms = arms - reference[:, None, :n].mean(axis=2, keepdims=True)
    placebo = placebo - reference[:, :n].mean(axis=1, keepdims=True)
    reference = reference - reference[:, :n].mean(axis=1, keepdims=True)
    shared = reference[:, None, :n]
    sums = _Sums(
        *map(_cumulative, (arms, arms**2, arms * shared, placebo, placebo**2, reference, reference**2))
    )
    shape = (count, k + 1)
    effect, se, df = (np.full(shape, np.nan) for _ in range(3))
    code, look = np.full(shape, UNDECIDED, dtype=np.int8), np.zeros(shape, dtype=np.int64)
    runs = np.zeros(count, dtype=np.int64)
    stopped = np.zeros(shape, dtype=bool)
    for number, (pairs, level) in enumerate(zip(racing.pairs, racing.levels, strict=True)):
        open_ = (code == UNDECIDED) & ~stopped
        racing_on = open_.any(axis=1)
        left = np.maximum(open_.sum(axis=1), 1)
        runs = np.where(racing_on, np.maximum(runs, np.ceil(pairs * np.sqrt(left)).astype(int)), runs)
        look = np.where(open_, number, look)
        pairs_of_arms = np.array(racing.pairs)[look]
        estimates = _with_tuning(*_effects(sums, pairs_of_arms, runs), tuning_se)
        for target, new in zip((effect, se, df), estimates, strict=True):
            target[open_] = new[open_]
        now = _verdicts(*estimates, open_, code, level, margin)
        code = np.where(open_, now, code)
        if pairs >= HOPE_FROM:
            more, extra = racing.pairs[-1] - pairs, np.square(tuning_se)
            of_pairs = np.maximum(estimates[1] ** 2 - extra, 0.0) * pairs / racing.pairs[-1]
            later, df_later = np.sqrt(of_pairs + extra), np.maximum(estimates[2] + more, 1)
            hopeful = np.zeros(shape, dtype=bool)
            for moved in (-MOVED, 0.0, MOVED):
                size = np.abs(estimates[0] + moved * np.sqrt(of_pairs * more / pairs))
                sign = 2 * special.stdtr(df_later, -size / later) <= racing.levels[-1] / (k + 1)
                small = special.stdtr(df_later, (size - margin) / later) <= min(racing.levels[-1], 0.025)
                hopeful |= sign | small
            stopped |= open_ & ~hopeful
    pairs_of_arms = np.array(racing.pairs)[look]
    return Outcome(effect, se, df, code, look, pairs_of_arms, pairs_of_arms.sum(axis=1) + runs, racing.levels)


def _cumulative(values: Array) -> Array:
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), values.cumsum(axis=-1)], axis=-1)


def _at(values: Array, places: NDArray[np.int64]) -> Array:
    """`values` `[…, n + 1]` at one place each."""
    return np.take_along_axis(values, places[..., None], axis=-1)[..., 0]


def _effects(
    sums: _Sums, pairs_of_arms: NDArray[np.int64], runs: NDArray[np.int64]
) -> tuple[Array, Array, Array]:
    """Effect, standard error and degrees of freedom of every arm with `pairs_of_arms` `[R, k + 1]`, the reference with `runs`."""
    pairs, apart = pairs_of_arms[:, :-1], pairs_of_arms[:, -1]
    n, m = pairs.astype(float), runs.astype(float)[:, None]
    a, aa, ar = _at(sums.a, pairs), _at(sums.aa, pairs), _at(sums.ar, pairs)
    everyone = np.broadcast_to(sums.r[:, None, :], (*pairs.shape, sums.r.shape[-1]))
    squares = np.broadcast_to(sums.rr[:, None, :], everyone.shape)
    r, rr = _at(everyone, pairs), _at(squares, pairs)
    all_r, all_rr = _at(sums.r, runs)[:, None], _at(sums.rr, runs)[:, None]
    saa, sar, srr = aa - a * a / n, ar - a * r / n, rr - r * r / n
    beta = np.clip(sar.sum(axis=1) / srr.sum(axis=1), 0, 1)[:, None]
    weight = beta + (1 - beta) * n / m
    variance = (saa - 2 * weight * sar + weight**2 * srr) / (n - 1)
    spread = (all_rr - all_r**2 / m) / (m - 1)
    shrunk, shrunk_df = _moderated(variance, n - 1)
    others = m - n
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = np.where(others > 0, (all_r - r) / others, 0.0)
        second = np.where(others > 0, (1 - weight) ** 2 * spread / others, 0.0)
    effect = (a - weight * r) / n - (1 - weight) * rest
    se, df = _welch(shrunk / n, shrunk_df, second, m - 1)
    q, mine = apart.astype(float), _at(sums.p, apart)
    var = (_at(sums.pp, apart) - mine**2 / q) / (q - 1)
    placebo_se, placebo_df = _welch(var / q, q - 1, (spread / m)[:, 0], m[:, 0] - 1)
    return (
        np.column_stack([effect, mine / q - (all_r / m)[:, 0]]),
        np.column_stack([se, placebo_se]),
        np.column_stack([df, placebo_df]),
    )


def _with_tuning(effect: Array, se: Array, df: Array, tuning_se: Array | float) -> tuple[Array, Array, Array]:
    variance = se**2 + np.square(tuning_se)
    return effect, np.sqrt(variance), df * (variance / se**2) ** 2


def _welch(first: Array, first_df: Array, second: Array, second_df: Array) -> tuple[Array, Array]:
    total = first + second
    return np.sqrt(total), total**2 / (first**2 / first_df + second**2 / second_df)


def _moderated(variance: Array, df: Array) -> tuple[Array, Array]:
    """Smyth's moderated variances along the last axis, none below an arm's own, with limma's bound of the degrees of freedom."""
    half = df / 2
    logs = np.log(variance) - special.digamma(half) + np.log(half)
    mean = logs.mean(axis=1, keepdims=True)
    excess = logs.var(axis=1, ddof=1, keepdims=True) - special.polygamma(1, half).mean(axis=1, keepdims=True)
    finite = excess > 0
    y = _trigamma_inverse(np.where(finite, excess, 1.0))
    prior_df = np.where(finite, 2 * y, np.inf)
    prior = np.where(finite, np.exp(mean + special.digamma(y) - np.log(y)), np.exp(mean))
    with np.errstate(invalid="ignore"):
        mixed = (prior_df * prior + df * variance) / (prior_df + df)
    total = np.minimum(prior_df + df, df.sum(axis=1, keepdims=True))
    return np.maximum(np.where(finite, mixed, prior), variance), np.maximum(total, df)


def _trigamma_inverse(value: Array) -> Array:
    """Newton's iteration of limma, for 1 / ψ′."""
    y = 0.5 + 1 / value
    for _ in range(NEWTON):
        tri = special.polygamma(1, y)
        y = y + tri * (1 - tri / value) / special.polygamma(2, y)
    return np.where(value > 1e7, 1 / np.sqrt(value), np.where(value < 1e-6, 1 / value, y))


def _verdicts(
    effect: Array,
    se: Array,
    df: Array,
    open_: NDArray[np.bool_],
    code: NDArray[np.int8],
    level: float,
    margin: float,
) -> NDArray[np.int8]:
    """Codes at a look: a step-down test among the open arms, those that were stopped and those that were found to have no effect."""
    df = np.maximum(df, 1)
    p = np.where(open_, 2 * special.stdtr(df, -np.abs(effect) / se), np.inf)
    small = special.stdtr(df, -(margin - np.abs(effect)) / se) <= min(level, 0.025)
    now = np.where(small, NONE, UNDECIDED).astype(np.int8)
    left = open_.sum(axis=1) + ((code == NONE) | ((code == UNDECIDED) & ~open_)).sum(axis=1)
    going = np.ones(len(p), dtype=bool)
    rows = np.arange(len(p))
    for _ in range(p.shape[1]):
        first = p.argmin(axis=1)
        going &= p[rows, first] * left <= level
        now[rows[going], first[going]] = np.sign(effect[rows[going], first[going]]).astype(np.int8)
        p[rows[going], first[going]] = np.inf
        left = left - going
        if not going.any():
            break
    return now
