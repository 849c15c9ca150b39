"""What a step of lr-find says: its figures, what was found, and the verdict that follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

from ablate.lanes.context import TaskContext
from ablate.records.run import Result, Run

Level = Literal["note", "warn", "fail"]
Verdict = Literal["pass", "warn", "fail", "skipped"]
Train = Callable[[Sequence[Run], str], list[Result]]
NAMES = (
    "initial loss",
    "over-fit a small sample",
    "a rate that makes the loss drop",
    "coarse grid",
    "fine grid",
    "look at the curves",
)
DIGITS = 6
"""Significant digits of the figures: more than a plot or a person needs."""
ZERO_BELOW = 1e-12
"""What is smaller than this in absolute value is written as 0."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What every step stands on. `train(runs, arm)` trains whole runs and gives their results in order."""

    context: TaskContext
    train: Train
    seed: int
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was seen. `code` is for programs, the rest for people; a note changes no verdict."""

    code: str
    level: Level
    message: str
    where: str = ""
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message, "where": self.where, "advice": self.advice}


@dataclass(frozen=True, slots=True)
class Step:
    """One step, done or skipped. `number` counts from 1."""

    number: int
    figures: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    skipped: bool = False

    @property
    def name(self) -> str:
        return NAMES[self.number - 1]

    @property
    def verdict(self) -> Verdict:
        """The gravest of what was found."""
        if self.skipped:
            return "skipped"
        levels = {finding.level for finding in self.findings}
        return "fail" if "fail" in levels else "warn" if "warn" in levels else "pass"

    @property
    def by_severity(self) -> list[Finding]:
        return sorted(self.findings, key=lambda finding: ("fail", "warn", "note").index(finding.level))

    def to_dict(self) -> dict[str, Any]:
        """As in `lr-find.json`: plain JSON values; what is not finite is null."""
        return {
            "step": self.number,
            "name": self.name,
            "verdict": self.verdict,
            "figures": plain(self.figures),
            "findings": [finding.to_dict() for finding in self.by_severity],
        }


def skipped(number: int, why: str) -> Step:
    """A step that was not done, and why."""
    return Step(number, findings=(Finding("skipped", "note", why),), skipped=True)


def plain(value: Any) -> Any:
    """Numbers with `DIGITS` significant digits, NaN and infinity as None; containers throughout."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        if not isfinite(value):
            return None
        return 0.0 if abs(value) < ZERO_BELOW else float(f"{value:.{DIGITS}g}")
    return value
