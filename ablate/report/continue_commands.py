"""Commands that continue a study: decide what is open, or rank what was left out to fit its time."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from ablate.report.data import ReportData

MORE = 3
"""Times the budget that decides most of a ranking's tricks, where a few more pairs would not."""
OF_ONE_RUN = {"--json", "--quiet", "-q", "--force", "--no-force", "--profile"}
"""Options without a value that say how a command printed or was let through once; `--stages` too is of one run of it."""
OPEN = "-undecided"
"""How the name of a study ends that decides what another one has left open."""
LEAST_SHARE = 0.2
"""Share of the seconds of a ranking that one of a few of its tricks takes at least: its references, and its ladder."""
PER_PAIR = 1.3
"""Runs of a pair: one of the arm, and a share of the reference's."""


def fitted(data: ReportData) -> Mapping[str, Any]:
    """What the study left out to fit its time (`study.fit.Fit` as JSON); empty if nothing."""
    fit = (data.design or {}).get("fit") or {}
    return fit if fit and (fit["left_out"] or fit["trials"] is None) else {}


def again(data: ReportData, **options: str | None) -> str:
    """The command that ranked (or the last one, where the ledger does not say), all stages of it, with `options` in place of its own (None: without that
    one). One from the study's name if that was no such command: `ablate rank --around baseline` where the baseline is all that was ranked and there was no
    search. Under another name only a command that finds a recipe, too, can be run."""
    ranked_by, design = data.study.get("ranked_by"), data.design or {}
    words = _words(str(ranked_by or data.study.get("command", "")))
    alone = data.search is None and design.get("around") is not None and design["around"] == design.get("baseline")  # fmt: skip
    kinds = ["study", *(["rank"] if alone or (ranked_by and "name" not in options) else [])]
    if words[:2] not in [["ablate", kind] for kind in kinds]:
        words = ["ablate", "rank" if alone else "study", *shlex.split(data.asked)]
        words += ["--around", "baseline"] if alone else []
    replaced = {"--stages", *(f"--{name}" for name in options)}
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.partition("=")[0] in replaced:
            skip = "=" not in word
        elif word not in OF_ONE_RUN:
            kept.append(word)
    added = [part for name, value in options.items() if value is not None for part in (f"--{name}", value)]
    return shlex.join(kept + added)


def _words(command: str) -> list[str]:
    """A shell command's words; none of a text that is no command (a ledger may have been written by anyone)."""
    try:
        return shlex.split(command)
    except ValueError:
        return []


def command_for_all(data: ReportData) -> str:
    """The command that ranks the tricks which were left out."""
    return again(data, budget=f"{max(1, ceil(fitted(data)['every'] / 60))}m")


def command_for_late(data: ReportData) -> str:
    """The command that ranks the tricks for which the stages before the ranking left no time."""
    return again(data, budget=_times(str((data.design or {})["late"]["asked"]), MORE))


def command_for_tricks(data: ReportData, tricks: Sequence[str], pairs: Sequence[int | None]) -> str:
    """The command that decides the open `tricks`, given how many more pairs each needs, if that is known.

    A study that was made to fit its time spends it on these alone, as a separate study; others get more runs.
    """
    design = data.design or {}
    if fit := fitted(data):
        every = len({row["trick"] for row in design["effects"]})
        budget = fit["asked"] if 2 * len(tricks) <= every else _times(str(fit["asked"]), MORE)
        name = f"{data.name.removesuffix(OPEN)}{OPEN}"
        return again(
            data, include=",".join(tricks), name=name, budget=budget_that_tunes(data, len(tricks) / every) or budget
        )  # fmt: skip
    if budget := budget_that_tunes(data):
        return again(data, budget=budget)
    allowed = design["budget"]["runs"]
    spent = sum(design.get("spent", {"runs": allowed}).values())
    limit = allowed if design["budget"]["asked"] else spent  # without a budget, time ends a ranking
    runs = max(2 * limit, spent + ceil(PER_PAIR * sum(number or 0 for number in pairs)))
    return again(data, budget=f"{runs}runs")


def budget_that_tunes(data: ReportData, share: float = 1.0) -> str | None:
    """The budget that tunes the arms of a ranking which did not, or a `share` of them; None where they were tuned. At least what the ranking had, if that is a time."""
    design = data.design or {}
    if not (least := design.get("tuned_from")):
        return None
    if least["seconds"] is None:
        return f"{ceil(least['runs'] * share)}runs"
    seconds = max(least["seconds"] * max(share, LEAST_SHARE), least["had"])
    return f"{ceil((least['others'] + seconds) / 60)}m"


def _times(budget: str, number: int) -> str:
    """A budget in the user's notation, multiplied."""
    digits = budget.rstrip("abcdefghijklmnopqrstuvwxyz ")
    return f"{float(digits) * number:g}{budget[len(digits) :].strip()}"
