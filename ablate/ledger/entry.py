"""One run as the ledger stores it: the run, its result, and the stage that planned it."""

from __future__ import annotations

from dataclasses import dataclass

from ablate.records.run import Result, Run


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
        return self.run.identity
