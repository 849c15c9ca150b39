"""Truncated, flipped, foreign and unwritable files: the recorded numbers or one line, never other numbers."""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ledger_samples import sample

from ablate.ledger import schema
from ablate.ledger.contents import contents
from ablate.ledger.rows import COLUMNS, digest, to_row
from ablate.ledger.store import Ledger
from ablate.records.errors import AblateError, InputError
from ablate.records.run import Outcome, Result

COUNT = 12
FACTS = {
    "design": {"rows": [1, 2.5]},
    "environment": {"torch": "2.13"},
    **{f"page {n}": "x" * 3000 for n in range(3)},
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "good.db"
    with Ledger.open(path, write=True) as ledger:
        ledger.record([sample(number, examples=600 if number == 5 else 20) for number in range(COUNT)])
        for key, document in FACTS.items():
            ledger.put(key, document)
    return path.read_bytes()


def expected() -> list[Any]:
    return [sample(number, examples=600 if number == 5 else 20) for number in range(COUNT)]


def one_pass(path: Path) -> bool:
    """Whether `contents` reads all that was recorded, without scores; false if it raises. Anything else fails the test."""
    try:
        facts, entries = contents(path)
        plain = [replace(e, result=replace(e.result, curves=dict(e.result.curves))) for e in entries]
    except InputError:
        return False
    assert plain == [replace(e, result=replace(e.result, scores={})) for e in expected()]
    assert list(facts.items()) == list(FACTS.items())
    return True


def look(path: Path) -> str:
    """'same' when all that was recorded is read, else the one line. Anything else fails the test."""
    whole = one_pass(path)
    try:
        with Ledger.open(path, write=False) as ledger:
            entries, facts, finished = ledger.entries(), ledger.facts(), ledger.finished()
            single = ledger.get(sample(5).identity)
    except InputError as error:
        line = str(error)
    else:
        line = ""
    if line:
        assert "\n" not in line
        assert str(path) in line
        assert "; " in line  # says what to do
        return line
    assert whole
    assert entries == expected()
    assert list(facts.items()) == list(FACTS.items())
    assert finished == {entry.identity for entry in expected()}
    assert single == expected()[5]
    return "same"


def test_truncated_at_every_offset_of_the_last_pages(good: bytes, tmp_path: Path):
    path = tmp_path / "cut.db"
    lengths = sorted({*range(0, 700, 7), *range(len(good) - 8192, len(good), 13), *range(0, len(good), 4096)})
    for length in lengths:
        path.write_bytes(good[:length])
        assert look(path) != "same", length
        assert path.read_bytes() == good[:length]
    path.write_bytes(good)
    assert look(path) == "same"


def test_flipped_bits_never_change_a_number(good: bytes, tmp_path: Path):
    path = tmp_path / "flip.db"
    draw = random.Random(11)
    places = [
        *(draw.randrange(len(good) * 8) for _ in range(500)),
        *(draw.randrange(800) for _ in range(100)),
    ]
    count = 0
    for place in places:
        flipped = bytearray(good)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        count += look(path) != "same"
    assert count > 300  # the others hit free space, or a part of the header that says nothing of the content


def test_zeroed_and_exchanged_pages_are_found(good: bytes, tmp_path: Path):
    path = tmp_path / "pages.db"
    pages = [good[start : start + 4096] for start in range(0, len(good), 4096)]
    for one in range(len(pages)):
        path.write_bytes(b"".join(bytes(4096) if place == one else page for place, page in enumerate(pages)))
        assert look(path) != "same"
        exchanged = pages.copy()
        exchanged[one], exchanged[one - 1] = pages[one - 1], pages[one]
        path.write_bytes(b"".join(exchanged))
        assert look(path) != "same"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM runs WHERE position = 3",
        "DELETE FROM runs WHERE position > 10",
        "UPDATE runs SET seconds = seconds * 2 WHERE position = 3",
        "UPDATE runs SET outcome = 'interrupted' WHERE position = 3",
        "UPDATE runs SET position = 100 WHERE position = 3",
        "UPDATE runs SET scores = x'00' WHERE position = 3",
        "INSERT INTO runs SELECT 99, identity, stage, wave, trial, arm, task, recipe, seed, budget, outcome, epochs,"
        " seconds, note, metrics, curves, scores_digest, digest, scores FROM runs WHERE position = 3",
        "DELETE FROM facts",
        "UPDATE facts SET document = '{}' WHERE key = 'design'",
        "UPDATE seal SET digest = 'x'",
        "DELETE FROM seal",
        "DROP TABLE facts",
        "CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM facts; END",
        "CREATE INDEX i ON runs (identity)",
    ],
)
def test_rows_changed_behind_its_back_are_found(good: bytes, tmp_path: Path, statement: str):
    path = tmp_path / "changed.db"
    path.write_bytes(good)
    other = sqlite3.connect(path)
    other.execute(statement)
    other.commit()
    other.close()
    assert "is damaged" in look(path)
    before = path.read_bytes()
    if "SET scores" not in statement:  # the bulk is checked when it is read, all else on opening
        with pytest.raises(InputError, match="is damaged"):
            Ledger.open(path, write=True)
    assert path.read_bytes() == before
    assert not (tmp_path / "changed.lock").exists()


