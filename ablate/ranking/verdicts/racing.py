"""The verdicts of a race: many arms, one reference, declared looks; a pure function of the available values.

An arm that is decided at a look keeps the row of that look: no run is trained for it afterwards, and later results of other arms
do not change it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ablate.ranking.designs.racing import Racing
from ablate.ranking.estimation.shared_reference import SharedComparison, compare_to_reference
from ablate.ranking.verdicts.sequential import (
    LARGE_SHARE,
    MARGIN_IN_SIGMA,
    UNDECIDED_CODE,
    codes,
    equivalence,
    half_width,
    holm,
    large_effect,
    smallness_level,
    two_sided,
    word,
)

Array = NDArray[np.float64]
CONFIDENCE, STOPPED_CONFIDENCE = 0.95, 0.97
"""Levels of the intervals that are shown: of an arm at the last look, and of one that stopped before it (`confidence_of`)."""
MOST_PAIRS, MOST_DF = 10_000, 1e6
NONE, UNDECIDED = "no measurable effect", "undecided"
MOVED, HOPE_FROM = 1.0, 18
"""An undecided arm is run further if the last look would decide it when its estimate moves until then by at most so many standard deviations of
that movement (a predictive probability of a verdict of about a sixth); applied from this number of pairs on, since fewer give no reliable estimate."""


def automatic_margin(sigma: float, baseline: float, *, share: bool) -> float:
    """The default margin, the smallest effect that matters: 0.95 σ of one run (that is P(A > B) = 0.75), but never more than
    is commonly called large. `baseline`: the metric's mean in the baseline; `share`: it lies between 0 and 1."""
    large = large_effect(baseline, share=share)
    in_sigma = MARGIN_IN_SIGMA * sigma
    candidates = [value for value in (in_sigma, large) if np.isfinite(value) and value > 0]
    return min(candidates) if candidates else LARGE_SHARE


def confidence_of(racing: Racing, look: int) -> float:
    """The nominal level of the interval of an arm that is decided at `look`, so that it holds the effect in 95 % of arms.

    An arm stops where its estimate happens to be clear: its nominal 95 % interval then holds 85 to 95 %, depending on the effect (races on gold runs,
    `bench.statistics.gold_studies`). It is never wider than the tests of that look: what they rule out stays outside.
    """
    if look == len(racing.pairs) - 1:
        return CONFIDENCE
    return max(CONFIDENCE, min(STOPPED_CONFIDENCE, 1 - 2 * smallness_level(racing.levels[look])))


@dataclass(frozen=True, slots=True)
class RaceRow:
    """One arm against its reference, more is better. `look`: where it was decided, or the last one (from 0).

    `same`: equal to the reference on every seed, and at every rate that was tried. `tuning_se`: the part of `se` that more pairs do not reduce.
    """

    arm: str
    effect: float
    low: float
    high: float
    se: float
    df: float
    p: float
    p_adjusted: float
    verdict: str
    pairs: int
    look: int
    same: bool = False
    tuning_se: float = 0.0


@dataclass(frozen=True, slots=True)
class Race:
    """The state of a race. `undecided`: arms without a verdict; `running`: those of them that further pairs may decide. `needed`:
    pairs that each running arm needs for the next look, `reference_needed` the same for the reference (both 0 when the race
    is over)."""

    rows: Mapping[str, RaceRow]
    comparison: SharedComparison | None
    undecided: tuple[str, ...]
    running: tuple[str, ...]
    look: int
    needed: int = 0
    reference_needed: int = 0
    history: Sequence[int] = field(default=())
    """Undecided arms before each look."""


def replay(
    arms: Mapping[str, Mapping[int, float]],
    reference: Mapping[int, float],
    seeds: Sequence[int],
    own_seeds: Mapping[str, Sequence[int]],
    racing: Racing,
    margin: float,
    looks: int | None = None,
    tuning_se: Mapping[str, float] = MappingProxyType({}),
    stopped: Mapping[str, int] = MappingProxyType({}),
    copies: Collection[str] = (),
) -> Race:
    """Go through the looks with the available values (seed -> score, more is better), as far as they reach.

    `seeds`: the common list; arms in `own_seeds` (placebos) have seeds of their own. `looks`: at most so many of them.
    `tuning_se`: arm -> standard deviation of the error of its effect because neither side is run at its very best rate. `stopped`: arm ->
    looks after which it is run no further. `copies`: arms that tuning found to compute what the reference does, so that their tuning has no error.
    """
    running = list(arms)
    tuning_se = {name: 0.0 if name in copies else tuning_se.get(name, 0.0) for name in arms}
    rows: dict[str, RaceRow] = {}
    history: list[int] = []
    comparison: SharedComparison | None = None
    needed = reference_needed = 0
    for look, pairs in enumerate(racing.pairs):
        running = [name for name in running if stopped.get(name, look + 1) > look]
        if not running or (looks is not None and look >= looks):
            break
        reference_needed = min(max(reference_needed, racing.reference_runs(look, len(running))), len(seeds))
        first = {name: list(own_seeds.get(name, seeds))[:pairs] for name in running}
        there = all(seed in arms[name] for name in running for seed in first[name])
        if not there or not all(seed in reference for seed in seeds[:reference_needed]):
            needed = pairs
            break
        history.append(len(running))
        values = {name: {seed: arms[name][seed] for seed in first[name]} for name in running}
        decided = {
            name: {
                seed: arms[name][seed] for seed in list(own_seeds.get(name, seeds))[: racing.pairs[row.look]]
            }
            for name, row in rows.items()
            if name not in running
        }
        comparison = compare_to_reference(
            {**values, **decided},
            {seed: reference[seed] for seed in seeds[:reference_needed]},
            tuple(own_seeds),
        )
        rows |= _rows_at_look(comparison, running, rows, racing, look, margin, tuning_se)
        running = [name for name in running if _may_be_decided(rows[name], racing, len(arms), margin)]
    else:
        look, running = len(racing.pairs), []
    undecided = tuple(name for name in arms if name not in rows or rows[name].verdict == UNDECIDED)
    return Race(
        rows, comparison, undecided, tuple(running), look, needed, reference_needed if needed else 0, history
    )


