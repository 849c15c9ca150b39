"""Rows for CSV files: the documented columns, the same bytes every time, no formulas."""

from __future__ import annotations

import csv
import io
import math
import os
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ledger_samples import METRICS, sample

from ablate.ledger import export
from ablate.ledger.entry import Entry
from ablate.ledger.export import (
    CURVE_COLUMNS,
    RUN_COLUMNS,
    curve_rows,
    run_columns,
    write_columns,
    write_csv,
    write_curves,
)
from ablate.ledger.store import Ledger
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run

HERE = Path(__file__).parent
PLAIN = Entry(
    Run("digits", Recipe({"sgd": {"lr": 0.1}}), 3, 20),
    Result(
        Outcome.PRUNED,
        {"validation/accuracy": 0.5},
        {"b": (0.25,), "a": (1.0, math.nan)},
        epochs=2,
        seconds=1.5,
    ),
    "search",
)
OTHER = Entry(
    Run("digits", Recipe({"dropout": {"p": 0.2, "inplace": True}, "ema": {}}), 4, 20),
    Result(Outcome.DIVERGED, {"train/loss": -math.inf}, epochs=7, seconds=2.0),
    "rank",
    wave=2,
)


def test_run_columns_by_hand():
    columns = run_columns([PLAIN, OTHER])
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    assert [list(row) for row in rows] == [
        [*RUN_COLUMNS, "dropout.on", "dropout.inplace", "dropout.p", "ema.on", "sgd.on", "sgd.lr",
         "train/loss", "validation/accuracy", "seconds"]
    ] * 2  # fmt: skip
    assert list(rows[0].values()) == [
        PLAIN.run.identity, "search", PLAIN.run.recipe.hash, 3, 0, "pruned", 2,
        0, None, None, 0, 1, 0.1, None, 0.5, 1.5,
    ]  # fmt: skip
    assert list(rows[1].values()) == [
        OTHER.run.identity, "rank", OTHER.run.recipe.hash, 4, 2, "diverged", 7,
        1, True, 0.2, 1, 0, None, -math.inf, None, 2.0,
    ]  # fmt: skip
    assert run_columns([]) == {}


def test_curve_rows_by_hand():
    rows = list(curve_rows([PLAIN, OTHER]))
    assert [row[:3] for row in rows] == [(PLAIN.identity, *at) for at in (("a", 1), ("a", 2), ("b", 1))]
    assert [row[3] for row in rows][::2] == [1.0, 0.25]


def test_the_file_reads_back_as_the_same_doubles(tmp_path: Path):
    entries = [sample(number) for number in range(20)]
    write_columns(tmp_path / "runs.csv", run_columns(entries))
    write_curves(tmp_path / "curves.csv", entries, str)
    runs = pandas.read_csv(tmp_path / "runs.csv", dtype={"run": str, "recipe": str})
    curves = pandas.read_csv(tmp_path / "curves.csv", dtype={"run": str})
    assert list(runs["run"]) == [entry.identity for entry in entries]
    assert list(runs["dropout.p"]) == [entry.run.recipe["dropout"]["p"] for entry in entries]
    assert list(runs["adam.nesterov"]) == [entry.run.recipe["adam"]["nesterov"] for entry in entries]
    for metric in METRICS:
        assert list(runs[metric]) == [entry.result.metrics[metric] for entry in entries]
        mine = curves[(curves["run"] == entries[7].identity) & (curves["metric"] == metric)]
        assert tuple(mine.sort_values("epoch")["value"]) == entries[7].result.curves[metric]


