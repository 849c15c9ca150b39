"""A budget for a whole study: it is made to fit (`study.fit`), the estimated time of the other stages is reserved, and the rank stage gets the rest."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from ablate.lanes.context import TaskContext
from ablate.records.errors import InputError
from ablate.records.study import StudyFile
from ablate.study.fit import CONFIRMED, Costs, StudyFit, fit, named_in
from ablate.study.plan import Measurements, measure, plan
from ablate.study.ranking.budget import check_budget, seconds_in
from ablate.study.ranking.divide import divide
from ablate.study.request import Opened, Options
from ablate.study.resume import facts_so_far

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
SHORTEST = 5.0
"""Seconds of a study, at least."""
PLANNED = (12.0, 0.08)
"""Seconds, and share of a study's time, after which no further group is timed."""
LATER = ("confirm", "report")
"""Stages after the ranking."""


@dataclass(frozen=True)
class Division:
    """`rank`: the budget of the rank stage, estimated before the first run. `later`: seconds reserved for the stages after it, and spent before the
    first. `fit`: what was left out so that the study fits; None for a budget in runs. `words`: all of it in words, and `measurements`: of the whole
    study, what it was worked out from; empty if the ledger already had it."""

    asked: str
    rank: str
    later: float = 0.0
    words: str = ""
    fit: StudyFit | None = None
    measurements: Measurements | None = None

    def to_json(self) -> dict[str, Any]:
        document = {"asked": self.asked, "rank": self.rank, "later": self.later}
        return document if self.fit is None else document | {"fit": self.fit.to_json()}

    @classmethod
    def of_json(cls, document: Mapping[str, Any]) -> Division:
        fit = document.get("fit")
        return cls(
            document["asked"],
            document["rank"],
            document.get("later", 0.0),
            "",
            StudyFit.of_json(fit) if fit else None,
        )

    def applied(self, study: StudyFile) -> StudyFile:
        """The study file that fits: fewer trials or none, and without the tricks that are left out."""
        study = replace(study, rank=replace(study.rank, budget=self.rank))
        if self.fit is None:
            return study
        if self.fit.left_out:
            exclude = dict.fromkeys((*study.space.exclude, *self.fit.left_out))
            study = replace(study, space=replace(study.space, exclude=tuple(exclude)))
        if self.fit.trials is None:
            return replace(study, rank=replace(study.rank, around="baseline"))
        return replace(study, search=replace(study.search, trials=self.fit.trials))

    def stages(self, chosen: Sequence[str]) -> tuple[str, ...]:
        """`chosen` without the search, if there is no time for one."""
        without = self.fit is not None and self.fit.trials is None
        return tuple(stage for stage in chosen if not (without and stage == "search"))


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


