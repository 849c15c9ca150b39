"""Work left is computed, never stored: pending = planned − finished.

A queue on disk can disagree with the results on disk; a difference of two sets cannot. Whoever resumes a
study makes the same plan again and asks what of it is not in the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from ablate.records.run import Run


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a plan is: distinct runs planned, and how many of them are finished."""

    planned: int
    finished: int

    @property
    def pending(self) -> int:
        return self.planned - self.finished


def distinct(runs: Iterable[Run]) -> list[Run]:
    """`runs` without repetitions, the first of each kept in its place."""
    first: dict[str, Run] = {}
    for run in runs:
        first.setdefault(run.identity, run)
    return list(first.values())


def pending(planned: Iterable[Run], finished: Set[str]) -> list[Run]:
    """The planned runs whose identity is not in `finished`: order kept, repetitions dropped."""
    return [run for run in distinct(planned) if run.identity not in finished]


def progress(planned: Iterable[Run], finished: Set[str]) -> Progress:
    """How many distinct runs are planned and finished. Finished runs outside the plan do not count."""
    identities = {run.identity for run in planned}
    return Progress(len(identities), len(identities & finished))
