"""The answer of `ablate.lr_find`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from ablate.protocol.steps import Finding, Step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import RenderableType


@dataclass(frozen=True, slots=True)
class Trial:
    """A rate of the grid: mean final validation loss over `seeds` runs (NaN if one diverged), and the lowest of any epoch."""

    learning_rate: float
    loss: float
    lowest: float
    seeds: int


@dataclass(frozen=True)
class LRFindResult:
    """The answer of `ablate.lr_find`.

    `learning_rate`: None if no rate gave a model that is better than a guess. `optimizer`: its class's name.
    `trials`: the grid. `guess`: the validation loss of the best constant prediction; None if unknown.
    `steps`: each step's observations; `findings`: all of them, the most severe first. `seconds`: duration.
    """

    learning_rate: float | None
    optimizer: str
    trials: tuple[Trial, ...]
    guess: float | None
    steps: tuple[Step, ...]
    seconds: float

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of all steps, the most severe first."""
        findings = [finding for step in self.steps for finding in step.findings]
        return tuple(sorted(findings, key=lambda finding: ("fail", "warn", "note").index(finding.level)))

    @property
    def verdict(self) -> str:
        """ "pass", "warn" or "fail": that of the worst step."""
        verdicts = {step.verdict for step in self.steps}
        return next((name for name in ("fail", "warn") if name in verdicts), "pass")

    def __repr__(self) -> str:
        rate = "none" if self.learning_rate is None else f"{self.learning_rate:g}"
        worst = f", {self.findings[0].message}" if self.verdict != "pass" else ""
        return f"LRFindResult(learning_rate={rate}, optimizer={self.optimizer}, {self.verdict}{worst})"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; null for numbers that are not finite."""
        return {
            "learning_rate": self.learning_rate,
            "optimizer": self.optimizer,
            "guess": self.guess,
            "trials": [
                {"learning_rate": t.learning_rate, "loss": _finite(t.loss), "seeds": t.seeds} for t in self.trials
            ],
            "steps": [step.to_dict() for step in self.steps],
            "seconds": self.seconds,
        }  # fmt: skip

    def __rich__(self) -> RenderableType:
        """The grid as a table, and what was found."""
        from rich.console import Group
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=escape(repr(self)), title_justify="left", box=None)
        for column in ("learning rate", "validation loss", "lowest", "seeds"):
            table.add_column(column, justify="right")
        for trial in self.trials:
            style = "bold" if trial.learning_rate == self.learning_rate else ""
            table.add_row(*_row(trial), style=style)
        lines = [escape(f"{finding.level}: {finding.line}") for finding in self.findings]
        return Group(table, *lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Validation loss by learning rate, with the guess and the rate that was found. Returns the axes."""
        import matplotlib.pyplot as plt

        axes = plt.subplots()[1] if ax is None else ax
        finite = [trial for trial in self.trials if isfinite(trial.loss)]
        axes.plot([t.learning_rate for t in finite], [t.loss for t in finite], "o-", label="validation loss")
        if self.guess is not None:
            axes.axhline(self.guess, color="grey", linestyle=":", label="guess without inputs")
        if self.learning_rate is not None:
            axes.axvline(self.learning_rate, color="tab:orange", label=f"found: {self.learning_rate:g}")
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("validation loss")
        axes.legend()
        return axes


def _row(trial: Trial) -> Iterator[str]:
    yield f"{trial.learning_rate:g}"
    yield f"{trial.loss:.4g}" if isfinite(trial.loss) else "diverged"
    yield f"{trial.lowest:.4g}" if isfinite(trial.lowest) else "–"
    yield str(trial.seeds)


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def step_of(number: int, figures: Mapping[str, Any], *findings: Finding | None) -> Step:
    """A step with those of `findings` that are not None."""
    return Step(number, figures, tuple(finding for finding in findings if finding is not None))
