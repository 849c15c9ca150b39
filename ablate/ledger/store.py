"""The ledger: all recorded runs of a study, in one SQLite file.

*Durability.* A rollback journal (`journal_mode=DELETE`) with `synchronous=EXTRA`, one commit per `record`.
Between commits the `.db` file is complete, so copying that one file copies the study. A write-ahead log
would keep the last runs in a second file: a copy without it, or with a flipped bit in it, would silently lose
acknowledged runs, and readers would need to write shared memory beside the ledger. A kill in
the middle of a commit leaves the journal behind, and the next process that opens the ledger rolls back to the state
before that `record`, which had not returned. A copy of the `.db` file taken at that moment is inconsistent; the
checks below detect it. Readers hold SQLite's shared lock for the milliseconds of a query; the writer waits
for them, and they for it. While one is paused (Ctrl-Z) the writer waits on, and says so.

*Integrity.* Opening reads every row and checks it against its digest, and all rows against the seal
(`index`): a damaged file raises an error; it never gives a wrong number or fewer runs than were recorded.
Per-example scores, the bulk of the data, are checked when they are read.

*One writer.* `write=True` takes the lock file (`lock`). If someone removes it and starts a second writer,
the first one detects the foreign commit and stops before it writes.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ablate.ledger import schema
from ablate.ledger.codec import encode
from ablate.ledger.entry import Entry
from ablate.ledger.facts import document, documents
from ablate.ledger.index import Fact, Index, RowRef, collector_paused, read_facts, read_index
from ablate.ledger.lock import Lock
from ablate.ledger.rows import digest, from_row, to_row
from ablate.records.errors import AblateError

T = TypeVar("T")
Statement = tuple[str, tuple[Any, ...]]
Waiting = Callable[[str], None]
AT_ONCE = 500
"""Rows that one query asks for by their positions."""


class Ledger:
    """An open ledger, a context manager: `with Ledger.open(path, write=True)`. Not thread-safe."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, lock: Lock | None, waiting: Waiting | None = None
    ) -> None:
        self.path = path
        self._connection, self._lock, self._waiting = connection, lock, waiting
        self._index: Index | None = None
        self._version = -1
        self._seal = ""
        self._read(lambda index: None)

    @classmethod
    def open(cls, path: str | Path, *, write: bool, waiting: Waiting | None = None) -> Ledger:
        """Open the ledger at `path`; with `write`, create it if it is missing and lock it.

        waiting: told when a write waits for a reader, as long as it takes. Without it, such a write ends with an error after a while.
        Raises InputError (missing, not a ledger, of another version, damaged, unwritable), AblateError (locked by
        another process, which the message names).
        """
        path = Path(path)
        lock = Lock(path) if write else None
        try:
            if write and not os.path.lexists(path):
                schema.create(path)
            schema.check_header(path)
            with schema.translated_errors(path):
                connection = schema.connect(path, write=write)
            try:
                return cls(path, connection, lock, waiting)
            except BaseException:
                connection.close()
                raise
        except BaseException:
            if lock:
                lock.release()
            raise

    @staticmethod
    def facts_of(path: str | Path) -> dict[str, Any]:
        """The documents of the ledger at `path`, by key, without reading its runs: opening it checks each run, which takes ten
        seconds for a million. Documents are checked against their digests. Raises InputError, AblateError."""
        path = Path(path)
        schema.check_header(path)
        with schema.translated_errors(path), closing(schema.connect(path, write=False)) as connection:
            index = Index()
            read_facts(connection, index)
            return documents(path, index.facts)

    def record(self, entries: Iterable[Entry]) -> None:
        """Write `entries` in one transaction; when this returns, they are on disk.

        An identity is recorded once: one that is already finished (or twice in `entries`) raises
        AblateError and nothing is written; an interrupted one is replaced, and moves to the end of the order.
        """
        entries = list(entries)

        def change(index: Index) -> list[Statement]:
            statements: list[Statement] = []
            for entry in entries:
                identity = entry.identity
                if old := index.runs.pop(identity, None):
                    statements.append(("DELETE FROM runs WHERE position = ?", (old.position,)))
                    index.seal -= int(old.digest, 16)
                index.last_run += 1
                row = to_row(index.last_run, entry)
                statements.append((schema.INSERT_RUN, row))
                index.runs[identity] = RowRef(
                    index.last_run, row[-2], entry.stage, entry.result.outcome.finished
                )
                index.seal += int(row[-2], 16)
            return statements

        seen: set[str] = set()
        recorded = self._read(lambda index: index.runs)
        for identity in (entry.identity for entry in entries):
            if identity in seen or (identity in recorded and recorded[identity].finished):
                raise AblateError(
                    f"the run {identity} is already in {self.path}", hint="a finished run is kept"
                )
            seen.add(identity)
        if entries:
            self._write(change)

    def finished(self) -> set[str]:
        """Identities of the runs that need not be trained again."""
        return self._read(lambda index: {name for name, row in index.runs.items() if row.finished})

    def unfinished(self, identities: Iterable[str]) -> set[str]:
        """The identities that must still be trained. Takes time proportional to their number, whatever the size of the ledger."""
        wanted = set(identities)
        return self._read(
            lambda index: {
                name for name in wanted if (row := index.runs.get(name)) is None or not row.finished
            }
        )

    def entries(self, stage: str | None = None, *, scores: bool = True) -> list[Entry]:
        """All entries (of one stage), in the order in which they were recorded.

        `scores=False` leaves per-example scores empty, which is much faster if there are many.
        """
        wanted, values = ("", ()) if stage is None else (" WHERE stage = ?", (stage,))

        def query(index: Index) -> list[Entry]:
            with collector_paused():
                read = self._select(wanted + " ORDER BY position", values, scores)
            expected = [name for name, row in index.runs.items() if stage in (None, row.stage)]
            if [entry.identity for entry in read] != expected:
                raise ValueError("runs are missing or have another identity")
            return read

        return self._read(query)

    def count(self, *stages: str) -> int:
        """How many runs there are, of all stages or of these."""
        return self._read(lambda index: sum(not stages or row.stage in stages for row in index.runs.values()))

    def get(self, identity: str) -> Entry | None:
        """The entry of a run, or None."""
        return self.get_all([identity]).get(identity)

    def get_all(self, identities: Iterable[str]) -> dict[str, Entry]:
        """The entries of those of `identities` that have one, in the order of the ledger."""
        wanted = set(identities)

        def query(index: Index) -> dict[str, Entry]:
            positions = {row.position: name for name in wanted if (row := index.runs.get(name)) is not None}
            ordered = sorted(positions)
            read: list[Entry] = []
            for i in range(0, len(ordered), AT_ONCE):
                some = tuple(ordered[i : i + AT_ONCE])
                read += self._select(
                    f" WHERE position IN ({', '.join('?' * len(some))}) ORDER BY position", some, True
                )
            if [entry.identity for entry in read] != [positions[position] for position in ordered]:
                raise ValueError("runs are missing or have another identity")
            return {entry.identity: entry for entry in read}

        return self._read(query)

    def put(self, key: str, document: Any) -> None:
        """Store a JSON document (a declared design, the environment, timings) under `key`, replacing the previous one.

        Raises TypeError for a value that is not JSON (see `codec.encode`).
        """
        text = encode(document)

        def change(index: Index) -> list[Statement]:
            old = index.facts.get(key)
            if old:
                index.seal -= int(old.digest, 16)
            else:
                index.last_fact += 1
            position = old.position if old else index.last_fact
            checksum = digest((position, key, text))
            index.facts[key] = Fact(position, checksum, text)
            index.seal += int(checksum, 16)
            return [("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?)", (position, key, text, checksum))]

        self._write(change)

    def fact(self, key: str, default: Any = None) -> Any:
        """A copy of the document under `key`, or `default`."""
        return self._read(
            lambda index: document(self.path, key, index.facts[key]) if key in index.facts else default
        )

    def facts(self) -> dict[str, Any]:
        """All documents by key, in the order in which the keys were first used."""
        return self._read(lambda index: documents(self.path, index.facts))

    def close(self) -> None:
        """Close the file and release the lock. A second call has no effect."""
        self._connection.close()
        if self._lock:
            self._lock.release()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _select(self, clause: str, values: tuple[Any, ...], scores: bool) -> list[Entry]:
        if scores:
            rows = self._connection.execute(schema.SELECT_RUNS_AND_SCORES + clause, values)
            return [from_row(row[:-1], row[-1]) for row in rows]
        return [from_row(row, None) for row in self._connection.execute(schema.SELECT_RUNS + clause, values)]

    def _read(self, query: Callable[[Index], T]) -> T:
        """The result of `query` on one consistent state of the file, re-checked if another process has written since."""
        with schema.translated_errors(self.path):
            self._roll_back()  # of a transaction that Ctrl-C left open
            try:
                self._connection.execute("BEGIN")
                # The first read fixes the state that the transaction sees.
                self._connection.execute("SELECT digest FROM seal").fetchone()
                version = self._data_version()
                if self._index is None or version != self._version:
                    index = read_index(self._connection)
                    if self._lock and self._version not in (-1, version) and index.seal_text != self._seal:
                        raise schema.foreign_commit(self.path)
                    self._index, self._version, self._seal = index, version, index.seal_text
                return query(self._index)
            finally:
                self._roll_back()

    def _write(self, change: Callable[[Index], list[Statement]]) -> None:
        """Commit the statements of `change`, which updates the index accordingly."""
        if self._lock is None:
            raise AblateError(f"{self.path} is open for reading only")
        index = self._read(lambda index: index)
        # If anything fails from here on, the index is read from the file again: copying it would cost more than the commit.
        self._index = None
        statements = change(index)
        told = False
        while not self._committed(statements, index.seal_text):
            if self._waiting is not None and not told:
                self._waiting(f"{self.path} is being read by another program, perhaps a paused one: waiting")
                told = True
        self._index, self._seal = index, index.seal_text

    def _committed(self, statements: list[Statement], seal: str) -> bool:
        """Commit `statements`; false if another program has the file, and that is to be waited for."""
        try:
            if self._waiting is not None:
                self._connection.execute(f"PRAGMA busy_timeout = {1000 * schema.TELL_AFTER:.0f}")
            self._connection.execute("BEGIN IMMEDIATE")
            if self._connection.execute("SELECT digest FROM seal").fetchall() != [(self._seal,)]:
                raise schema.foreign_commit(self.path)
            for statement, values in statements:
                self._connection.execute(statement, values)
            self._connection.execute("UPDATE seal SET digest = ?", (seal,))
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._waiting is not None and schema.is_busy(error):
                return False
            raise schema.sqlite_failure(self.path, error) from error
        finally:
            self._roll_back()
        return True

    def _data_version(self) -> int:
        """A number that changes when another connection has committed."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):  # the original error is more informative
                self._connection.execute("ROLLBACK")
