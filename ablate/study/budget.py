"""A budget for a whole study: the estimated time of the other stages is reserved, and the rank stage gets the rest."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ablate.ledger.store import Ledger
from ablate.records.errors import InputError
from ablate.study.plan import plan
from ablate.study.ranking.budget import check_budget, divide, seconds_in
from ablate.study.request import Opened, Options

LEAST = 0.1
"""Share of a budget that must be left for the rank stage."""
SET_ASIDE = {
    "lr-find": ("lr-find",),
    "search": ("search", "select"),
    "confirm": ("confirm",),
    "report": ("costs and report",),
}
"""Stage -> its parts in a plan's estimate."""
RATE_SHARE = 0.1
"""Share of a study's time that lr-find may take."""
LATER = ("confirm", "report")
"""Stages after the ranking."""


@dataclass(frozen=True)
class Division:
    """`rank`: the budget of the rank stage, estimated before the first run. `later`: seconds reserved for the stages after it.
    `words`: the division in words; empty if the ledger already had it."""

    asked: str
    rank: str
    later: float = 0.0
    words: str = ""

    def to_json(self) -> dict[str, str | float]:
        return {"asked": self.asked, "rank": self.rank, "later": self.later}


def lr_find_budget_of(asked: str) -> str:
    """The budget of the stage lr-find in a study with the budget `asked`: a tenth of a time; "" (its usual allowance) for runs."""
    seconds = seconds_in(asked)
    return "" if seconds is None else f"{RATE_SHARE * seconds:.2f}s"


def seconds_left(division: Mapping[str, Any], timings: Mapping[str, float]) -> float | None:
    """Seconds of the study's budget that are left for the rank stage; None unless the budget is a time.

    `division`: the ledger's fact "budget"; `timings`: seconds of the stages that were run.
    """
    whole = seconds_in(division.get("asked", ""))
    if whole is None:
        return None
    spent = sum(timings.get(stage, 0.0) for stage in ("lr-find", "search"))
    return max(whole - spent - float(division.get("later", 0.0)), LEAST * whole)


def divided(asked: str, opened: Opened, options: Options, stages: Sequence[str]) -> Division:
    """Divide the budget `asked`; a division of the same budget in the ledger is kept. Raises InputError.

    A budget in runs is for the rank stage alone. From a time, the estimate of those of `stages` that are still to run is
    subtracted. A budget too small for any design of the ranking is an error.
    """
    asked = check_budget(asked)
    facts = _facts(opened, options)
    before = facts.get("budget") or {}
    if before.get("asked") == asked:
        return Division(asked, before["rank"], before.get("later", 0.0))
    document = plan(_without_budget(opened), options)
    estimate = document["estimate_seconds"]
    done = {
        *(["lr-find"] if (facts.get("lr-find") or {}).get("complete") else []),
        *(["search"] if (facts.get("search") or {}).get("best") else []),
    }
    aside = {
        stage: sum(estimate[part] for part in parts)
        for stage, parts in SET_ASIDE.items()
        if stage in stages and stage not in done
    }
    seconds = seconds_in(asked)
    if seconds is None:
        rank, words = asked, f"budget: {asked} for the rank stage"
    else:
        if "lr-find" in aside:
            aside["lr-find"] = min(aside["lr-find"], RATE_SHARE * seconds)
        rest = seconds - sum(aside.values())
        words = ", ".join(f"{stage} about {value:.0f} s" for stage, value in aside.items())
        if rest < LEAST * seconds:
            raise InputError(
                f"--budget {asked} leaves nothing for the rank stage: {words}",
                hint="give more, or fewer --trials",
            )
        rank = f"{rest:.2f}s"
        words = f"budget {asked}: {', '.join(part for part in (words, f'rank {rest:.0f} s') if part)}"
    arms = document["rank"].get("arms") if "rank" in stages else None
    if arms:
        divide(
            rank, sum(arms.values()), document["seconds_per_run"], document["workers"], references=len(arms)
        )
    return Division(asked, rank, sum(aside.get(stage, 0.0) for stage in LATER), words)


def _without_budget(opened: Opened) -> Opened:
    study = opened.study
    return replace(opened, study=replace(study, rank=replace(study.rank, budget="")))


def _facts(opened: Opened, options: Options) -> dict[str, Any]:
    path = options.studies / f"{opened.name}.db"
    if not os.path.lexists(path):
        return {}
    with Ledger.open(path, write=False) as ledger:
        return ledger.facts()
