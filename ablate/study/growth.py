"""Extending a study: what its ledger keeps if the study file asks for more than before, and what starts again.

More trials continue the search. With another space, sampler or catalogue every trial inside the new space is kept: it counts, and
the sampler learns from it; those outside are beside the number that is requested. More epochs are different runs, in another ledger (`study/edited.py`), in which the best recipes are tried first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ablate.ledger.entry import Entry, in_order
from ablate.ledger.store import Ledger
from ablate.records.digits import rounded_text
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome
from ablate.search.generations import Suggestion
from ablate.search.space import Space
from ablate.study.session import Session

BEST = 5
"""Recipes of another study that are tried first."""
NAMED = 3
"""Changes that a line names."""


def begin_with_best_of(
    ledger: Ledger, facts: Mapping[str, Any], entries: Sequence[Entry], source: str
) -> None:
    """Have the best recipes of another ledger (its facts, its entries, its name) tried first in `ledger`, with what was measured once."""
    for name in ("lr-find", "kernel"):
        if name in facts:
            ledger.put(name, facts[name])
    if recipes := best_recipes(facts, entries, facts["study"]):
        ledger.put("search", {"first": {"source": source, "recipes": [r.to_dict() for r in recipes]}})


def best_recipes(
    facts: Mapping[str, Any], entries: Sequence[Entry], study: Mapping[str, Any]
) -> list[Recipe]:
    """The best recipes of a study, at most `BEST`: what its ranking recommends, the search's choice, its best complete trials."""
    higher = study.get("direction") == "higher"
    metric = str(study.get("metric", ""))
    recommended = ((facts.get("rank") or {}).get("recommended") or {}).get("recipe")
    chosen = ((facts.get("search") or {}).get("best") or {}).get("recipe")
    done = [
        (entry.result.metrics[metric], entry.run.recipe)
        for entry in in_order(entries)
        if entry.stage == "search"
        and entry.result.outcome is Outcome.COMPLETE
        and metric in entry.result.metrics
    ]
    done.sort(key=lambda pair: pair[0], reverse=higher)
    recipes = [Recipe(recipe) for recipe in (recommended, chosen) if recipe]
    recipes += [recipe for _, recipe in done]
    return list(dict.fromkeys(recipes))[:BEST]


def start_from(ledger: Ledger, other: str, studies: Path) -> None:
    """Have the best recipes of another study tried first. Raises InputError where the search has begun without them."""
    fact = ledger.fact("search", {})
    source, recipes = recipes_from(other, studies)
    if "generation" in fact:
        if (fact.get("first") or {}).get("source") == source:
            return
        raise InputError(
            f"the search of {ledger.path.stem} has begun without '{source}'",
            hint="leave --resume-from out, or begin a study of another name with --name",
        )
    ledger.put(
        "search", {**fact, "first": {"source": source, "recipes": [recipe.to_dict() for recipe in recipes]}}
    )


def recipes_from(other: str, studies: Path) -> tuple[str, list[Recipe]]:
    """(the name, the best recipes) of another study: the path of its ledger, or its name. Raises InputError."""
    path = Path(other) if other.endswith(".db") else studies / f"{other}.db"
    if not path.is_file():
        raise InputError(
            f"there is no ledger {path}",
            hint="--resume-from takes the name of a study, or the path of its .db",
        )
    with Ledger.open(path, write=False) as ledger:
        facts = ledger.facts()
        recipes = best_recipes(facts, ledger.entries(scores=False), facts.get("study") or {})
    if not recipes:
        raise InputError(f"{path} has no complete trial to start from", hint="run its search first")
    return path.stem, recipes


