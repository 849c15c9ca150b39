"""The rank stage: a designed array of recipes around one recipe, wave by wave, until it is enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ablate.catalogue.registry import Registry
from ablate.ranking.design import PLACEBO, Design, Factor, Role, Row, with_placebo
from ablate.ranking.screening import screening
from ablate.ranking.sequential import nominal_level
from ablate.ranking.verdicts import decided
from ablate.records.recipe import Recipe, conflict
from ablate.records.run import Outcome
from ablate.records.trick import Trick, Value
from ablate.report.ranked import Ranked, ranked
from ablate.study.session import Planned, Session
from ablate.tasks.chance import collapse_level

Seen = Mapping[str, tuple[int, Mapping[str, Value]]]
"""Trick -> the place of the best trial that had it, and its settings there."""
FEWEST, BEST, OFTEN = 20, 4, 5
"""Of FEWEST complete trials or more: a contender stands in one of OFTEN, or more, of the best 1 / BEST of the trials."""
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


def array(
    catalogue: Registry,
    winner: Recipe,
    baseline: Recipe,
    candidates: Sequence[str],
    *,
    seen: Seen,
    must_have: Sequence[str] = (),
) -> Array:
    """What is varied: the winner's tricks and the search's other contenders (`seen`; every candidate where
    nothing was searched), each on (as in the winner, else as in the best trial that had it, else with its
    defaults) or off.

    Tricks that the search found hopeless stay out: in a recipe that half of them ruin, nothing else shows.

    A slot is one factor: what the winner has there against what the baseline has; where both have the
    same, the slot's best other trick. A trick that conflicts with one of the winner's is left out, with the
    reason.
    """
    rest = sorted((n for n in candidates if n not in winner), key=lambda n: seen.get(n, (len(seen), {}))[0])
    meaning: dict[str, dict[str, Level]] = {}
    left_out: dict[str, str] = {}
    roles: dict[str, Role] = {}
    slots: set[str] = set()
    for name in [*winner, *rest]:
        trick = catalogue[name]
        home = trick.slot or name
        off = baseline.slot(catalogue, trick.slot) if trick.slot else (name if name in baseline else None)
        base = {} if off is None else {off: dict(baseline[off])}
        on = {name: dict(winner[name] if name in winner else seen.get(name, (0, trick.defaults))[1])}
        filled = winner.slot(catalogue, trick.slot) if trick.slot else None
        if (
            name == PLACEBO
            or home in slots
            or on == base
            or (filled is not None and filled not in (name, off))
        ):
            continue
        reason = why_left_out(trick, winner, [*winner, *meaning], catalogue)
        if seen and name not in winner and name not in seen:
            reason = "hardly one of the search's best trials had it: see its exploratory effect"
        if reason:
            left_out[name] = reason
            continue
        slots.add(home)
        meaning[name] = {"off": base, "on": on}
        roles[name] = role_of(trick, must_have)
    factors = with_placebo([Factor(name, role=roles[name]) for name in meaning])
    meaning[PLACEBO] = {"off": {}, "on": {PLACEBO: {}}}
    varied = {trick for levels in meaning.values() for level in levels.values() for trick in level}
    return Array(factors, meaning, winner.without(*varied), left_out)


def best_seen(session: Session) -> Seen:
    """The tricks that the best quarter of the trials had, a fifth of them at least.

    Empty (every trick is a contender) where too few trials were completed to call one hopeless.
    """
    trials = [e for e in session.ledger.entries(scores=False) if e.trial >= 0 and isfinite(session.score(e))]
    trials = [entry for entry in trials if entry.result.outcome is Outcome.COMPLETE]
    if len(trials) < FEWEST:
        return {}
    trials.sort(key=lambda entry: -session.score(entry))
    best = trials[: -(-len(trials) // BEST)]
    had = Counter(name for entry in best for name in entry.run.recipe)
    found: dict[str, tuple[int, Mapping[str, Value]]] = {}
    for place, entry in enumerate(best):
        for name, settings in entry.run.recipe.items():
            if had[name] * OFTEN >= len(best):
                found.setdefault(name, (place, settings))
    return found


def why_left_out(trick: Trick, winner: Recipe, chosen: Sequence[str], catalogue: Mapping[str, Trick]) -> str:
    """Why a trick cannot be a factor beside `chosen`; empty where it can."""
    structural = any(not parameter.lane for parameter in trick.parameters)
    retuned = trick.slot == "optimizer" or (structural and "needs_retune" in trick.roles)
    if retuned and trick.name not in winner:
        return "needs a learning rate of its own, and the winner does without it"
    others = [catalogue[n] for n in chosen if n != trick.name]
    clashes = (conflict(trick, o) for o in others if not trick.slot or o.slot != trick.slot)
    return next((clash for clash in clashes if clash), "")


def role_of(trick: Trick, must_have: Sequence[str]) -> Role:
    if trick.name in must_have:
        return "must_have"
    return "needs_retune" if trick.slot == "optimizer" or "needs_retune" in trick.roles else "ordinary"


def rank(session: Session, winner: Recipe, baseline: Recipe, candidates: list[str]) -> Ranked:
    """Run waves until every trick has its verdict, or the waves are used up.

    Everything that decides what is run and how it is judged is in the ledger before the first run.
    """
    asked = session.study.rank
    laid = array(
        session.bench.catalogue, winner, baseline, candidates,
        seen=best_seen(session), must_have=asked.must_have,
    )  # fmt: skip
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
    if any(fact[key] != declared[key] for key in ("margin", "looks")):
        session.progress.say(
            "margin or looks differ from those declared before the first run: noted in the report"
        )
        declared["margin_source"] = "changed after the first run"
        fact |= {key: declared[key] for key in ("margin", "margin_source", "alpha", "looks")}
        session.ledger.put("rank", fact)
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
