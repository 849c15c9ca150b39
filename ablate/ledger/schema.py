"""The file format, version 1: tables, header check, connection.

A ledger is recognised by its first 100 bytes, read as plain bytes: SQLite opens a file only if the
application id and the version match (or `migrations.py` leads from that version to this one), so that a foreign file or one
of another version is never touched.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ablate.ledger.migrations import can_migrate, copied, migrate, version_of
from ablate.ledger.rows import COLUMNS
from ablate.records.errors import AblateError, InputError
from ablate.records.files import cannot_write, write_bytes

APPLICATION_ID = 0x61626C74  # "ablt"
VERSION = 1
DECODING_ERRORS = (ValueError, LookupError, TypeError, AttributeError, RecursionError, zlib.error)
"""Raised where a row's content is not what `rows.to_row` wrote."""
BUSY_TIMEOUT = 30.0  # seconds to wait for a reader or a commit; both are short
TELL_AFTER = 5.0
"""Seconds after which a writer that waits for a reader without limit says so."""

# No index and no UNIQUE constraint: an index is a second copy of the data, which a flipped bit can make inconsistent.
# Opening a ledger reads and checks every row anyway and builds the index in memory.
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
TABLES = ("runs", "facts", "seal")
SELECT_RUNS = f"SELECT {', '.join(COLUMNS)}, digest FROM runs"
SELECT_RUNS_AND_SCORES = f"SELECT {', '.join(COLUMNS)}, digest, scores FROM runs"
INSERT_RUN = f"INSERT INTO runs VALUES ({', '.join('?' * (len(COLUMNS) + 2))})"


def empty() -> bytes:
    """The bytes of a ledger without runs."""
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


def create(path: Path) -> None:
    """Create an empty ledger atomically. Call under its lock."""
    for suffix in ("-journal", "-wal"):  # left by a removed ledger: would be applied to the new one
        try:
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
    write_bytes(path, empty())


def check_header(path: Path) -> None:
    """Raise InputError unless `path` is a ledger of this version, or of one that `MIGRATIONS` leads from. Reads 100 bytes and changes nothing."""
    try:
        # A pipe or a device could block: check the type before opening it.
        regular = stat.S_ISREG(os.stat(path).st_mode)
        head = _first_bytes(path) if regular else b""
    except FileNotFoundError:
        if path.is_symlink():
            raise InputError(f"the link {path} is broken", hint="remove it, or restore its target") from None
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
    if version != VERSION and not can_migrate(version, VERSION):
        raise InputError(
            f"{path} is a ledger of format {version}; this ablate reads format {VERSION}",
            hint="open it with the version of ablate that wrote it"
            if version < VERSION
            else "upgrade ablate",
        )


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """A connection to an existing ledger, in autocommit mode: `BEGIN` is explicit.

    A reader opens the file for writing and then sets `query_only`: if a writer was killed in the middle
    of a commit, SQLite has to roll back before it can read. A ledger of an older format is migrated: the file by a
    writer, a copy in memory by a reader. Raises sqlite3.Error.
    """
    uri = path.absolute().as_uri() + "?mode=rw"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT)
    try:
        _configure(connection)
        if write:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA synchronous = EXTRA")
        if version_of(connection) < VERSION:
            _check_kinds(connection)  # before anything of the file could run
            if not write:
                connection = copied(connection)
                _configure(connection)
            migrate(connection, VERSION, _check_tables)
        _check_tables(connection)
        if not write:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _configure(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA temp_store = MEMORY")


def _check_kinds(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.Error for a file with views or triggers."""
    kinds = {kind for (kind,) in connection.execute("SELECT type FROM sqlite_schema")}
    if not kinds <= {"table", "index"}:
        raise sqlite3.DatabaseError("the tables are not those of a ledger")


def _check_tables(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.Error unless the tables are those of this format."""
    _check_kinds(connection)
    objects = connection.execute("SELECT tbl_name, sql FROM sqlite_schema ORDER BY rowid")
    if tuple(sql for table, sql in objects if table in TABLES) != SCHEMA:
        raise sqlite3.DatabaseError("the tables are not those of a ledger")


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another program has the file at the moment."""
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def sqlite_failure(path: Path, error: sqlite3.Error) -> AblateError:
    """The error for an SQLite error on `path`: busy, full or unwritable disk, or a damaged file."""
    name = getattr(error, "sqlite_errorname", "")
    if is_busy(error):
        return AblateError(
            f"{path} was in use by another program for {BUSY_TIMEOUT:.0f} s",
            hint="close it and run the command again",
        )
    unusable = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")
    if name.startswith(unusable) and name != "SQLITE_IOERR_SHORT_READ":
        return AblateError(
            f"cannot use {path}: {error}",
            hint="recorded runs are kept; free disk space or make the file writable, and run the command again",
        )
    return damaged(path, str(error))


def damaged(path: Path, what: str) -> InputError:
    """The error for a file whose content fails a check."""
    return InputError(
        f"the ledger {path} is damaged ({what})",
        hint="restore a copy of it, or move it away and run the study again; nothing was changed",
    )


@contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Translate errors of SQLite and of decoding damaged content into one-line errors about `path`."""
    try:
        yield
    except sqlite3.Error as error:
        raise sqlite_failure(path, error) from error
    except DECODING_ERRORS as error:
        raise damaged(path, str(error)) from error


def _first_bytes(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(100)


def foreign_commit(path: Path) -> AblateError:
    """The error where another process has written to a ledger that this one has open."""
    return AblateError(f"another process has written to {path}", hint="run only one driver")
