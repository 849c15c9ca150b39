"""The rank stage by an array, drop-one or add-one: designed runs around one recipe, wave by wave, until it is enough.

Everything that decides what is run and how it is judged is in the ledger before the first run; the stage is a
pure function of that and of the results, so that running it again resumes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from ablate.analysis.designed_runs import Ranked, ranked
from ablate.ranking.designs.design import Design, Factor, Kind, Row
from ablate.ranking.designs.registry import array_design, check_kind, wave_of
from ablate.ranking.designs.screening import is_factorial
from ablate.ranking.designs.waves import apart
from ablate.ranking.verdicts.sequential import nominal_level
from ablate.records.designs import ADD_ONE, DROP_ONE, SCREENING
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.trick import PLACEBO
from ablate.study.ranking.candidates import best_seen
from ablate.study.ranking.design_matrix import FactorMapping
from ablate.study.ranking.factors import array
from ablate.study.ranking.pilot import pays, pilot
from ablate.study.ranking.recipes import same_recipe
from ablate.study.ranking.retune import declaration as rates_declared
from ablate.study.ranking.retune import retune
from ablate.study.session import Planned, Session
from ablate.tasks.chance_level import collapse_level

NOTHING_TO_DROP = "not in the recipe that is ranked, so there is nothing to drop"


def rank_array(session: Session, winner: Recipe, baseline: Recipe, candidates: list[str]) -> Ranked | None:
    """Run waves until every trick has its verdict, or the waves are used up. None: there is nothing to rank."""
    asked = session.study.rank
    if same_recipe(winner, baseline):
        session.progress.say(
            "the recipe that is ranked is the baseline itself: the candidates are ranked on it"
        )
    seen = best_seen(session.ledger.entries(scores=False), session.score)
    whole = for_kind(
        array(session.context.catalogue, winner, baseline, candidates, asked, seen), asked.design
    )
    check_kind(asked.design, whole.factors)
    if not tricks(whole):
        nothing = f"no trick is left to rank by {asked.design} around this recipe"
        if session.ledger.fact("rank"):  # which would be mistaken for this one
            raise InputError(
                f"{nothing}; the ledger has an earlier ranking",
                hint="rank with --design add-one, or --around a recipe file",
            )
        session.progress.say(f"rank: {nothing}")
        return None
    fact = declared(session, whole, winner)
    if asked.design == SCREENING and is_factorial(whole.factors):
        session.progress.say(f"rank: {len(tricks(whole))} tricks are few enough for the full factorial")
    whole, fact["retune"] = retune(session, whole)
    kind = cast(Kind, asked.design)
    mapping = whole
    first = wave_of(
        kind, main_factors(kind, mapping), wave=1, seed=session.study.seed, shipped=for_drops(mapping)
    )
    if pays(kind, len(first.rows)):
        mapping, fact["pilot"] = pilot(session, whole, fact["collapse"])
        if not fact["pilot"]["array"]:
            kind, mapping = instead(whole)
            session.progress.say(f"rank: {kind} is run instead of the array")
    fact["left_out"] = dict(mapping.left_out)
    keep(session, fact)
    ranking: Ranked | None = None
    for wave in range(1, asked.waves + 1):
        plan = planned(session, fact, kind, mapping, whole, wave)
        session.progress.stage(f"rank, wave {wave}", len(plan) * session.epochs)
        session.train(plan)
        ranking = analysed(session, fact)
        if ranking.decided:
            break
    return ranking


def tricks(mapping: FactorMapping) -> list[Factor]:
    """The factors without the placebo."""
    return [factor for factor in mapping.factors if factor.name != PLACEBO]


def for_kind(mapping: FactorMapping, kind: Kind) -> FactorMapping:
    """The array as `kind` has it. drop-one: only what the recipe has, must_haves like the rest. add-one: the
    baseline is the recipe that tricks are added to."""
    reference = array_design(kind).reference
    if reference == "recipe":
        absent = [f.name for f in tricks(mapping) if mapping.shipped[f.name] == f.levels[0]]
        mapping = mapping.without(dict.fromkeys(absent, NOTHING_TO_DROP))
        plain = (Factor(f.name, f.levels) if f.role == "must_have" else f for f in mapping.factors)
        return replace(mapping, factors=tuple(plain))
    if reference == "baseline":
        start = {f.name: f.levels[f.role == "must_have"] for f in mapping.factors}
        return replace(mapping, shipped=start)
    return mapping


def instead(whole: FactorMapping) -> tuple[Kind, FactorMapping]:
    """The design if no array is possible: drop-one from the recipe, or add-one if it has nothing to drop."""
    dropping = for_kind(whole, DROP_ONE)
    return (DROP_ONE, dropping) if tricks(dropping) else (ADD_ONE, for_kind(whole, ADD_ONE))


def for_drops(mapping: FactorMapping) -> dict[str, str]:
    """The shipped levels with the placebo: dropping it compares two runs of one recipe."""
    return {**mapping.shipped, PLACEBO: "on"}


def declared(session: Session, mapping: FactorMapping, winner: Recipe) -> dict[str, Any]:
    """The ledger's fact; a new one if another ranking was declared before."""
    asked, study = session.study.rank, session.study
    waves = [
        wave_of(
            asked.design,
            main_factors(asked.design, mapping),
            wave=wave,
            seed=study.seed,
            shipped=for_drops(mapping),
        )
        for wave in range(1, asked.waves + 1)
    ]
    new: dict[str, Any] = {
        "asked": {
            "design": asked.design,
            "around": winner.to_dict(),
            "meaning": mapping.to_dict(),
            "factors": waves[0].to_json()["factors"],
            "shipped": dict(mapping.shipped),
            "fixed": [factor.name for factor in mapping.fixed],
            "retune": rates_declared(mapping, asked.retune),
        },
        "around": winner.to_dict(),
        "margin": asked.margin,
        "margin_source": "auto" if asked.margin is None else "study file",
        "alpha": nominal_level(asked.waves),
        "looks": asked.waves,
        "seeds": [list(dict.fromkeys(row.seed for row in wave.rows)) for wave in waves],
        "waves": 0,
        "collapse": collapse_level(session.context.task, session.metric),
        "left_out": dict(mapping.left_out),
        "meaning": mapping.to_dict(),
        "retune": rates_declared(mapping, asked.retune),
        "pilot": None,
        "rows": [],
        "apart": {"rows": []},
    }
    fact = session.ledger.fact("rank") or new
    if fact.get("asked") != new["asked"]:
        session.progress.say(
            "this ranking differs from the one in the ledger and replaces it in the report (its runs are kept and reused if you "
            "request it again; a study under another --name keeps both)"
        )
        fact = new
    if any(fact[key] != new[key] for key in ("margin", "looks")):
        session.progress.say(
            "margin or looks differ from those declared before the first run: noted in the report"
        )
        new["margin_source"] = "changed after the first run"
        fact |= {key: new[key] for key in ("margin", "margin_source", "alpha", "looks", "seeds")}
    keep(session, fact)
    return fact


