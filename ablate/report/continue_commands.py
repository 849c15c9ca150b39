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
PER_PAIR = 1.3
"""Runs of a pair: one of the arm, and a share of the reference's."""


def fitted(data: ReportData) -> Mapping[str, Any]:
    """What the study left out to fit its time (`study.fit.Fit` as JSON); empty if nothing."""
    fit = (data.design or {}).get("fit") or {}
    return fit if fit and (fit["left_out"] or fit["trials"] is None) else {}


def again(data: ReportData, **options: str | None) -> str:
    """The command by which the study was run, all stages of it, with `options` in place of its own (None: without that one). One from its
    name if that was no such command: `ablate rank --around baseline` where the baseline is all that was ranked and there was no search."""
    words, design = _words(str(data.study.get("command", ""))), data.design or {}
    alone = data.search is None and design.get("around") is not None and design["around"] == design.get("baseline")  # fmt: skip
    if words[:2] not in (["ablate", "study"], ["ablate", "rank" if alone else "study"]):
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
        few = 2 * len(tricks) <= len({row["trick"] for row in design["effects"]})
        budget = fit["asked"] if few else _times(str(fit["asked"]), MORE)
        return again(data, include=",".join(tricks), name=f"{data.name}-undecided", budget=budget)
    allowed = design["budget"]["runs"]
    spent = sum(design.get("spent", {"runs": allowed}).values())
    limit = allowed if design["budget"]["asked"] else spent  # without a budget, time ends a ranking
    runs = max(2 * limit, spent + ceil(PER_PAIR * sum(number or 0 for number in pairs)))
    return again(data, budget=f"{runs}runs")


def _times(budget: str, number: int) -> str:
    """A budget in the user's notation, multiplied."""
    digits = budget.rstrip("abcdefghijklmnopqrstuvwxyz ")
    return f"{float(digits) * number:g}{budget[len(digits) :].strip()}"