def test_a_flipped_bit_in_a_journal_left_by_a_kill(good: bytes, tmp_path: Path):
    """The journal holds the pages before the commit: rolled back, refused, but never half believed."""
    path, copy = tmp_path / "a.db", tmp_path / "copy.db"
    path.write_bytes(good)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA cache_size = 1")  # spills changed pages into the file before the commit
    writer.execute("BEGIN")
    writer.execute("UPDATE runs SET note = hex(randomblob(3000)), seconds = 0")
    torn, journal = path.read_bytes(), (tmp_path / "a.db-journal").read_bytes()
    writer.close()
    assert torn != good
    draw = random.Random(3)
    outcomes = set()
    for attempt in range(150):
        flipped = bytearray(journal)
        if attempt % 3 == 1:
            place = draw.randrange(len(journal) * 8)
            flipped[place // 8] ^= 1 << place % 8
        elif attempt % 3 == 2:
            del flipped[draw.randrange(len(journal)) :]
        copy.write_bytes(torn)
        (tmp_path / "copy.db-journal").write_bytes(flipped)
        outcome = look(copy)
        assert attempt % 3 or outcome == "same"
        outcomes.add(outcome == "same")
    assert outcomes == {True, False}


def test_scores_are_checked_when_they_are_read(good: bytes, tmp_path: Path):
    path = tmp_path / "scores.db"
    path.write_bytes(good)
    with Ledger.open(path, write=False) as ledger:
        other = sqlite3.connect(path)
        other.execute("UPDATE runs SET scores = x'00' WHERE position = 3")
        other.commit()
        other.close()
        assert len(ledger.entries(scores=False)) == COUNT
        with pytest.raises(InputError, match="scores"):
            ledger.entries()


@pytest.mark.parametrize("fewer", [True, False])
def test_damage_done_while_a_reader_is_open(tmp_path: Path, fewer: bool):
    """SQLite reads again what its cache has dropped: a changed digit, or a page that lost rows."""
    path = tmp_path / "open.db"
    full = [sample(number) for number in range(3500)]
    small = [
        replace(entry, result=Result(Outcome.COMPLETE, entry.result.metrics, note="x" * 600))
        for entry in full
    ]
    with Ledger.open(path, write=True) as ledger:
        ledger.record(small)
    with Ledger.open(path, write=False) as ledger:
        assert ledger.get(small[-1].identity) == small[-1]
        content = bytearray(path.read_bytes())
        assert len(content) > 3_000_000  # SQLite's cache holds 2 MB
        if fewer:
            for page in range(4096, len(content), 4096):
                if content[page] == 13 and content[page + 4] > 1:
                    content[page + 4] = 1  # a leaf says that it holds one row
        else:
            content = content.replace(b'"train/loss":0.1', b'"train/loss":0.2')
        with open(path, "r+b") as file:
            file.write(content)
        with pytest.raises(InputError, match="damaged"):
            ledger.entries()
        with pytest.raises(InputError, match="damaged"):
            list(map(ledger.get, [entry.identity for entry in small]))


def forge(path: Path, **cells: Any) -> None:
    """A ledger of one run with some cells replaced, and all digests made right again."""
    columns = [*COLUMNS, "digest", "scores"]
    row = dict(zip(columns, to_row(1, sample(1)), strict=True)) | cells
    row["scores_digest"] = digest([row["scores"]])
    row["digest"] = digest([row[name] for name in COLUMNS])
    path.write_bytes(schema.empty())
    other = sqlite3.connect(path)
    other.execute(schema.INSERT_RUN, [row[name] for name in columns])
    other.execute("UPDATE seal SET digest = ?", (row["digest"],))
    other.commit()
    other.close()


HOSTILE: list[dict[str, Any]] = [
    {"identity": "0" * 16},
    {"recipe": "[" * 100_000},
    {"recipe": "[]"},
    {"recipe": '{"a": 1}'},
    {"recipe": "not json"},
    {"metrics": '{"a": NaN}'},
    {"metrics": '{"a": {"$float": []}}'},
    {"curves": '{"a": 1}'},
    {"curves": "3"},
    {"outcome": "running"},
    {"scores": b"{}"},
    {"scores": b'{"a": 9}\nxx'},
    {"scores": b"\xff\n"},
    {"scores": b'{"a": 2}\n' + zlib.compress(bytes(8))},
    {"scores": b'{"a": "x"}\n' + zlib.compress(bytes(8))},
    {"task": b"bytes"},
]


@pytest.mark.parametrize("cells", HOSTILE, ids=lambda cells: next(iter(cells)))
def test_forged_rows_give_one_line(tmp_path: Path, cells: dict[str, Any]):
    forge(tmp_path / "a.db")
    with Ledger.open(tmp_path / "a.db", write=False) as ledger:
        assert ledger.entries() == [sample(1)]
    forge(tmp_path / "a.db", **cells)
    with pytest.raises(InputError, match="damaged"), Ledger.open(tmp_path / "a.db", write=False) as ledger:
        ledger.entries()
    if "scores" not in cells:  # which `contents` leaves out
        with pytest.raises(InputError, match="damaged"):
            [dict(entry.result.curves) for entry in contents(tmp_path / "a.db")[1]]


FOREIGN = {
    "empty": (b"", "is empty"),
    "text": (b"task = 'digits'\n" * 100, "not an ablate ledger"),
    "short": (b"SQLite format 3\0", "not an ablate ledger"),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("write", [True, False])
def test_foreign_files_are_refused_and_not_touched(tmp_path: Path, name: str, write: bool):
    content, says = FOREIGN[name]
    path = tmp_path / "foreign.db"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        Ledger.open(path, write=write)
    assert path.read_bytes() == content
    assert [item.name for item in tmp_path.iterdir()] == ["foreign.db"]


@pytest.mark.parametrize("write", [True, False])
def test_another_program_s_database_is_refused_and_not_touched(tmp_path: Path, write: bool):
    path = tmp_path / "optuna.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE trials (a)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match="not an ablate ledger"):
        Ledger.open(path, write=write)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("version", "hint"), [(schema.VERSION + 1, "upgrade"), (0, "version of ablate that wrote it")]
)
@pytest.mark.parametrize("write", [True, False])
def test_another_version_is_refused_and_not_touched(
    good: bytes, tmp_path: Path, version: int, hint: str, write: bool
):
    path = tmp_path / "other.db"
    content = good[:60] + version.to_bytes(4, "big") + good[64:]
    path.write_bytes(content)
    with pytest.raises(InputError, match=hint):
        Ledger.open(path, write=write)
    assert path.read_bytes() == content


def test_what_is_not_a_file(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.db")
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "loop.db").symlink_to(tmp_path / "loop.db")
    (tmp_path / "nowhere.db").symlink_to(tmp_path / "missing")
    (tmp_path / "file").write_text("")
    for write in (True, False):
        for name in ("pipe.db", "folder.db", "loop.db", "nowhere.db", "file/a.db", "x" * 300 + ".db"):
            with pytest.raises(InputError):
                Ledger.open(tmp_path / name, write=write)
    with pytest.raises(InputError, match="no ledger"):
        Ledger.open(tmp_path / "missing.db", write=False)
    assert sorted(item.name for item in tmp_path.iterdir()) == [
        "file",
        "folder.db",
        "loop.db",
        "nowhere.db",
        "pipe.db",
    ]


def test_a_journal_without_its_ledger_is_not_played_into_a_new_one(good: bytes, tmp_path: Path):
    path = tmp_path / "a.db"
    path.write_bytes(good)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA cache_size = 1")
    writer.execute("BEGIN")
    writer.execute("UPDATE runs SET note = hex(randomblob(3000))")
    journal = (tmp_path / "a.db-journal").read_bytes()
    writer.close()
    path.unlink()
    (tmp_path / "a.db-journal").write_bytes(journal)
    with Ledger.open(path, write=True) as ledger:
        assert ledger.entries() == []
    assert path.read_bytes() == schema.empty()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)


