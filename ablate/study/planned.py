"""What a stage asks a session to train."""

from __future__ import annotations

from dataclasses import dataclass

from ablate.records.run import Run


@dataclass(frozen=True, slots=True)
class Planned:
    """A run that a stage needs, and the columns that the ledger records with it."""

    run: Run
    stage: str
    wave: int = 0
    trial: int = -1
    arm: str = ""
