"""Commands that go on from a study which was made to fit its time: rank all tricks, or decide those that are open."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from math import ceil

from ablate.report.data import ReportData

REPLACED = ("--budget", "--include", "--name")


def fitted(data: ReportData) -> Mapping[str, object]:
    """What the study left out to fit its time (`study.fit.Fit` as JSON); empty if nothing."""
    fit = (data.design or {}).get("fit") or {}
    return fit if fit.get("left_out") or (fit and fit.get("trials") is None) else {}


def again(data: ReportData, **options: str) -> str:
    """The command by which the study was run with other `options`; one from its name if that was no command."""
    words = shlex.split(str(data.study.get("command", "")))
    if words[:2] != ["ablate", "study"]:
        words = ["ablate", "study", *shlex.split(data.asked)]
    kept: list[str] = []
    skip = False
    for word in words:
        name = word.partition("=")[0]
        if skip or name in REPLACED:
            skip = not skip and name in REPLACED and "=" not in word
            continue
        kept.append(word)
    if (named := data.study.get("named")) and "name" not in options:
        options["name"] = str(named)
    return shlex.join(kept + [part for name, value in options.items() for part in (f"--{name}", value)])


def for_all(data: ReportData) -> str:
    """The command that ranks the tricks which were left out."""
    return again(data, budget=f"{max(1, ceil(float(str(fitted(data)['every'])) / 60))}m")


def for_some(data: ReportData, tricks: Sequence[str]) -> str:
    """The command that spends the same budget on `tricks` alone, as a study beside this one."""
    budget = str((data.design or {}).get("fit", {}).get("asked") or "10m")
    return again(data, include=",".join(tricks), name=f"{data.name}-undecided", budget=budget)