def divided(
    asked: str,
    opened: Opened,
    options: Options,
    stages: Sequence[str],
    looked_at: TaskContext | None = None,
    started: float | None = None,
) -> Division:
    """Divide the budget `asked`; a division of the same budget in the ledger is kept. Raises InputError.

    A budget in runs is for the rank stage alone. If it is a time, the estimate for those of `stages` that are still to run is
    subtracted; if it is too short for the study, a part is left out. A budget too small for any ranking is an error.
    `looked_at`: the context of `opened`, if there already is one. `started`: the `time.perf_counter()` from which time counts.
    """
    started = time.perf_counter() if started is None else started
    asked = check_budget(asked)
    facts = facts_so_far(options.studies / f"{opened.name}.db")
    before = facts.get("budget") or {}
    if before.get("asked") == asked:
        return Division.of_json(before)
    seconds = seconds_in(asked)
    if seconds is not None and seconds < SHORTEST:
        raise InputError(
            f"--budget {asked} is too short for a study",
            hint=f"give at least {SHORTEST:g}s; minutes decide more",
        )
    until = inf if seconds is None else started + max(PLANNED[0], PLANNED[1] * seconds)
    whole = _without_budget(opened)
    measurements = measure(whole, options, looked_at, until)
    document = plan(whole, options, measurements)
    done = {
        *(["lr-find"] if (facts.get("lr-find") or {}).get("complete") else []),
        *(["search"] if (facts.get("search") or {}).get("best") else []),
    }
    aside = _set_aside(document, stages, done)
    if seconds is None:
        words = f"budget: {asked} for the rank stage"
        arms = document["rank"].get("arms") if "rank" in stages else None
        if arms:
            each, workers = document["seconds_per_run"], document["workers"]
            divide(asked, sum(arms.values()), each, workers, references=len(arms))
        later = sum(aside.get(stage, 0.0) for stage in LATER)
        return Division(asked, asked, later, words, None, measurements)
    spent = time.perf_counter() - started
    if "lr-find" in aside:
        aside["lr-find"] = min(aside["lr-find"], RATE_SHARE * seconds)
    fitted = _fit(asked, seconds, opened, document, aside, spent) if "rank" in stages else None
    if fitted is not None:
        smaller = replace(whole, study=Division(asked, "", fit=fitted).applied(whole.study))
        aside = _set_aside(plan(smaller, options, measurements), stages, done)
        if "lr-find" in aside:
            aside["lr-find"] = min(aside["lr-find"], RATE_SHARE * seconds)
        if fitted.trials is None:
            aside.pop("search", None)
            if "confirm" in aside:
                aside["confirm"] *= CONFIRMED
    for_rank = seconds - spent - sum(aside.values())
    parts = ", ".join(f"{stage} about {value:.0f} s" for stage, value in aside.items())
    if for_rank < LEAST * seconds:
        raise InputError(
            f"--budget {asked} leaves nothing for the rank stage: {parts}",
            hint="give more, or fewer --trials",
        )
    words = f"budget {asked}: {', '.join(part for part in (parts, f'rank {for_rank:.0f} s') if part)}"
    if fitted is not None and fitted.words:
        words += f"\n{fitted.words}"
    later = sum(aside.get(stage, 0.0) for stage in LATER) + spent
    return Division(asked, f"{for_rank:.2f}s", later, words, fitted, measurements)


def _set_aside(document: Mapping[str, Any], stages: Sequence[str], done: Collection[str]) -> dict[str, float]:
    """Stage -> seconds that its parts take, of those stages beside the ranking that are still to run. `document`: a plan."""
    estimate = document["estimate_seconds"]
    return {
        stage: sum(estimate[part] for part in parts)
        for stage, parts in SET_ASIDE.items()
        if stage in stages and stage not in done
    }


def divided_plan(asked: str, opened: Opened, options: Options) -> dict[str, Any]:
    """The plan of a study with the budget `asked`, as a JSON-ready document: `budget` says in words how it is divided. A budget in runs is for the rank
    stage alone; without any it is the plan of the whole study. Raises InputError."""
    if seconds_in(asked) is None:
        budget = asked or opened.study.rank.budget
        opened = replace(opened, study=replace(opened.study, rank=replace(opened.study.rank, budget=budget)))
        return {**plan(opened, options), "budget": ""}
    whole = _without_budget(opened)
    division = divided(asked, whole, options, tuple(SET_ASIDE | {"rank": ()}))
    document = plan(replace(whole, study=division.applied(whole.study)), options, division.measurements)
    if division.fit is not None and division.fit.trials is None:
        document["search"] = {"trials": 0, "generation": 0, "groups": 0, "mean_lanes": 0.0}
        for part in SET_ASIDE["search"]:
            document["estimate_seconds"].pop(part)
        document["estimate_seconds"]["confirm"] *= CONFIRMED
        document["confirm"] |= {"runs_about": round(CONFIRMED * document["confirm"]["runs_about"])}
    return {
        **document,
        "budget": division.words or f"budget {asked}: as the study was begun, rank {division.rank}",
    }


def _fit(
    asked: str,
    seconds: float,
    opened: Opened,
    document: Mapping[str, Any],
    aside: Mapping[str, float],
    spent: float,
) -> StudyFit | None:
    """The study made to fit; None for a ranking around a recipe file, or of another design, which has its tricks."""
    runs, study = document["seconds_by_trick"], opened.study
    if not runs or study.rank.around not in ("best", "baseline"):
        return None
    costs = Costs(
        runs, document["workers"], aside.get("lr-find", 0.0), aside.get("search", 0.0), aside.get("confirm", 0.0),
        aside.get("report", 0.0) + spent,
    )  # fmt: skip
    return fit(asked, seconds, costs, study.search.trials, named_in(study.space, runs), study.baseline)


def _without_budget(opened: Opened) -> Opened:
    study = opened.study
    return replace(opened, study=replace(study, rank=replace(study.rank, budget="")))
