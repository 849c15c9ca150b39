"""What a ledger holds, read with plain `sqlite3`, and what is wrong with it after a kill or a pause."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FINISHED = {"complete", "pruned", "diverged", "out_of_memory", "failed"}
INTERRUPTED = "interrupted"
Row = tuple[Any, ...]


def rows(ledger: Path) -> list[Row]:
    """The ledger's runs: identity and every other column but the position."""
    if not ledger.exists():
        return []
    connection = sqlite3.connect(f"{ledger.as_uri()}?mode=rw", uri=True)
    try:
        rows_found = connection.execute(
            "SELECT identity, outcome, stage, wave, trial, arm, task, recipe, seed, budget, epochs, seconds, note,"
            " metrics, curves, scores FROM runs ORDER BY position"
        )
        return rows_found.fetchall()
    finally:
        connection.close()


def timeless(rows_found: list[Row]) -> dict[str, Row]:
    """Identity -> row without `seconds`, the only column that may differ between two studies."""
    return {row[0]: (*row[1:11], *row[12:]) for row in rows_found}


@dataclass
class Count:
    """What the checks found. All but `kills`, `workers` (of the kills, those of workers) and `moments` must stay zero.

    A driver that gives up a run records the others as interrupted, with their checkpoints: they are no finished runs, and may be replaced by
    these, but none may be left once a study has ended (`check(ended=True)`).
    """

    kills: int = 0
    workers: int = 0
    lost: int = 0
    duplicated: int = 0
    changed: int = 0
    running: int = 0
    different: int = 0
    orphans: int = 0
    moments: Counter[str] = field(default_factory=Counter)

    @property
    def clean(self) -> bool:
        return not (
            self.lost or self.duplicated or self.changed or self.running or self.different or self.orphans
        )

    def line(self) -> str:
        where = ", ".join(f"{moment} {n}" for moment, n in sorted(self.moments.items()))
        return (
            f"{self.kills} kills, {self.workers} of workers: {self.lost} runs lost, {self.duplicated} duplicated, {self.changed} changed, "
            f"{self.running} left running, {self.different} different from an uninterrupted study, "
            f"{self.orphans} orphaned processes ({where})"
        )

    def check(
        self, ledger: Path, before: list[Row], acknowledged: set[str], *, ended: bool = False
    ) -> list[Row]:
        """Compare the ledger with its contents before and the runs acknowledged since. `ended`: the study has come to its end."""
        now = rows(ledger)
        known = {row[0]: row for row in now}
        self.lost += len((acknowledged | {row[0] for row in before}) - known.keys())
        self.duplicated += len(now) - len(known)
        self.changed += sum(known.get(row[0], row) != row for row in before if row[1] in FINISHED)
        allowed = FINISHED if ended else {*FINISHED, INTERRUPTED}
        self.running += sum(row[1] not in allowed for row in now)
        return now
