"""The rank stage: a designed array of recipes around one recipe, wave by wave, until it is enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablate.ranking.design import PLACEBO, Design, Factor, Row, with_placebo
from ablate.ranking.screening import screening
from ablate.ranking.sequential import nominal_level
from ablate.ranking.verdicts import decided
from ablate.records.recipe import Recipe, conflict
from ablate.records.trick import Value
from ablate.report.ranked import Ranked, ranked
from ablate.study.session import Planned, Session
from ablate.tasks.chance import collapse_level

Level = Mapping[str, Mapping[str, Value]]
"""Tricks (with settings) that a factor's level puts into the recipe."""


@dataclass(frozen=True)
class Array:
    """The factors of a ranking and what each level means as tricks; `common` stays in every recipe."""

    factors: tuple[Factor, ...]
    meaning: Mapping[str, Mapping[str, Level]]
    common: Recipe
    left_out: Mapping[str, str]

    def recipe(self, session: Session, levels: Mapping[str, str]) -> Recipe:
        tricks: dict[str, Any] = self.common.plain()
        for factor, level in levels.items():
            tricks |= {name: dict(settings) for name, settings in self.meaning[factor][level].items()}
        return Recipe.of(session.bench.catalogue, tricks)


def array(session: Session, winner: Recipe, baseline: Recipe, candidates: list[str]) -> Array:
    """What is varied: every candidate trick, on (as in the winner, else with its defaults) or off.

    A slot is one factor: what the winner has there against what the baseline has; where both have the
    same, the slot's first candidate against it. A trick that conflicts with one of the winner's is left
    out, with the reason.
    """
    catalogue = session.bench.catalogue
    meaning: dict[str, dict[str, Level]] = {}
    left_out: dict[str, str] = {}
    roles: dict[str, str] = {}
    slots: set[str] = set()
    for name in [*winner, *(n for n in candidates if n not in winner)]:
        trick = catalogue[name]
        home = trick.slot or name
        if home in slots:
            continue
        off = baseline.slot(catalogue, trick.slot) if trick.slot else (name if name in baseline else None)
        base = {} if off is None else {off: dict(baseline[off])}
        on = {name: dict(winner.get(name, trick.defaults))}
        if trick.slot and winner.slot(catalogue, trick.slot) not in (name, off):
            continue  # the winner fills the slot with another trick, whose turn it is
        if name not in winner and (trick.slot == "optimizer" or "needs_retune" in trick.roles):
            left_out[name] = "needs a learning rate of its own, and the winner does without it"
            continue
        if on == base:
            continue
        clash = next((c for o in [*winner, *meaning] if o != name and o in catalogue and o != off
                      and (c := conflict(trick, catalogue[o])) and catalogue[o].slot != trick.slot), "")  # fmt: skip
        if clash:
            left_out[name] = clash
            continue
        if trick.slot:
            slots.add(home)
        meaning[name] = {"off": base, "on": on}
        roles[name] = "ordinary"
        if name in session.study.rank.must_have:
            roles[name] = "must_have"
        elif trick.slot == "optimizer" or "needs_retune" in trick.roles:
            roles[name] = "needs_retune"
    meaning.pop(PLACEBO, None)
    factors = with_placebo([Factor(name, role=roles[name]) for name in meaning])  # type: ignore[arg-type]
    meaning[PLACEBO] = {"off": {}, "on": {PLACEBO: {}}}
    varied = {trick for levels in meaning.values() for level in levels.values() for trick in level}
    common = winner.without(*varied)
    return Array(factors, meaning, common, left_out)


def rank(session: Session, winner: Recipe, baseline: Recipe, candidates: list[str]) -> Ranked:
    """Run waves until every trick has its verdict, or the waves are used up.

    Everything that decides what is run and how it is judged is in the ledger before the first run.
    """
    asked = session.study.rank
    laid = array(session, winner, baseline, candidates)
    declared: dict[str, Any] = {
        "around": winner.plain(),
        "margin": asked.margin,
        "margin_source": "auto" if asked.margin is None else "study file",
        "alpha": nominal_level(asked.waves),
        "looks": asked.waves,
        "waves": 0,
        "collapse": collapse_level(session.bench.task, session.metric),
        "left_out": dict(laid.left_out),
        "meaning": {
            name: {level: dict(what) for level, what in levels.items()}
            for name, levels in laid.meaning.items()
        },
        "rows": [],
    }
    fact = session.ledger.fact("rank") or declared
    if any(fact[key] != declared[key] for key in ("around", "meaning")):
        session.progress.say(
            "another recipe is ranked than before (the search went on): the ranking begins again"
        )
        fact = declared
    found: Ranked | None = None
    for wave in range(1, asked.waves + 1):
        design = screening(laid.factors, wave=wave, seed=session.study.seed)
        plan = [
            (row, Planned(session.run(laid.recipe(session, row.levels), row.seed), "rank", wave))
            for row in design.rows
        ]
        if fact["waves"] < wave:
            fact["rows"] += [_row(row, one) for row, one in plan]
            fact["waves"] = wave
            rows = tuple(Row(r["levels"], r["seed"], r["block"], r["wave"]) for r in fact["rows"])
            fact["design"] = Design(design.kind, design.factors, rows, design.note).to_json()
            session.ledger.put("rank", fact)
        session.progress.stage(f"rank, wave {wave}", len(plan) * session.epochs)
        session.train([one for _, one in plan])
        found = analysed(session, fact)
        if found.average is not None and decided(found.average):
            break
    assert found is not None
    return found


def analysed(session: Session, fact: Mapping[str, Any]) -> Ranked:
    entries = session.ledger.entries(scores=False)  # a run may have been wanted by another stage first
    found = ranked(fact, entries, session.metric, higher=session.higher)
    assert found is not None
    return found


def _row(row: Row, planned: Planned) -> dict[str, Any]:
    return {
        "identity": planned.run.identity,
        "levels": dict(row.levels),
        "seed": row.seed,
        "block": row.block,
        "wave": row.wave,
    }
