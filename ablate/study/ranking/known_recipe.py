"""The recipe that a ranking would be around, as far as the ledger has it: for a plan and for checks before a study."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ablate.catalogue.registry import registry
from ablate.ledger.entry import Entry
from ablate.ledger.store import Ledger
from ablate.records.recipe import Recipe
from ablate.study.recipes import read_recipe
from ablate.study.request import Opened, Options

UNKNOWN = "the search's best recipe, not known yet"


@dataclass(frozen=True)
class KnownRecipe:
    """`recipe`: None where the search has not found it. `entries`: the ledger's runs. `timings`: seconds of the stages that were run.
    Both are read for `around = "best"` alone."""

    recipe: Recipe | None
    words: str
    entries: Sequence[Entry] = ()
    timings: Mapping[str, float] = field(default_factory=dict)


def known_recipe(opened: Opened, options: Options, baseline: Recipe) -> KnownRecipe:
    """Raises InputError where a recipe file cannot be read."""
    around = opened.study.rank.around
    if around == "baseline":
        return KnownRecipe(baseline, "the baseline")
    if around != "best":
        return KnownRecipe(read_recipe(Path(around), registry()), around)
    path = options.studies / f"{opened.name}.db"
    if not os.path.lexists(path):
        return KnownRecipe(None, UNKNOWN)
    with Ledger.open(path, write=False) as ledger:
        best = (ledger.fact("search") or {}).get("best")
        entries, timings = ledger.entries(scores=False), ledger.fact("timings", {})
    if not best or (recipe := Recipe(best["recipe"])).missing(registry()):
        return KnownRecipe(None, UNKNOWN, entries, timings)
    return KnownRecipe(recipe, f"the search's best recipe (trial {best['trial']})", entries, timings)
