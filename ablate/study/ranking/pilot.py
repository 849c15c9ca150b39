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
from ablate.ranking.estimation.outcomes import classify
from ablate.records.trick import PLACEBO
from ablate.study.ranking.design_matrix import FactorMapping
from ablate.study.session import Planned, Session

WORTH = 24
"""Runs of a wave from which six more are a small price."""
SIDES = ("off", "on")


def pays(kind: str, runs: int) -> bool:
    """Whether a pilot is worth its runs."""
    return kind in ("screening", "factorial") and runs >= WORTH


def pilot(
    session: Session, laid: FactorMapping, collapse: float | None
) -> tuple[FactorMapping, dict[str, Any]]:
    """The array that is to be run, and the pilot as a document: `array` false: no array.

    The document has σ with its interval, failures on both sides, warnings, and `rescued`: side -> the tricks
    that, flipped alone, let training survive.
    """
    factors = laid.factors
    design = pilot_design(factors, seed=session.study.seed)
    session.progress.stage("rank, pilot", len(design.rows) * session.epochs)
    rows = [(row.levels, row.seed) for row in design.rows]
    found = read_pilot(
        table(session, laid, rows), factors, session.metric, _direction(session), collapse=collapse
    )
    said: dict[str, Any] = {**_plain(found), "seeds": list(dict.fromkeys(row.seed for row in design.rows)), "array": True, "rescued": {}}  # fmt: skip
    for side in (1, 0):
        total, failed = (found.runs_on, found.failed_on) if side else (found.runs_off, found.failed_off)
        if not total or failed < total:
            continue
        names = rescuers(session, laid, side, said["seeds"][0], collapse)
        said["rescued"][SIDES[side]] = names
        if not names:
            said["array"] = False
            session.progress.say(
                f"pilot: with all tricks {SIDES[side]} every run failed, and no single trick is to blame: "
                "an array would be wasted"
            )
            return laid, said
        session.progress.say(
            f"pilot: with all tricks {SIDES[side]} every run failed, but not "
            f"{'without' if side else 'with'} {_either(names)}"
        )
        laid = _without_culprits(laid, names) if side else _with_must_have(laid, names[0])
    if not any(f for f in laid.factors if f.role != "must_have" and f.name != PLACEBO):
        said["array"] = False
    return laid, said


def rescuers(
    session: Session, laid: FactorMapping, side: int, seed: int, collapse: float | None
) -> list[str]:
    """The factors that, flipped alone from all-on (`side` 1) or all-off (0), let training survive; best first."""
    turned = [f for f in laid.factors if f.role != "must_have" and f.name != PLACEBO]
    turned = [f for f in turned if side or f.parent is None]
    start = all_at(laid.factors, side)
    rows = [(effective({**start, f.name: f.levels[1 - side]}, laid.factors), seed) for f in turned]
    session.progress.stage(f"rank, all {SIDES[side]} collapses: which trick?", len(rows) * session.epochs)
    runs = classify(table(session, laid, rows), session.metric, _direction(session), collapse=collapse)
    alive = [(value, f.name) for f, used, value in zip(turned, runs.used, runs.values, strict=True) if used]
    return [name for _, name in sorted(alive, reverse=True)]


def table(
    session: Session, laid: FactorMapping, rows: Sequence[tuple[Mapping[str, str], int]]
) -> pd.DataFrame:
    """Train these levels under these seeds; one line a run: levels, outcome, metric."""
    catalogue = session.context.catalogue
    plan = [
        Planned(session.run(laid.recipe(catalogue, levels), seed), "pilot", arm=_arm(levels, laid.factors))
        for levels, seed in rows
    ]
    return pd.DataFrame(
        [
            {**levels, "outcome": str(entry.result.outcome), session.metric: _value(session, entry)}
            for (levels, _), entry in zip(rows, session.train(plan), strict=True)
        ]
    )


def _without_culprits(laid: FactorMapping, names: Sequence[str]) -> FactorMapping:
    """With all tricks on, training survives only without these: the array leaves them out."""
    why = "with all tricks on every run of the pilot failed, and without it not: it stays at its reference"
    return laid.without(dict.fromkeys(names, why))


def _with_must_have(laid: FactorMapping, name: str) -> FactorMapping:
    """With all tricks off, training survives only with this one: it is fixed on and tested separately."""
    own = next(f for f in laid.factors if f.name == name)
    reference, level = own.levels[0], laid.shipped[name]
    level = own.levels[1] if level == reference else level

    def changed(factor: Factor) -> Factor:
        if factor.name == name:
            return Factor(name, (reference, level), "must_have")
        return Factor(factor.name, factor.levels) if factor.parent == name else factor

    return replace(laid, factors=tuple(map(changed, laid.factors)), shipped={**laid.shipped, name: level})


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


def _plain(found: Pilot) -> dict[str, Any]:
    """JSON knows no NaN."""
    return {
        key: (None if isinstance(value, float) and not isfinite(value) else list(value) if isinstance(value, tuple) else value)
        for key, value in asdict(found).items()
    }  # fmt: skip


def _either(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
