"""A pilot of six runs before a large array: whether training survives with all tricks on, and with all of them off.

An array whose every other run collapses ranks nothing. So all-on and all-off run three times each. Where one of
them fails every time, each trick is flipped alone: the one that rescues training is reported and removed from
the array (it is tested separately, or left out, with the reason); if no single trick rescues it, the array is
replaced by drop-one from the shipped recipe, which is known to train (add-one if it has nothing to drop).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import isfinite
from typing import Any

import pandas as pd

from ablate.ledger.entry import Entry
from ablate.ranking.designs.design import Factor, effective
from ablate.ranking.designs.factorial import all_at
from ablate.ranking.designs.factorial import pilot as pilot_design
from ablate.ranking.designs.pilot import Pilot, read_pilot
from ablate.ranking.designs.registry import array_design
from ablate.ranking.estimation.outcomes import classify
from ablate.records.trick import PLACEBO
from ablate.study.ranking.design_matrix import FactorMapping
from ablate.study.session import Planned, Session

WORTH = 24
"""Runs of a wave from which six more are a small price."""
SIDES = ("off", "on")


def pays(kind: str, runs: int) -> bool:
    """Whether a pilot is worth its runs."""
    return array_design(kind).reference is None and runs >= WORTH


def pilot(
    session: Session, mapping: FactorMapping, collapse: float | None
) -> tuple[FactorMapping, dict[str, Any]]:
    """The array that is to be run, and the pilot as a document: `array` false: no array.

    The document has σ with its interval, failures on both sides, warnings, and `rescued`: side -> the tricks
    that, flipped alone, let training survive.
    """
    factors = mapping.factors
    design = pilot_design(factors, seed=session.study.seed)
    session.progress.stage("rank, pilot", len(design.rows) * session.epochs)
    rows = [(row.levels, row.seed) for row in design.rows]
    result = read_pilot(
        table(session, mapping, rows), factors, session.metric, _direction(session), collapse=collapse
    )
    document: dict[str, Any] = {**_plain(result), "seeds": list(dict.fromkeys(row.seed for row in design.rows)), "array": True, "rescued": {}}  # fmt: skip
    for side in (1, 0):
        total, failed = (result.runs_on, result.failed_on) if side else (result.runs_off, result.failed_off)
        if not total or failed < total:
            continue
        names = rescuers(session, mapping, side, document["seeds"][0], collapse)
        document["rescued"][SIDES[side]] = names
        if not names:
            document["array"] = False
            session.progress.say(
                f"pilot: with all tricks {SIDES[side]} every run failed, and no single trick is to blame: "
                "an array would be wasted"
            )
            return mapping, document
        session.progress.say(
            f"pilot: with all tricks {SIDES[side]} every run failed, but not "
            f"{'without' if side else 'with'} {_either(names)}"
        )
        mapping = _without_culprits(mapping, names) if side else _with_must_have(mapping, names[0])
    if not any(f for f in mapping.factors if f.role != "must_have" and f.name != PLACEBO):
        document["array"] = False
    return mapping, document


def rescuers(
    session: Session, mapping: FactorMapping, side: int, seed: int, collapse: float | None
) -> list[str]:
    """The factors that, flipped alone from all-on (`side` 1) or all-off (0), let training survive; best first."""
    flipped = [f for f in mapping.factors if f.role != "must_have" and f.name != PLACEBO]
    flipped = [f for f in flipped if side or f.parent is None]
    start = all_at(mapping.factors, side)
    rows = [(effective({**start, f.name: f.levels[1 - side]}, mapping.factors), seed) for f in flipped]
    session.progress.stage(f"rank, all {SIDES[side]} collapses: which trick?", len(rows) * session.epochs)
    runs = classify(table(session, mapping, rows), session.metric, _direction(session), collapse=collapse)
    alive = [(value, f.name) for f, used, value in zip(flipped, runs.used, runs.values, strict=True) if used]
    return [name for _, name in sorted(alive, reverse=True)]


def table(
    session: Session, mapping: FactorMapping, rows: Sequence[tuple[Mapping[str, str], int]]
) -> pd.DataFrame:
    """Train these levels under these seeds; one line a run: levels, outcome, metric."""
    catalogue = session.context.catalogue
    plan = [
        Planned(
            session.run(mapping.recipe(catalogue, levels), seed), "pilot", arm=_arm(levels, mapping.factors)
        )
        for levels, seed in rows
    ]
    return pd.DataFrame(
        [
            {**levels, "outcome": str(entry.result.outcome), session.metric: _value(session, entry)}
            for (levels, _), entry in zip(rows, session.train(plan), strict=True)
        ]
    )


def _without_culprits(mapping: FactorMapping, names: Sequence[str]) -> FactorMapping:
    """With all tricks on, training survives only without these: the array leaves them out."""
    why = "with all tricks on every run of the pilot failed, and without it not: it stays at its reference"
    return mapping.without(dict.fromkeys(names, why))


def _with_must_have(mapping: FactorMapping, name: str) -> FactorMapping:
    """With all tricks off, training survives only with this one: it is fixed on and tested separately."""
    own = next(f for f in mapping.factors if f.name == name)
    reference, level = own.levels[0], mapping.shipped[name]
    level = own.levels[1] if level == reference else level

    def changed(factor: Factor) -> Factor:
        if factor.name == name:
            return Factor(name, (reference, level), "must_have")
        return Factor(factor.name, factor.levels) if factor.parent == name else factor

    return replace(
        mapping, factors=tuple(map(changed, mapping.factors)), shipped={**mapping.shipped, name: level}
    )


def _value(session: Session, entry: Entry) -> float:
    return entry.result.metrics.get(session.metric, float("nan"))


def _direction(session: Session) -> str:
    return "higher" if session.higher else "lower"


def _arm(levels: Mapping[str, str], factors: Sequence[Factor]) -> str:
    """ "all on", "all off", or the flipped trick."""
    on = [f.name for f in factors if levels[f.name] != f.levels[0]]
    off = [f.name for f in factors if levels[f.name] == f.levels[0]]
    short, what = (off, "all on but") if len(off) <= len(on) else (on, "all off but")
    return f"{what} {', '.join(short)}" if short else what.removesuffix(" but")


def _plain(result: Pilot) -> dict[str, Any]:
    """JSON knows no NaN."""
    return {
        key: (None if isinstance(value, float) and not isfinite(value) else list(value) if isinstance(value, tuple) else value)
        for key, value in asdict(result).items()
    }  # fmt: skip


def _either(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