def grow_search(session: Session, space: Space) -> None:
    """Record the space of the search. If it was begun in another space, its trials are kept and count in this one."""
    fact = session.ledger.fact("search", {})
    now = json.loads(json.dumps([asdict(dimension) for dimension in space.dimensions()]))
    then = fact.get("space")
    asked = session.study.search
    sampler = fact.get("sampler", asked.sampler)
    recipes = (fact.get("first") or {}).get("recipes", ())
    if recipes and "generation" not in fact:
        fits = len(first_trials(fact, space))
        outside_note = "" if fits == len(recipes) else f"; {len(recipes) - fits} lie outside this space"
        session.progress.say(
            f"search: {fits} recipes of '{fact['first']['source']}' are tried first{outside_note}"
        )
    note: dict[str, Any] = {"sampler": asked.sampler, "pruner": asked.pruner, "space": now}
    if "generation" in fact and (then != now or sampler != asked.sampler):
        kept: dict[str, Any] = {
            str(entry.trial): {"recipe": entry.run.recipe.to_dict(), "seed": entry.run.seed}
            for entry in session.ledger.entries("search", scores=False)
            if entry.trial >= 0 and entry.result.outcome.finished and entry.run.epochs == session.epochs
        }
        outside = [number for number, trial in kept.items() if not params_in(space, Recipe(trial["recipe"]))]
        note |= {"kept": kept, "outside": len(outside)}
        fact = {key: value for key, value in fact.items() if key != "stopped"}
        changes = list(space_changes(then or [], now)) or [f"sampler: {sampler} → {asked.sampler}"]
        more = f" and {len(changes) - NAMED} more" if len(changes) > NAMED else ""
        left = (
            f", {len(outside)} of them outside the space, which neither count nor can be chosen"
            if outside
            else ""
        )
        session.progress.say(
            f"the search has changed ({'; '.join(changes[:NAMED])}{more}): {len(kept)} trials are kept{left}"
        )
    count = trials_of(session, fact := {**fact, **note})
    if count > _requested(session, fact):
        session.progress.say(
            f"search: {count} trials exist already and are kept; {asked.trials} were requested"
        )
    session.ledger.put("search", {**fact, "trials": count})


def space_changes(then: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """In words, dimension by dimension."""
    before, after = ({str(dimension["name"]): dimension for dimension in side} for side in (then, now))
    for name in {**before, **after}:
        if name not in before:
            yield f"{name} is new"
        elif name not in after:
            yield f"{name} is removed"
        elif before[name] != after[name]:
            yield f"{name}: {_extent(before[name])} → {_extent(after[name])}"


def _extent(dimension: Mapping[str, Any]) -> str:
    if dimension["choices"]:
        return f"{len(dimension['choices'])} choices"
    return f"{rounded_text(dimension['low'])} to {rounded_text(dimension['high'])}"


def params_in(space: Space, recipe: Recipe) -> dict[str, Any]:
    """The recipe as parameters of `space`; empty where it lies outside."""
    try:
        return space.to_params(recipe)
    except (InputError, KeyError):
        return {}


def kept_trials(fact: Mapping[str, Any], space: Space) -> dict[int, Suggestion]:
    """The trials of an earlier space by their numbers; without `params` where they lie outside this one."""
    return {
        int(number): Suggestion(int(number), recipe, params_in(space, recipe), int(trial["seed"]))
        for number, trial in (fact.get("kept") or {}).items()
        for recipe in [Recipe(trial["recipe"])]
    }


def first_trials(fact: Mapping[str, Any], space: Space) -> list[dict[str, Any]]:
    """The parameters of the recipes that are tried first, of those that lie in the space."""
    recipes = (Recipe(recipe) for recipe in (fact.get("first") or {}).get("recipes", ()))
    return [params for params in (params_in(space, recipe) for recipe in recipes) if params]


def trials_of(session: Session, fact: Mapping[str, Any] | None = None) -> int:
    """The trials of the search: as many as are requested, beside those outside its present space, but no fewer than a search that has already ended had, and
    no more than its budget had time for (`search.stopped`). `fact`: of the search, by default the ledger's."""
    fact = session.ledger.fact("search", {}) if fact is None else fact
    asked = _requested(session, fact)
    stopped = fact.get("stopped")
    if stopped and stopped["budget"] == session.study.rank.budget:
        asked = min(asked, stopped["trials"])
    done = int(fact.get("done") or (sum(fact.get("outcomes", {}).values()) if fact.get("best") else 0))
    return max(done, asked)


def _requested(session: Session, fact: Mapping[str, Any]) -> int:
    """The trials that are requested, beside those outside the present space."""
    return session.study.search.trials + int(fact.get("outside", 0))
