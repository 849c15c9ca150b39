"""A budget for a whole study: what the other stages will take is set aside, and the rank stage gets the rest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ablate.ledger.store import Ledger
from ablate.records.errors import InputError
from ablate.study.plan import plan
from ablate.study.ranking.budget import check_budget, seconds_in
from ablate.study.resume import Opened, Options

LEAST = 0.1
"""Share of a budget that must be left for the rank stage."""
SET_ASIDE = {"search": ("search", "select"), "confirm": ("confirm",)}
"""Stage -> its parts in a plan's estimate. lr-find and costs are not in it."""


@dataclass(frozen=True)
class Division:
    """`rank`: the budget of the rank stage. `words`: what was divided; empty where the ledger had it already."""

    asked: str
    rank: str
    words: str = ""

    def to_json(self) -> dict[str, str]:
        return {"asked": self.asked, "rank": self.rank}


def divided(asked: str, opened: Opened, options: Options, stages: Sequence[str]) -> Division:
    """Divide `asked`; as before where the ledger has a division of the same budget. Raises InputError.

    Runs count for the rank stage alone. Of a time, what is estimated for those of `stages` that are still to be run is
    set aside.
    """
    asked = check_budget(asked)
    seconds = seconds_in(asked)
    if seconds is None:
        return Division(asked, asked, f"budget: {asked} for the rank stage")
    facts = _facts(opened, options)
    before = facts.get("budget") or {}
    if before.get("asked") == asked:
        return Division(asked, before["rank"])
    done = {"search"} if (facts.get("search") or {}).get("best") else set()
    estimate = plan(_without_budget(opened), options)["estimate_seconds"]
    aside = {
        stage: sum(estimate[part] for part in parts)
        for stage, parts in SET_ASIDE.items()
        if stage in stages and stage not in done
    }
    rest = seconds - sum(aside.values())
    words = ", ".join(f"{stage} about {value:.0f} s" for stage, value in aside.items())
    if rest < LEAST * seconds:
        raise InputError(
            f"--budget {asked} leaves nothing for the rank stage: {words}",
            hint="give more, or fewer --trials",
        )
    parts = ", ".join(part for part in (words, f"rank {rest:.0f} s") if part)
    return Division(asked, f"{rest:.2f}s", f"budget {asked}: {parts}")


def _without_budget(opened: Opened) -> Opened:
    study = opened.study
    return replace(opened, study=replace(study, rank=replace(study.rank, budget="")))


def _facts(opened: Opened, options: Options) -> dict[str, Any]:
    path = options.studies / f"{opened.name}.db"
    if not os.path.lexists(path):
        return {}
    with Ledger.open(path, write=False) as ledger:
        return ledger.facts()
