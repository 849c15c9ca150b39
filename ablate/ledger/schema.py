"""The file format, version 1: tables, header, how a file is made, recognised and connected to.

A file is recognised by its first 100 bytes, read as plain bytes: SQLite is let near it only when the
application id and the version are ours, so a foreign file or another version's is never touched.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

from ablate.ledger.rows import COLUMNS
from ablate.records.errors import AblateError, InputError

APPLICATION_ID = 0x61626C74  # "ablt"
VERSION = 1
BUSY_TIMEOUT = 30.0  # seconds to wait for a reader or a commit; both are short

# No index and no UNIQUE: an index is a second copy of the truth that a flipped bit can set against the
# first. Opening reads and checks every row anyway, and holds identity -> position in memory.
SCHEMA = (
    "CREATE TABLE runs (position INTEGER PRIMARY KEY, identity TEXT NOT NULL, stage TEXT NOT NULL,"
    " wave INTEGER NOT NULL, trial INTEGER NOT NULL, arm TEXT NOT NULL, task TEXT NOT NULL,"
    " recipe TEXT NOT NULL, seed INTEGER NOT NULL, budget INTEGER NOT NULL, outcome TEXT NOT NULL,"
    " epochs INTEGER NOT NULL, seconds REAL, note TEXT NOT NULL, metrics TEXT NOT NULL,"
    " curves TEXT NOT NULL, scores_digest TEXT NOT NULL, digest TEXT NOT NULL, scores BLOB NOT NULL)",
    "CREATE TABLE facts (position INTEGER PRIMARY KEY, key TEXT NOT NULL, document TEXT NOT NULL,"
    " digest TEXT NOT NULL)",
    "CREATE TABLE seal (digest TEXT NOT NULL)",
)
SELECT_RUNS = f"SELECT {', '.join(COLUMNS)}, digest FROM runs"
SELECT_RUNS_AND_SCORES = f"SELECT {', '.join(COLUMNS)}, digest, scores FROM runs"
INSERT_RUN = f"INSERT INTO runs VALUES ({', '.join('?' * (len(COLUMNS) + 2))})"


def empty() -> bytes:
    """A ledger without runs, as the bytes of its file."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT INTO seal VALUES (?)", (f"{0:032x}",))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        return connection.serialize()
    finally:
        connection.close()


def check_header(path: Path) -> None:
    """Raise InputError unless `path` is a ledger of this version. Reads 100 bytes, touches nothing."""
    try:
        # A pipe or a device would block or do worse: ask what it is before opening it.
        regular = stat.S_ISREG(os.stat(path).st_mode)
        head = _first_bytes(path) if regular else b""
    except FileNotFoundError:
        if path.is_symlink():
            raise InputError(
                f"the link {path} leads nowhere", hint="remove it, or restore what it named"
            ) from None
        raise InputError(f"there is no ledger {path}", hint="run the study first: `ablate study`") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or type(error).__name__}") from error
    if not regular:
        raise InputError(f"{path} is not a file", hint="name a ledger: studies/NAME.db")
    version = int.from_bytes(head[60:64], "big")
    if head[:16] != b"SQLite format 3\0" or int.from_bytes(head[68:72], "big") != APPLICATION_ID:
        what = "is empty: it" if not head else ""
        raise InputError(
            f"{path} {what} is not an ablate ledger, or its first bytes are damaged",
            hint="restore a copy of it, or move it away and run the study again",
        )
    if version != VERSION:
        raise InputError(
            f"{path} is a ledger of format {version}; this ablate reads format {VERSION}",
            hint="open it with the version of ablate that wrote it"
            if version < VERSION
            else "upgrade ablate",
        )


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """A connection to an existing ledger, set up for its journal; autocommit, so `BEGIN` is explicit.

    A reader opens with the right to write and then gives it up (`query_only`): after a kill in the middle
    of a commit SQLite has to roll back before anyone can read. Raises sqlite3.Error.
    """
    uri = path.absolute().as_uri() + "?mode=rw"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        if write:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA synchronous = EXTRA")
        else:
            connection.execute("PRAGMA query_only = ON")
        if (
            tuple(sql for (sql,) in connection.execute("SELECT sql FROM sqlite_schema ORDER BY rowid"))
            != SCHEMA
        ):
            raise sqlite3.DatabaseError("the tables are not those of a ledger")
    except BaseException:
        connection.close()
        raise
    return connection


def sqlite_failure(path: Path, error: sqlite3.Error) -> AblateError:
    """The one line for what SQLite said of `path`: busy, full or unwritable disk, or a damaged file."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return AblateError(
            f"{path} was in use by another program for {BUSY_TIMEOUT:.0f} s",
            hint="close it and run the command again",
        )
    unusable = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")
    if name.startswith(unusable) and name != "SQLITE_IOERR_SHORT_READ":
        return AblateError(
            f"cannot use {path}: {error}",
            hint="what was recorded before is kept; make room or the file writable, and run the command again",
        )
    return damaged(path, str(error))


def damaged(path: Path, what: str) -> InputError:
    """The one line for a file whose content cannot be believed."""
    return InputError(
        f"the ledger {path} is damaged ({what})",
        hint="restore a copy of it, or move it away and run the study again; nothing was changed",
    )


def _first_bytes(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(100)
