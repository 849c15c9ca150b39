"""Ledgers of an older format: migrated in one transaction, or refused and not touched. The toy format 2 adds a column."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from ledger_samples import sample

from ablate.ledger import migrations, schema
from ablate.ledger.store import Ledger
from ablate.records.errors import InputError

COLUMN = "host TEXT NOT NULL DEFAULT ''"


def add_column(connection: sqlite3.Connection) -> None:
    connection.execute(f"ALTER TABLE runs ADD COLUMN {COLUMN}")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A ledger of format 1 with runs and a fact."""
    path = tmp_path / "old.db"
    with Ledger.open(path, write=True) as ledger:
        ledger.record([sample(number) for number in range(5)])
        ledger.put("study", {"name": "old"})
    return path


@pytest.fixture
def next_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """This ablate has format 2."""
    monkeypatch.setattr(schema, "VERSION", 2)
    monkeypatch.setattr(schema, "SCHEMA", (f"{schema.SCHEMA[0][:-1]}, {COLUMN})", *schema.SCHEMA[1:]))
    monkeypatch.setitem(migrations.MIGRATIONS, 1, add_column)


def raw(path: Path) -> tuple[int, list[str]]:
    """The format in the file, and the columns of its runs."""
    with closing(sqlite3.connect(path)) as connection:
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(runs)")]
        return connection.execute("PRAGMA user_version").fetchone()[0], columns


def test_a_writer_migrates_the_file_and_goes_on(old: Path, next_format: None) -> None:
    with Ledger.open(old, write=True) as ledger:
        assert [entry.run.seed for entry in ledger.entries()] == [sample(i).run.seed for i in range(5)]
        ledger.put("study", {"name": "new"})
    assert raw(old)[0] == 2
    assert "host" in raw(old)[1]
    with Ledger.open(old, write=False) as ledger:
        assert ledger.fact("study") == {"name": "new"}
        assert len(ledger.entries()) == 5


def test_a_reader_migrates_a_copy(old: Path, next_format: None) -> None:
    before = old.read_bytes()
    with Ledger.open(old, write=False) as ledger:
        assert len(ledger.entries()) == 5
        assert ledger.fact("study") == {"name": "old"}
    assert Ledger.facts_of(old)["study"] == {"name": "old"}
    assert old.read_bytes() == before


@pytest.mark.parametrize("write", [True, False])
def test_a_step_that_fails_changes_nothing(
    old: Path, next_format: None, monkeypatch: pytest.MonkeyPatch, write: bool
) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        add_column(connection)
        connection.execute("UPDATE facts SET document = ''")
        raise sqlite3.DatabaseError("a row that the step cannot read")

    monkeypatch.setitem(migrations.MIGRATIONS, 1, fail)
    before = old.read_bytes()
    with pytest.raises(InputError, match="damaged"):
        Ledger.open(old, write=write)
    assert old.read_bytes() == before


@pytest.mark.parametrize("write", [True, False])
def test_tables_that_are_not_those_of_the_new_format_are_refused(
    old: Path, next_format: None, monkeypatch: pytest.MonkeyPatch, write: bool
) -> None:
    monkeypatch.setitem(migrations.MIGRATIONS, 1, lambda connection: None)
    before = old.read_bytes()
    with pytest.raises(InputError, match="damaged"):
        Ledger.open(old, write=write)
    assert old.read_bytes() == before


def test_no_step_runs_on_a_file_with_triggers(
    old: Path, next_format: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: list[sqlite3.Connection] = []
    monkeypatch.setitem(migrations.MIGRATIONS, 1, run.append)
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("CREATE TRIGGER t AFTER UPDATE ON facts BEGIN DELETE FROM runs; END")
    before = old.read_bytes()
    with pytest.raises(InputError, match="damaged"):
        Ledger.open(old, write=True)
    assert old.read_bytes() == before
    assert not run


def test_without_all_steps_the_ledger_is_refused(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "VERSION", 3)
    monkeypatch.setitem(migrations.MIGRATIONS, 1, add_column)
    with pytest.raises(InputError, match="format 1; this ablate reads format 3"):
        Ledger.open(old, write=True)
    assert not migrations.can_migrate(3, 3)
    assert not migrations.can_migrate(4, 3)


def test_there_is_a_step_from_every_older_format() -> None:
    assert sorted(migrations.MIGRATIONS) == list(range(1, schema.VERSION))
