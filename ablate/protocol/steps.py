"""The result of a step of lr-find: figures, findings and the verdict that follows from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Literal

from ablate.lanes.context import TaskContext
from ablate.protocol.baseline import Baseline
from ablate.records.run import Result, Run

Level = Literal["note", "warn", "fail"]
Verdict = Literal["pass", "warn", "fail", "skipped"]
Train = Callable[[Sequence[Run], str], list[Result]]
NAMES = (
    "the data",
    "initial loss",
    "over-fit a small sample",
    "a rate that makes the loss drop",
    "a grid of learning rates",
    "seeds and weight decay",
    "look at the curves",
)
CERTAIN = (
    "softmax-over-batch", "outputs-are-probabilities", "loss-summed", "loss-negative", "noise-in-evaluation", "examples-mixed",
    "batch-norm-frozen", "symmetric-initialisation", "parameters-frozen",
)  # fmt: skip
"""Causes that are seen as they are, in the order in which they are named; others are judged by how large something is, and are named later."""
DIGITS = 6
"""Significant digits of the figures."""
ZERO_BELOW = 1e-12
"""Figures smaller than this in absolute value are written as 0."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The inputs of every step. `train(runs, arm)` trains whole runs and returns their results in order."""

    context: TaskContext
    train: Train
    baseline: Baseline
    seed: int
    say: Callable[[str], None]

    def run(self, rate: float, decay: float | None, seed: int, epochs: int) -> Run:
        """A whole run of the baseline with this rate and decay (None: its own)."""
        return Run(self.context.task.name, self.baseline.at(rate, decay), seed, epochs)

    def short_run(self, rate: float, seed: int | None = None) -> Run:
        """A run at a constant rate, for a few steps (`Baseline.briefly`)."""
        seed_of_run = self.seed if seed is None else seed
        return Run(self.context.task.name, self.baseline.briefly(rate), seed_of_run, 1)

    def on(self, context: TaskContext) -> Setup:
        """This setup on other data."""
        return replace(self, context=context)


@dataclass(frozen=True, slots=True)
class Finding:
    """An observation. `code` is for programs, the other fields for people; a note does not change the verdict."""

    code: str
    level: Level
    message: str
    where: str = ""
    advice: str = ""

    @property
    def line(self) -> str:
        """The finding in a line of text: what, where, and what to do."""
        return in_a_line(self.message, self.where, self.advice)

    def to_dict(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message, "where": self.where, "advice": self.advice}


def certain_first(findings: Iterable[Finding]) -> list[Finding]:
    """`findings`, those of `CERTAIN` first, in its order; only the first of each code."""
    first: dict[str, Finding] = {}
    for finding in findings:
        first.setdefault(finding.code, finding)
    order = {code: place for place, code in enumerate(CERTAIN)}
    return sorted(first.values(), key=lambda finding: order.get(finding.code, len(order)))


def in_a_line(message: str, where: str, advice: str = "") -> str:
    """`message (where) → advice`, of a finding; `where` and `advice` may be empty."""
    return message + (f" ({where})" if where else "") + (f" → {advice}" if advice else "")


@dataclass(frozen=True, slots=True)
class Step:
    """One step, done or skipped. `number` counts from 0, the check of the data."""

    number: int
    figures: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    skipped: bool = False

    @property
    def name(self) -> str:
        """The name of the step."""
        return NAMES[self.number]

    @property
    def verdict(self) -> Verdict:
        """The level of the most severe finding; "pass" if there is no warning or failure."""
        if self.skipped:
            return "skipped"
        levels = {finding.level for finding in self.findings}
        return "fail" if "fail" in levels else "warn" if "warn" in levels else "pass"

    @property
    def by_severity(self) -> list[Finding]:
        """The findings, the most severe first."""
        return sorted(self.findings, key=lambda finding: ("fail", "warn", "note").index(finding.level))

    def to_dict(self) -> dict[str, Any]:
        """The step in `lr-find.json`: JSON values; null for numbers that are not finite."""
        return {
            "step": self.number,
            "name": self.name,
            "verdict": self.verdict,
            "figures": to_json(self.figures),
            "findings": [finding.to_dict() for finding in self.by_severity],
        }


def skipped(number: int, why: str) -> Step:
    """A step that was skipped, with the reason."""
    return Step(number, findings=(Finding("skipped", "note", why),), skipped=True)


def to_json(value: Any) -> Any:
    """`value` with numbers rounded to `DIGITS` significant digits and NaN and infinity replaced by None, recursively."""
    if isinstance(value, Mapping):
        return {str(key): to_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(inner) for inner in value]
    if isinstance(value, float):
        if not isfinite(value):
            return None
        return 0.0 if abs(value) < ZERO_BELOW else float(f"{value:.{DIGITS}g}")
    return value
