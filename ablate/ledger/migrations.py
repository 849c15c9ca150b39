"""Older formats of the ledger's file: each is changed into the next one, so that a newer ablate opens what an older one wrote.

A writer changes the file itself, in one transaction; a reader changes a copy in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

Migration = Callable[[sqlite3.Connection], None]
"""Changes tables and rows of a ledger of one format into those of the next; within a transaction that it neither begins nor ends."""

MIGRATIONS: dict[int, Migration] = {}
"""Format -> its change into the next one. Empty as long as there is one format."""


def can_migrate(version: int, target: int) -> bool:
    """Whether there is a change for every step from format `version` to `target`."""
    return version < target and all(step in MIGRATIONS for step in range(version, target))


def version_of(connection: sqlite3.Connection) -> int:
    """The format of an open ledger."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, target: int, check: Callable[[sqlite3.Connection], None]) -> None:
    """Change a ledger to the format `target` in one transaction: all steps and `check` succeed, or nothing is changed.

    `check` raises sqlite3.Error where the tables are not those of that format. The connection is in autocommit mode.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        for version in range(
            version_of(connection), target
        ):  # another process may have migrated it meanwhile
            MIGRATIONS[version](connection)
            connection.execute(f"PRAGMA user_version = {version + 1}")
        check(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def copied(connection: sqlite3.Connection) -> sqlite3.Connection:
    """A copy of a ledger in memory; closes `connection`."""
    with closing(connection):
        copy = sqlite3.connect(":memory:", isolation_level=None)
        connection.backup(copy)
        return copy
