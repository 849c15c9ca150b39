"""What a stage asks a session to train, and the rule that stops lanes of a group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ablate.lanes.trace import Report
from ablate.records.run import Result, Run


class Pruning(Protocol):
    """Decides after each epoch which lanes of a group to stop."""

    def __call__(self, report: Report) -> Sequence[bool]: ...
    @property
    def never(self) -> bool:
        """Whether no lane is ever stopped; a group may then be split while it trains."""
        ...

    def with_finished(self, results: Sequence[Result]) -> Pruning:
        """This rule for a group some of whose runs already have results."""
        ...


@dataclass(frozen=True, slots=True)
class Planned:
    """A run that a stage needs, and the columns that the ledger records with it."""

    run: Run
    stage: str
    wave: int = 0
    trial: int = -1
    arm: str = ""