def _may_be_decided(row: RaceRow, racing: Racing, family: int, margin: float) -> bool:
    """Whether the pairs that are left may decide an arm."""
    if row.verdict != UNDECIDED:
        return False
    done = racing.pairs[row.look]
    if done < HOPE_FROM:
        return True
    left = np.full(3, float(racing.pairs[-1] - done))
    movement = np.sqrt(_variance_of_pairs(row, left) * left / row.pairs)
    estimates = row.effect + MOVED * np.array([-1.0, 0.0, 1.0]) * movement
    return bool(_decided_after(row, estimates, left, racing.levels[-1], family, margin).any())


def _rows_at_look(
    comparison: SharedComparison,
    undecided: Sequence[str],
    before: Mapping[str, RaceRow],
    racing: Racing,
    look: int,
    margin: float,
    tuning_se: Mapping[str, float],
) -> dict[str, RaceRow]:
    """Rows of the undecided arms at a look.

    An effect's variance is that of the pairs and that of tuning, which is taken for known (Welch & Satterthwaite).

    The family is all arms: those found to help or hurt at earlier looks are rejected hypotheses, which Holm's procedure
    no longer counts; those found to have no effect, or run no further, are never rejected and count at every look. The
    closure of Bonferroni tests at the levels of the looks (Maurer & Bretz, Stat. Biopharm. Res. 5, 2013).
    """
    effects = [comparison.effects[name] for name in undecided]
    kept = sum(
        row.verdict in (NONE, UNDECIDED) and not row.same
        for name, row in before.items()
        if name not in undecided
    )
    effect, se, df = (
        np.array([getattr(one, name) for one in effects], dtype=float) for name in ("effect", "se", "df")
    )
    extra = np.array([tuning_se[name] for name in undecided])
    same = [one.same and not error for one, error in zip(effects, extra, strict=True)]
    total = np.hypot(se, extra)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.where(extra > 0, np.minimum(df * (total / se) ** 4, MOST_DF), df)
    se = total
    raw = two_sided(effect, se, df)
    adjusted = holm(np.concatenate([raw, np.ones(kept)]))[: len(raw)]
    code = codes(effect, se, df, margin, racing.levels[look], adjusted)
    confidence = np.where(code == UNDECIDED_CODE, CONFIDENCE, confidence_of(racing, look))
    halves = half_width(se, df, confidence)
    rows = {}
    for number, (name, one) in enumerate(zip(undecided, effects, strict=True)):
        half, p = float(halves[number]), float(raw[number])
        rows[name] = RaceRow(
            arm=name,
            effect=one.effect,
            low=one.effect - half,
            high=one.effect + half,
            se=float(se[number]),
            df=float(df[number]),
            p=1.0 if same[number] else p,
            p_adjusted=1.0 if same[number] else float(adjusted[number]),
            verdict=NONE if same[number] else word(int(code[number]), one.effect, margin),
            pairs=one.pairs,
            look=look,
            same=same[number],
            tuning_se=float(extra[number]),
        )
    return rows


def more_pairs(effect: RaceRow, level: float, family: int, margin: float) -> int | None:
    """The pairs, beyond those there are, at which the present estimate would be decided; None if none would."""
    if not (np.isfinite(effect.effect) and effect.se > 0):
        return None
    pairs = np.unique(np.geomspace(effect.pairs + 1, MOST_PAIRS, 200).astype(int))
    estimate = np.full(len(pairs), effect.effect)
    enough = np.flatnonzero(
        _decided_after(effect, estimate, pairs - float(effect.pairs), level, family, margin)
    )
    return int(pairs[enough[0]] - effect.pairs) if len(enough) else None


def _variance_of_pairs(row: RaceRow, more: Array | float) -> Array:
    """The part of an effect's variance that pairs reduce, after so many more."""
    now = max(row.se**2 - row.tuning_se**2, 0.0)
    return np.asarray(now * row.pairs / (row.pairs + more))


def _decided_after(
    row: RaceRow, estimate: Array, more: Array, level: float, family: int, margin: float
) -> NDArray[np.bool_]:
    """Whether that many more pairs would decide an arm, if the estimate was then this one."""
    se = np.sqrt(_variance_of_pairs(row, more) + row.tuning_se**2)
    df = row.df + more
    sign = two_sided(estimate, se, df) <= level / family
    return np.asarray(sign | (equivalence(estimate, se, df, margin) <= smallness_level(level)))
