"""Preflight checks: finds what would stop a study later, before anything is written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.catalogue.registry import registry
from ablate.executors.registry import factory_of
from ablate.lanes.applicable import applicable
from ablate.lanes.context import TaskContext
from ablate.lanes.device import one_thread
from ablate.records.designs import TUNED
from ablate.records.errors import InputError
from ablate.records.recipe import Catalogue, Recipe
from ablate.records.study_rank import check_section
from ablate.search.space import Space
from ablate.study.environment import device_of
from ablate.study.recipes import read_recipe
from ablate.study.request import Opened, Options
from ablate.study.resume import facts_so_far, with_choices

BUILT_ON_A_RATE = {"search", "rank", "confirm"}
STAND_IN = 0.05
"""A placeholder for the rate that lr-find has not found yet."""


def context_of(opened: Opened, options: Options) -> TaskContext:
    """The context of the study: its model is probed."""
    with one_thread():
        return TaskContext.of(with_choices(opened), registry(), device_of(options.device))


def check_ready(
    opened: Opened, options: Options, stages: Sequence[str], looked_at: TaskContext | None = None
) -> TaskContext | None:
    """Raise InputError if `stages` cannot run: device, executor, folders, a missing stage or recipe.

    `looked_at`: the context of the study, if there already is one. Returns it if the model was probed, here or before.
    """
    device_of(options.device)
    factory_of(options.executor)
    check_folder(options.studies, "--studies")
    if "report" in stages:
        check_folder(options.reports / opened.name, "--out")
    ledger = options.studies / f"{opened.name}.db"
    facts = facts_so_far(ledger)
    rate = (facts.get("lr-find") or {}).get("learning_rate")
    if (
        opened.study.needs_lr_find
        and rate is None
        and "lr-find" not in stages
        and BUILT_ON_A_RATE & set(stages)
    ):
        raise no_rate(facts.get("lr-find") or {})
    for around in recipes_needed(opened, stages, facts):
        if around == "best" and "search" not in stages:
            best = (facts.get("search") or {}).get("best")
            if not best:
                raise no_best()
            check_known(Recipe(best["recipe"]), registry())
        elif around not in ("best", "baseline"):
            read_recipe(Path(around), registry())
    context = looked_at
    if BUILT_ON_A_RATE & set(stages) and (not facts or "rank" in stages):
        if context is None and not facts.get("applicable"):
            context = context_of(opened, options)
        space = check_space(opened, context, facts)
        design, sure = opened.study.rank, "search" not in stages
        # If the recipe is not known yet, only names in the file can be checked.
        named = design.must_have or design.levels or design.conditional
        if "rank" in stages and (sure or named or design.design == TUNED or design.budget):
            check_ranking(opened, options, space, sure=sure)
    return context


def recipes_needed(opened: Opened, stages: Sequence[str], facts: Mapping[str, Any]) -> set[str]:
    """What the stages are built on: "best", "baseline" or the path of a recipe. A confirmation of what was ranked needs nothing else."""
    ranking, confirmation = opened.study.rank.around, opened.study.confirm.around
    needed = {ranking} if "rank" in stages else set()
    if "confirm" in stages and (confirmation or not (needed or facts.get("rank"))):
        needed.add(confirmation or ranking)
    return needed


def check_space(opened: Opened, context: TaskContext | None, facts: Mapping[str, Any]) -> Space:
    """The space. Raises InputError if nothing is left to search, or the baseline is outside it."""
    catalogue = registry()
    possible = applicable(context) if context else facts["applicable"]
    rate_of_lr_find = (facts.get("lr-find") or {}).get("learning_rate")
    rate = (rate_of_lr_find or STAND_IN) if opened.study.needs_lr_find else None
    baseline = opened.study.baseline_recipe(catalogue, rate)
    return Space.of(catalogue, opened.study, possible, baseline, lr_center=rate)


def check_ranking(opened: Opened, options: Options, space: Space, *, sure: bool) -> None:
    """Raise InputError if [rank] names tricks that the study does not have, or a design that cannot
    contain the tricks. `sure`: the recipe to be ranked is final."""
    from ablate.ranking.designs.registry import check_kind  # imports pandas: only needed for a ranking
    from ablate.study.ranking.array_plan import array_mapping
    from ablate.study.ranking.budget import check_budget

    check_section(opened.study.rank)
    if opened.study.rank.design == TUNED:
        check_budget(opened.study.rank.budget)
        return
    mapping, recipe_known, _ = array_mapping(
        opened, options, registry(), space.baseline, list(space.settings)
    )
    if recipe_known and sure:
        check_kind(opened.study.rank.design, mapping.factors)


def check_folder(folder: Path, option: str) -> None:
    """Raise InputError if `folder` neither exists and is writable, nor can be created."""
    hint = f"name another with {option}"
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        what = "is a file" if there == folder else f"cannot be made: {there} is a file"
        raise InputError(f"the folder {folder} {what}", hint=hint)
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"the folder {there} cannot be written", hint=hint)
    if any(len(os.fsencode(part)) > 255 for part in folder.parts):
        raise InputError(f"the folder {folder} cannot be made: its name is too long", hint=hint)


def no_rate(document: Mapping[str, Any]) -> InputError:
    """The error for a baseline without a learning rate. `document`: of lr-find, empty if it has not been run."""
    failed = [step for step in document.get("steps", ()) if step["verdict"] == "fail"]
    if not failed:
        return InputError(
            "the baseline's lr is left to lr-find",
            hint="run the stage lr-find (`ablate lr-find`) first, or give a number",
        )
    return InputError(
        f"lr-find found no learning rate: step {failed[-1]['step']} ({failed[-1]['name']}) failed",
        hint='correct what it found (ablate lr-find), or give a rate in a study file: [baseline] optimizer = { name = "momentum", lr = 0.05 }',
    )


def check_known(recipe: Recipe, catalogue: Catalogue) -> None:
    """Raise InputError if a recipe of the ledger has tricks that the study no longer has."""
    if lost := recipe.missing(catalogue):
        raise InputError(
            f"the recipe that the earlier search found has {', '.join(lost)}, which this study no longer has",
            hint="name its file again with --tricks, or run the stage search again",
        )


def no_best() -> InputError:
    """The error for a study without a best recipe."""
    return InputError("there is no best recipe yet", hint="run the stage search, or use --around baseline")
