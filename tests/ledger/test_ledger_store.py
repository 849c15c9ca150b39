"""What goes into a ledger comes out, once, in order, bit for bit."""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_samples import bits, same, sample
from ledger_strategies import documents, entries

from ablate.ledger import contents as contents_module
from ablate.ledger import schema, store
from ablate.ledger.codec import decode, encode, pack, unpack
from ablate.ledger.contents import contents
from ablate.ledger.entry import Entry
from ablate.ledger.foreign_tables import foreign_tables
from ablate.ledger.rows import curves_of, to_row
from ablate.ledger.store import Ledger
from ablate.records.errors import AblateError, InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} in JSON")


@settings(max_examples=60, deadline=None)
@given(batch=st.lists(entries, max_size=4, unique_by=lambda entry: entry.identity), facts=documents)
def test_any_entry_and_document_round_trips_bit_for_bit(tmp_path_factory, batch, facts):
    path = tmp_path_factory.mktemp("round") / "study.db"
    with Ledger.open(path, write=True) as ledger:
        ledger.record(batch)
        ledger.put("facts", facts)
        written = ledger.entries()
    with Ledger.open(path, write=False) as ledger:
        read = ledger.entries()
        assert len(read) == len(written) == len(batch)
        assert all(same(*pair) for pair in zip(read, batch, strict=True))
        assert all(same(*pair) for pair in zip(written, batch, strict=True))
        for entry in batch:
            assert same(ledger.get(entry.identity), entry)
        assert bits(ledger.fact("facts")) == bits(facts)
        assert ledger.finished() == {entry.identity for entry in batch if entry.result.outcome.finished}
    documents, once = contents(path)
    assert bits(documents) == bits({"facts": facts})
    plain = [replace(entry, result=replace(entry.result, scores={})) for entry in batch]
    assert len(once) == len(plain)
    assert all(same(*pair) for pair in zip(once, plain, strict=True))


def test_curves_that_nobody_reads_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with Ledger.open(tmp_path / "a.db", write=True) as ledger:
        ledger.record([sample(number) for number in range(3)])
    asked: list[str] = []
    monkeypatch.setattr(contents_module, "curves_of", lambda text: asked.append(text) or curves_of(text))
    curves = contents(tmp_path / "a.db")[1][1].result.curves
    assert asked == []
    assert curves == sample(1).result.curves
    asked.clear()
    assert sorted(curves.items()) == sorted(sample(1).result.curves.items())
    assert len(asked) == 1
    assert (curves["test/loss"], curves.get("none"), len(curves)) == (
        sample(1).result.curves["test/loss"],
        None,
        6,
    )


def test_runs_are_counted_by_stage(tmp_path: Path):
    with Ledger.open(tmp_path / "a.db", write=True) as ledger:
        assert ledger.count() == 0
        ledger.record([sample(number) for number in range(3)])
        stages = Counter(entry.stage for entry in ledger.entries())
        assert ledger.count() == 3
        assert {stage: ledger.count(stage) for stage in stages} == stages
        assert ledger.count(*stages, "no such stage") == 3
        assert ledger.count("no such stage") == 0


@given(documents)
def test_documents_are_strict_json_for_other_readers(document):
    text = encode(document)
    assert text.isascii()
    json.loads(text, parse_constant=refuse)
    assert bits(decode(text)) == bits(document)
    with pytest.raises(ValueError):
        decode(text + "]")


def test_not_a_number_is_tagged_and_readable_by_sql(tmp_path: Path):
    result = Result(
        Outcome.DIVERGED, {"validation/loss": math.nan, "b": -math.inf}, {"train/loss": (0.5, math.inf)}
    )
    entry = sample(1)
    entry = type(entry)(entry.run, result, "search")
    with Ledger.open(tmp_path / "a.db", write=True) as ledger:
        ledger.record([entry])
    with sqlite3.connect(tmp_path / "a.db") as other:
        metrics, curves = other.execute("SELECT metrics, curves FROM runs").fetchone()
        (valid,) = other.execute("SELECT json_valid(metrics) AND json_valid(curves) FROM runs").fetchone()
    other.close()
    assert valid == 1
    assert json.loads(metrics)["validation/loss"] == {"$float": "nan"}
    assert json.loads(curves)["train/loss"] == [0.5, {"$float": "inf"}]


@given(st.dictionaries(st.text(), st.lists(st.floats(width=64)), max_size=3))
def test_scores_pack_and_unpack(scores):
    assert bits(unpack(pack(scores))) == bits({split: tuple(values) for split, values in scores.items()})


def test_numpy_like_floats_are_stored_as_doubles(tmp_path: Path):
    class Single:
        def __float__(self) -> float:
            return 0.1

    entry = sample(1)
    result = Result(Outcome.COMPLETE, {"a": Single()}, {"a": (Single(),)}, {"a": (Single(),)})
    with Ledger.open(tmp_path / "a.db", write=True) as ledger:
        ledger.record([type(entry)(entry.run, result, "search")])
        read = ledger.entries()[0].result
    assert (read.metrics["a"], read.curves["a"], read.scores["a"]) == (0.1, (0.1,), (0.1,))