def keep(session: Session, fact: Mapping[str, Any]) -> None:
    """Write the fact unless the ledger already has it."""
    if session.ledger.fact("rank") != fact:
        session.ledger.put("rank", fact)


def main_factors(kind: Kind, mapping: FactorMapping) -> tuple[Factor, ...]:
    """What the design itself varies or fixes: add-one leaves the must_haves to the test apart."""
    added = array_design(kind).reference == "baseline"
    return tuple(f for f in mapping.factors if not added or f.role != "must_have")


def planned(
    session: Session,
    fact: dict[str, Any],
    kind: Kind,
    mapping: FactorMapping,
    whole: FactorMapping,
    wave: int,
) -> list[Planned]:
    """The runs of a wave, in the ledger's fact before any of them is trained."""
    catalogue, seed = session.context.catalogue, session.study.seed
    design = wave_of(kind, main_factors(kind, mapping), wave=wave, seed=seed, shipped=for_drops(mapping))
    plan = [
        (row, Planned(session.run(mapping.recipe(catalogue, row.levels), row.seed), "rank", wave))
        for row in design.rows
    ]
    start = {**whole.shipped, **{f.name: mapping.shipped[f.name] for f in mapping.fixed}}
    design_apart = apart(set_apart(mapping, whole), start, design, wave=wave, seed=seed)
    plan_apart = [
        (row, Planned(session.run(whole.recipe(catalogue, row.levels), row.seed), "rank", wave, arm="apart"))
        for row in (design_apart.rows if design_apart else ())
    ]
    if fact["waves"] < wave:
        fact["waves"] = wave
        _declare_rows(fact, design, plan, for_drops(mapping))
        if design_apart:
            _declare_rows(fact["apart"], design_apart, plan_apart, start)
        keep(session, fact)
    return [one for _, one in [*plan, *plan_apart]]


def set_apart(mapping: FactorMapping, whole: FactorMapping) -> list[Factor]:
    """What the array holds fixed: must_haves, and what the pilot took out of it though the recipe has it."""
    there = {factor.name for factor in mapping.factors}
    removed = [f for f in whole.factors if f.name not in there and whole.shipped[f.name] != f.levels[0]]
    return [*mapping.fixed, *removed]


def analysed(session: Session, fact: Mapping[str, Any]) -> Ranked:
    """The ledger's designed runs with their effects and verdicts."""
    entries = session.ledger.entries(scores=False)  # a run may have been wanted by another stage first
    ranking = ranked(fact, entries, session.metric, higher=session.higher)
    assert ranking is not None
    return ranking


def _declare_rows(
    fact: dict[str, Any], design: Design, plan: list[tuple[Row, Planned]], shipped: Mapping[str, str]
) -> None:
    """Add a wave's rows to the fact, and make the design of all its rows."""
    fact["rows"] += [
        {"identity": one.run.identity, "levels": dict(row.levels), "seed": row.seed, "block": row.block, "wave": row.wave}
        for row, one in plan
    ]  # fmt: skip
    fact["shipped"] = {factor.name: shipped[factor.name] for factor in design.factors}
    rows = tuple(Row(r["levels"], r["seed"], r["block"], r["wave"]) for r in fact["rows"])
    fact["design"] = Design(design.kind, design.factors, rows, design.note).to_json()
