"""The runs of a ledger as other programs take them: settings, metrics, curves and how each ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ablate.ledger.entry import Entry
from ablate.records.run import Outcome

FINISHED = "FINISHED"
STATUS = {Outcome.COMPLETE: FINISHED, Outcome.PRUNED: "KILLED", Outcome.INTERRUPTED: "KILLED"}
"""Outcome -> a tracker's word for it; anything else is FAILED."""


@dataclass(frozen=True)
class TrackedRun:
    """One run. `settings`: `dropout.p` -> 0.3, and `dropout` -> True; `curves`: metric -> a value an epoch, the finite ones."""

    identity: str
    name: str
    stage: str
    outcome: Outcome
    settings: dict[str, Any]
    metrics: dict[str, float]
    curves: dict[str, tuple[float, ...]]
    seconds: float

    @property
    def status(self) -> str:
        """How the run ended, in MLflow's words."""
        return STATUS.get(self.outcome, "FAILED")

    def points(self) -> Iterator[tuple[str, int, float]]:
        """(metric, epoch from 1, value) of every finite value of the curves."""
        for metric, values in sorted(self.curves.items()):
            for epoch, value in enumerate(values, 1):
                if isfinite(value):
                    yield metric, epoch, value


def tracked(entries: Iterable[Entry]) -> list[TrackedRun]:
    """The entries of a ledger, in its order."""
    return [_tracked(entry) for entry in entries]


def _tracked(entry: Entry) -> TrackedRun:
    run, result = entry.run, entry.result
    settings: dict[str, Any] = {"seed": run.seed, "epochs": run.epochs}
    for trick, values in run.recipe.items():
        settings[trick] = True
        settings |= {f"{trick}.{name}": value for name, value in values.items()}
    what = entry.arm or (f"trial {entry.trial}" if entry.trial >= 0 else run.recipe.hash)
    metrics = {name: float(value) for name, value in result.metrics.items() if isfinite(value)}
    return TrackedRun(
        run.identity, f"{entry.stage}: {what}, seed {run.seed}", entry.stage, result.outcome, settings, metrics,
        dict(result.curves), result.seconds,
    )  # fmt: skip