def test_a_finished_identity_is_recorded_once(tmp_path: Path):
    with Ledger.open(tmp_path / "a.db", write=True) as ledger:
        ledger.record([sample(1), sample(2)])
        for batch in ([sample(1)], [sample(3), sample(1)], [sample(3), sample(3)]):
            with pytest.raises(AblateError, match="already"):
                ledger.record(batch)
        with pytest.raises(AblateError, match="already"):
            ledger.record([sample(2, outcome=Outcome.INTERRUPTED)])
        assert ledger.entries() == [sample(1), sample(2)]
        ledger.record([sample(3)])
        assert ledger.entries() == [sample(1), sample(2), sample(3)]


def test_an_interrupted_run_is_replaced_at_the_end(tmp_path: Path):
    interrupted = sample(1, outcome=Outcome.INTERRUPTED)
    with Ledger.open(tmp_path / "a.db", write=True) as ledger:
        ledger.record([interrupted, sample(2)])
        assert ledger.finished() == {sample(2).identity}
        assert ledger.get(interrupted.identity) == interrupted
        ledger.record([interrupted])
        ledger.record([sample(1)])
    with Ledger.open(tmp_path / "a.db", write=True) as ledger:
        assert ledger.entries() == [sample(2), sample(1)]
        assert ledger.finished() == {sample(1).identity, sample(2).identity}


def test_stages_scores_and_what_is_not_there(tmp_path: Path):
    with Ledger.open(tmp_path / "a.db", write=True) as ledger:
        ledger.record([sample(1), sample(2, stage="rank"), sample(3)])
        ledger.record([])
        assert ledger.entries("search") == [sample(1), sample(3)]
        assert ledger.entries("nothing") == []
        bare = ledger.entries("rank", scores=False)[0]
        assert bare.result.scores == {}
        assert bare.result.curves == sample(2).result.curves
        assert ledger.get("0" * 16) is None


def test_facts_keep_the_last_document(tmp_path: Path):
    with Ledger.open(tmp_path / "a.db", write=True) as ledger:
        ledger.put("design", {"rows": [1, 2]})
        ledger.put("environment", {"torch": "2.13"})
        ledger.put("design", {"rows": [3]})
        ledger.fact("design")["rows"].append(4)  # a copy: the ledger does not change
        assert ledger.facts() == {"design": {"rows": [3]}, "environment": {"torch": "2.13"}}
        assert ledger.fact("missing") is None
        assert ledger.fact("missing", 3) == 3
        for wrong in ({1: 2}, {"a": object()}, {"a": {1, 2}}):
            with pytest.raises(TypeError):
                ledger.put("wrong", wrong)
    with Ledger.open(tmp_path / "a.db", write=False) as ledger:
        assert list(ledger.facts()) == ["design", "environment"]


def test_readers_follow_a_writer_and_cannot_write(tmp_path: Path):
    with (
        Ledger.open(tmp_path / "a.db", write=True) as writer,
        Ledger.open(tmp_path / "a.db", write=False) as reader,
    ):
        assert reader.entries() == []
        for number in range(5):
            writer.record([sample(number)])
            writer.put("count", number)
            assert reader.fact("count") == number
            assert reader.entries() == [sample(each) for each in range(number + 1)]
            assert reader.get(sample(number).identity) == sample(number)
        for write in (lambda: reader.record([sample(9)]), lambda: reader.put("a", 1)):
            with pytest.raises(AblateError, match="reading only"):
                write()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.db"]


def test_a_copy_of_the_one_file_is_the_study(tmp_path: Path):
    with Ledger.open(tmp_path / "a.db", write=True) as ledger:
        for number in range(3):
            ledger.record([sample(number)])
            (tmp_path / "copy.db").write_bytes((tmp_path / "a.db").read_bytes())
            with Ledger.open(tmp_path / "copy.db", write=False) as copy:
                assert copy.entries() == [sample(each) for each in range(number + 1)]


def test_a_failed_record_leaves_the_ledger_as_it_was(tmp_path: Path):
    huge, wrong = sample(2), sample(3)
    huge = type(huge)(type(huge.run)("digits", huge.run.recipe, 2**63, 20), huge.result, "search")
    wrong = type(wrong)(wrong.run, Result(Outcome.COMPLETE, {"a": "text"}), "search")
    with Ledger.open(tmp_path / "a.db", write=True) as ledger:
        with pytest.raises(InputError, match="64 bits"):
            ledger.record([sample(1), huge])
        with pytest.raises(ValueError, match="text"):
            ledger.record([sample(1), wrong])
        with pytest.raises(InputError, match="Unicode"):
            ledger.record([type(huge)(wrong.run, wrong.result, "\udc80")])
        ledger.record([sample(1)])
        assert ledger.entries() == [sample(1)]


def test_a_note_that_is_not_unicode_is_kept_readable(tmp_path: Path):
    entry = sample(1)
    with Ledger.open(tmp_path / "a.db", write=True) as ledger:
        ledger.record([type(entry)(entry.run, Result(Outcome.FAILED, note="no file a\udc80b"), "search")])
        assert ledger.entries()[0].result.note == "no file a\\udc80b"


