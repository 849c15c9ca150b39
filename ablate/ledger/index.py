"""The in-memory index of a ledger, and the check of the whole file: a checksum per row and a seal over all rows.

The seal is the sum of all rows' digests modulo 2^128, written in the same transaction as the rows. Row
checksums detect a changed row; the seal also detects one that is missing, duplicated or from another state of the
file, as after a lost page or a half-applied journal.
"""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from sys import intern
from typing import NamedTuple

from ablate.ledger.rows import COLUMNS, Row, checksum_matches, digest
from ablate.ledger.schema import SELECT_RUNS
from ablate.records.run import Outcome

_POSITION, _IDENTITY, _STAGE, _OUTCOME = map(COLUMNS.index, ("position", "identity", "stage", "outcome"))


_FINISHED = {str(outcome): outcome.finished for outcome in Outcome}


class RowRef(NamedTuple):
    """A row of the table `runs`. Creating a million takes a third of the time of dataclasses."""

    position: int
    digest: str
    stage: str
    finished: bool


@dataclass(frozen=True, slots=True)
class Fact:
    """A document in the table `facts`, still encoded."""

    position: int
    digest: str
    document: str


@dataclass(slots=True)
class Index:
    """Runs by identity, facts by key, the last positions used, and the sum that is the seal."""

    runs: dict[str, RowRef] = field(default_factory=dict)
    facts: dict[str, Fact] = field(default_factory=dict)
    last_run: int = 0
    last_fact: int = 0
    seal: int = 0

    @property
    def seal_text(self) -> str:
        """The seal as 32 hexadecimal digits."""
        return f"{self.seal % 2**128:032x}"


def read_index(connection: sqlite3.Connection, visit: Callable[[Row], None] | None = None) -> Index:
    """Read and check the whole ledger except the scores. Call inside a transaction. Raises ValueError, sqlite3.Error.

    visit: called with each row (COLUMNS, `digest`) that matches its checksum; the seal is checked after the last.
    """
    index = Index()
    with collector_paused():
        _read_runs(connection, index, visit)
    read_facts(connection, index)
    if connection.execute("SELECT digest FROM seal").fetchall() != [(index.seal_text,)]:
        raise ValueError("rows are missing")
    return index


def _read_runs(connection: sqlite3.Connection, index: Index, visit: Callable[[Row], None] | None) -> None:
    for row in connection.execute(SELECT_RUNS + " ORDER BY position"):
        position, identity, checksum = row[_POSITION], row[_IDENTITY], row[-1]
        if not checksum_matches(row) or identity in index.runs:
            raise ValueError("a run's checksum is wrong")
        if position <= index.last_run:  # SQLite walks the B-tree; swapped pages give rows in the wrong order
            raise ValueError("runs are out of order")
        index.runs[identity] = RowRef(position, checksum, intern(row[_STAGE]), _FINISHED[row[_OUTCOME]])
        index.last_run = position
        index.seal += int(checksum, 16)
        if visit is not None:
            visit(row)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Context without garbage collection: none of the rows that are read is garbage, and each collection would traverse all of them."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


def read_facts(connection: sqlite3.Connection, index: Index) -> None:
    """Add the facts to `index`, each checked against its digest. Raises ValueError, sqlite3.Error."""
    for position, key, document, checksum in connection.execute(
        "SELECT position, key, document, digest FROM facts ORDER BY position"
    ):
        if digest((position, key, document)) != checksum or key in index.facts:
            raise ValueError("a fact's checksum is wrong")
        if position <= index.last_fact:
            raise ValueError("facts are out of order")
        index.facts[key] = Fact(position, checksum, document)
        index.last_fact = position
        index.seal += int(checksum, 16)