def test_a_full_disk_at_every_size_keeps_what_was_recorded(tmp_path: Path):
    refused: list[str] = []
    for size in range(512, 60_000, 1536):
        path = tmp_path / f"{size}.db"
        kept = 0
        with largest_file(size):
            try:
                with Ledger.open(path, write=True) as ledger:
                    while kept < 6:
                        ledger.record([sample(kept)])
                        kept += 1
            except AblateError as error:
                refused.append(str(error))
        assert kept or not path.exists() or path.stat().st_size <= size
        with Ledger.open(path, write=True) as ledger:
            assert ledger.entries() == [sample(number) for number in range(kept)]
            ledger.record([sample(number) for number in range(kept, 6)])
            assert ledger.entries() == [sample(number) for number in range(6)]
    assert len(refused) > 10
    assert all(str(tmp_path) in line and "\n" not in line for line in refused)


def test_a_ledger_goes_on_when_there_is_room_again(tmp_path: Path):
    with Ledger.open(tmp_path / "a.db", write=True) as ledger:
        ledger.record([sample(0)])
        with largest_file(20_000), pytest.raises(AblateError, match=r"cannot use .*a\.db"):
            ledger.record([sample(number) for number in range(1, 9)])
        assert ledger.entries() == [sample(0)]
        ledger.record([sample(number) for number in range(1, 9)])
        assert ledger.entries() == [sample(number) for number in range(9)]


def test_a_folder_that_may_not_be_written(tmp_path: Path):
    """As an ordinary user: root may write anywhere."""
    code = (
        "import os, sys\n"
        "from ablate.ledger.store import Ledger\n"
        "from ablate.records.errors import InputError\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "try: Ledger.open(sys.argv[1], write=True)\n"
        "except InputError as error: print(error)\n"
    )
    (tmp_path / "closed").mkdir(mode=0o555)
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "closed" / "a.db")],
        env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Permission denied; choose a folder that you may write to" in done.stdout


def test_a_forged_identity_is_not_handed_out(tmp_path: Path):
    forge(tmp_path / "a.db", identity="0" * 16)
    with (
        Ledger.open(tmp_path / "a.db", write=False) as ledger,
        pytest.raises(InputError, match="another identity"),
    ):
        ledger.get("0" * 16)