def test_the_same_ledger_gives_the_same_bytes_in_another_process(tmp_path: Path):
    with Ledger.open(tmp_path / "a.db", write=True) as ledger:
        ledger.record([PLAIN, OTHER, *(sample(number) for number in range(5))])
        write_columns(tmp_path / "runs.csv", run_columns(ledger.entries()))
        write_curves(tmp_path / "curves.csv", ledger.entries(), str)
    code = (
        "import sys; from ablate.ledger.store import Ledger; from ablate.ledger.export import *\n"
        "with Ledger.open(sys.argv[1] + '/a.db', write=False) as ledger: entries = ledger.entries()\n"
        "write_columns(sys.argv[1] + '/runs2.csv', run_columns(entries))\n"
        "write_curves(sys.argv[1] + '/curves2.csv', entries, str)\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(HERE.parent.parent)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
    for name in ("runs", "curves"):
        assert (tmp_path / f"{name}.csv").read_bytes() == (tmp_path / f"{name}2.csv").read_bytes()


FORMULAS = [
    "=1+1",
    "+1+1",
    "-1-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "=cmd|' /C calc'!A0",
    "＝1",
    "+",
    "-",
    "-1_0",
    "+١",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_neutralised_in_cells_and_headers(tmp_path: Path, text: str):
    write_csv(tmp_path / "a.csv", [{"note": text, text: "x"}])
    neutral = "'" + text.replace("\r", "\n")
    with open(tmp_path / "a.csv", encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["note", neutral], [neutral, "x"]]


def test_numbers_are_left_alone(tmp_path: Path):
    row = {
        "a": -1,
        "b": -0.5,
        "c": -math.inf,
        "d": "-1e-05",
        "e": "+2",
        "f": "-inf",
        "g": math.nan,
        "h": None,
        "i": True,
    }
    write_csv(tmp_path / "a.csv", [row])
    assert (tmp_path / "a.csv").read_text().splitlines()[1] == "-1,-0.5,-inf,-1e-05,+2,-inf,nan,,true"


@settings(deadline=None)  # no wall-time limit on a loaded machine
@given(st.lists(st.text(), min_size=1, max_size=4))
@example(["a\rb", "\r\n", "\x85\u2028", "\x00", '"'])
def test_any_text_stays_in_its_cell(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    columns = [f"c{number}" for number in range(len(texts))]
    write_csv(path, [dict(zip(columns, texts, strict=True))] * 2)
    read = list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))
    plain = [text.replace("\r\n", "\n").replace("\r", "\n") for text in texts]
    assert read[0] == columns
    for row in read[1:]:
        assert all(cell in (text, "'" + text) for cell, text in zip(row, plain, strict=True))
    assert len(read) == 3


def test_no_rows_and_wrong_rows(tmp_path: Path):
    write_csv(tmp_path / "none.csv", [], CURVE_COLUMNS)
    assert (tmp_path / "none.csv").read_text() == "run,metric,epoch,value\n"
    write_csv(tmp_path / "empty.csv", [])
    assert (tmp_path / "empty.csv").read_text() == ""
    with pytest.raises(ValueError, match="'b'"):
        write_csv(tmp_path / "wrong.csv", [{"a": 1}, {"a": 1, "b": 2}])
    assert not (tmp_path / "wrong.csv").exists()


@pytest.mark.parametrize("at_once", [1, 7, export.ROWS_AT_ONCE])
def test_curves_are_written_as_rows_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int):
    monkeypatch.setattr(export, "ROWS_AT_ONCE", at_once)
    entries = [PLAIN, OTHER, *(sample(number) for number in range(5))]
    rows = [dict(zip(CURVE_COLUMNS, row, strict=True)) for row in curve_rows(entries)]
    write_csv(tmp_path / "rows.csv", [{**row, "metric": f"=, {row['metric']}"} for row in rows])
    write_curves(tmp_path / "curves.csv", entries, lambda metric: f"=, {metric}")
    assert (tmp_path / "curves.csv").read_bytes() == (tmp_path / "rows.csv").read_bytes()
    write_curves(tmp_path / "none.csv", [], str)
    assert (tmp_path / "none.csv").read_text() == "run,metric,epoch,value\n"


@pytest.mark.parametrize("at_once", [1, 2, export.ROWS_AT_ONCE])
def test_columns_are_written_as_rows_are(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(export, "ROWS_AT_ONCE", at_once)
    columns = {
        "texts": ["ab", "=1", "caf\u00e9, 3"],
        "gaps": [0.1, None, 2.0],
        "=a": [1, -2, 3],
        "b": [0.1, float("nan"), -1e300],
        "c": ["=1+1", None, True],
        "d": [1, 2.5, "x\r\ny"],
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    write_csv(tmp_path / "rows.csv", rows)
    write_columns(tmp_path / "columns.csv", columns)
    assert (tmp_path / "columns.csv").read_bytes() == (tmp_path / "rows.csv").read_bytes()
