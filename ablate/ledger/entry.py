"""What the ledger keeps of a run: what was trained, what came of it, and why it was asked for."""

from __future__ import annotations

from dataclasses import dataclass

from ablate.records.run import Result, Run


@dataclass(frozen=True, slots=True)
class Entry:
    """One run in the ledger.

    `stage`: `lr-find`, `search`, `rank`, `confirm` … `wave`: the batch of runs started together (blocks of
    the analysis). `trial`: Optuna's number, -1 outside the search. `arm`: the run's place in a design.
    """

    run: Run
    result: Result
    stage: str
    wave: int = 0
    trial: int = -1
    arm: str = ""

    @property
    def identity(self) -> str:
        return self.run.identity