def test_recipes_keep_the_type_of_their_settings(tmp_path: Path):
    recipe = Recipe(
        {"a": {"one": 1, "float": 1.0, "true": True, "text": "nan", "tiny": 5e-324, "$float": "x"}}
    )
    entry = sample(1)
    with Ledger.open(tmp_path / "a.db", write=True) as ledger:
        ledger.record([type(entry)(type(entry.run)("t", recipe, 0, 1), entry.result, "search")])
        read = ledger.entries()[0].run.recipe
    assert read.hash == recipe.hash
    assert [type(value) for value in read["a"].values()] == [type(value) for value in recipe["a"].values()]


def test_two_drivers_in_spite_of_the_lock_are_found(tmp_path: Path):
    with Ledger.open(tmp_path / "a.db", write=True) as first:
        first.record([sample(1)])
        os.unlink(tmp_path / "a.lock")
        with Ledger.open(tmp_path / "a.db", write=True) as second:
            second.record([sample(2)])
        for attempt in (lambda: first.record([sample(3)]), lambda: first.put("a", 1), first.entries):
            with pytest.raises(AblateError, match="another process has written"):
                attempt()
    with Ledger.open(tmp_path / "a.db", write=False) as reader:
        assert reader.entries() == [sample(1), sample(2)]


def test_a_foreign_commit_in_the_last_moment_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with Ledger.open(tmp_path / "a.db", write=True) as first:
        os.unlink(tmp_path / "a.lock")

        def late(position: int, entry: Entry) -> tuple[Any, ...]:
            monkeypatch.undo()
            with Ledger.open(tmp_path / "a.db", write=True) as second:
                second.record([sample(2)])
            return to_row(position, entry)

        monkeypatch.setattr("ablate.ledger.store.to_row", late)
        with pytest.raises(AblateError, match="another process has written"):
            first.record([sample(1)])
    with Ledger.open(tmp_path / "a.db", write=False) as reader:
        assert reader.entries() == [sample(2)]


def test_sqlite_itself_refuses_a_reader_s_writes(tmp_path: Path):
    Ledger.open(tmp_path / "a.db", write=True).close()
    connection = schema.connect(tmp_path / "a.db", write=False)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM runs")
    connection.close()


def test_tables_of_another_program_are_tolerated_and_named(tmp_path: Path):
    """`optuna.get_all_study_names("sqlite:///x.db")` makes its tables in whatever file it is shown, even under a driver."""
    path = tmp_path / "a.db"
    with Ledger.open(path, write=True) as ledger:
        ledger.record([sample(1)])
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE studies (study_id INTEGER PRIMARY KEY, study_name VARCHAR(512) UNIQUE)")
        other.execute("CREATE INDEX ix_studies ON studies (study_name)")
        other.execute("INSERT INTO studies VALUES (1, 'x')")
        other.commit()
        other.close()
        assert ledger.finished() == {sample(1).identity}
        ledger.record([sample(2)])
    with Ledger.open(path, write=True) as ledger:
        assert "left alone: studies" in foreign_tables(path)
        assert ledger.entries() == [sample(1), sample(2)]
        ledger.record([sample(3)])
    assert len(sqlite3.connect(path).execute("SELECT * FROM studies").fetchall()) == 1
    clean = tmp_path / "clean.db"
    Ledger.open(clean, write=True).close()
    assert foreign_tables(clean) == ""


def test_the_facts_alone_are_read_without_a_look_at_the_runs(tmp_path: Path):
    """Opening checks every run; who asks for a study's settings first does not wait for that."""
    path = tmp_path / "study.db"
    with Ledger.open(path, write=True) as ledger:
        ledger.record([sample(number) for number in range(3)])
        ledger.put("study", {"epochs": 3, "rate": math.inf})
    assert Ledger.facts_of(path) == {"study": {"epochs": 3, "rate": math.inf}}
    change(path, "UPDATE runs SET epochs = epochs + 1 WHERE position = 2")
    assert Ledger.facts_of(path) == {"study": {"epochs": 3, "rate": math.inf}}
    with pytest.raises(InputError, match="damaged"):
        Ledger.open(path, write=False)
    change(path, "UPDATE facts SET document = '{}'")
    with pytest.raises(InputError, match="a fact's checksum is wrong"):
        Ledger.facts_of(path)
    with pytest.raises(InputError, match="there is no ledger"):
        Ledger.facts_of(tmp_path / "none.db")


def change(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("at_once", [1, 3, 500])
def test_many_runs_are_asked_for_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int):
    monkeypatch.setattr(store, "AT_ONCE", at_once)
    written = [sample(number) for number in range(8)]
    with Ledger.open(tmp_path / "study.db", write=True) as ledger:
        ledger.record(written)
        asked = [written[number].identity for number in (6, 1, 5, 0, 6)]
        entries_by_name = ledger.get_all([*asked, "unknown"])
        assert list(entries_by_name) == [written[number].identity for number in (0, 1, 5, 6)]
        assert all(same(entries_by_name[name], ledger.get(name)) for name in asked)
        assert ledger.get_all([]) == {}
