"""One run as the ledger stores it: the run, its result, and the stage that planned it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ablate.records.run import Result, Run

STAGES = (
    "lr-find", "search", "select", "pilot", "retune", "tune", "rank", "lean", "ladder", "confirm", "compare", "claim",
)  # fmt: skip
"""The stages of runs in the order in which a report shows them; others follow by name."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One run in the ledger.

    `stage`: `lr-find`, `search`, `rank`, `confirm` … `wave`: runs started together, a block of
    the analysis. `trial`: the trial's number, -1 outside the search. `arm`: the arm of the design.
    """

    run: Run
    result: Result
    stage: str
    wave: int = 0
    trial: int = -1
    arm: str = ""

    @property
    def identity(self) -> str:
        """The run's identity."""
        return self.run.identity


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """The entries by stage, wave, trial, arm and seed: the same whichever worker finished first."""
    place = {stage: number for number, stage in enumerate(STAGES)}

    def key(entry: Entry) -> tuple[object, ...]:
        run, stage = entry.run, entry.stage
        where = place.get(stage, len(STAGES))
        return where, stage, entry.wave, entry.trial, entry.arm, run.seed, run.epochs, entry.identity

    return sorted(entries, key=key)
