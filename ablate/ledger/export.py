"""Rows of `runs.csv` and `curves.csv`, and a CSV writer that is safe against formula injection.

Equal entries give equal bytes: columns are sorted, rows are in the ledger's order, numbers are written as the
shortest decimal that reads back as the same double (`nan`, `inf`, `-inf` if not finite).
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from ablate.ledger.entry import Entry
from ablate.records.files import write_text

Row = dict[str, Any]
RUN_COLUMNS = ("run", "stage", "recipe", "seed", "wave", "outcome", "epochs")
CURVE_COLUMNS = ("run", "metric", "epoch", "value")
_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|nan)", re.IGNORECASE | re.ASCII)
# Prefixes that spreadsheets interpret as a formula (OWASP, "CSV injection"), including full-width forms.
_FORMULA = ("=", "+", "-", "@", "\t", "\n", "＝", "＋", "－", "＠")


def runs_rows(entries: Iterable[Entry]) -> list[Row]:
    """One row per run: RUN_COLUMNS, one column per trick (`dropout.on`: 0 or 1), per parameter (`dropout.p`)
    and per metric (`validation/accuracy`), `seconds`.

    `run` is the identity, `recipe` the hash, `epochs` the epochs trained. Every row has every column; None
    if a trick is off or a metric was not measured.
    """
    entries = list(entries)
    recipes = [entry.run.recipe for entry in entries]
    parameters: dict[str, set[str]] = {}
    for recipe in set(recipes):
        for name, settings in recipe.items():
            parameters.setdefault(name, set()).update(settings)
    columns = {
        name: [(parameter, f"{name}.{parameter}") for parameter in sorted(own)]
        for name, own in sorted(parameters.items())
    }
    metrics = sorted({metric for entry in entries for metric in entry.result.metrics})
    rows: list[Row] = []
    for entry in entries:
        run, result, recipe = entry.run, entry.result, entry.run.recipe
        head = (
            run.identity,
            entry.stage,
            recipe.hash,
            run.seed,
            entry.wave,
            str(result.outcome),
            result.epochs,
        )
        row: Row = dict(zip(RUN_COLUMNS, head, strict=True))
        for name, own in columns.items():
            row[f"{name}.on"] = int(name in recipe)
            values = recipe.get(name, {})
            for parameter, column in own:
                row[column] = values.get(parameter)
        row.update({metric: result.metrics.get(metric) for metric in metrics})
        row["seconds"] = result.seconds
        rows.append(row)
    return rows


def curve_rows(entries: Iterable[Entry]) -> Iterator[Row]:
    """One row per run, metric and epoch (from 1) with CURVE_COLUMNS. Runs in order, metrics sorted."""
    for entry in entries:
        for metric, curve in sorted(entry.result.curves.items()):
            for epoch, value in enumerate(curve, start=1):
                yield {"run": entry.identity, "metric": metric, "epoch": epoch, "value": value}


def write_csv(
    path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None
) -> None:
    """Write `rows` atomically as CSV: UTF-8, comma, `\\n`. `columns`: by default those of the first row.

    Text, also in the header, that a spreadsheet would interpret as a formula gets a leading apostrophe; newlines
    inside a cell become `\\n`. Raises InputError if the file cannot be written, ValueError for a row with other columns.
    """
    columns = list(columns if columns is not None else rows[0] if rows else ())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if columns:
        writer.writerow([_cell(column) for column in columns])
    expected = set(columns)
    for row in rows:
        if row.keys() != expected:
            raise ValueError(
                f"the columns of a row differ from the header: {sorted(row.keys() ^ set(columns))}"
            )
        writer.writerow([_cell(row[column]) for column in columns])
    write_text(path, text.getvalue())


def write_columns(path: str | os.PathLike[str], columns: Mapping[str, Sequence[Any]]) -> None:
    """As `write_csv`, for values that stand in columns of equal length (many rows: several times quicker)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_cell(name) for name in columns])
    writer.writerows(zip(*map(_cells, columns.values()), strict=True))
    write_text(path, text.getvalue())


def _cells(values: Sequence[Any]) -> Iterable[str]:
    """The cells of a column; numbers of one type need no look at each."""
    kinds = set(map(type, values))
    return map(repr, values) if kinds <= {float} or kinds <= {int} else map(_cell, values)


def _cell(value: Any) -> str:
    if type(value) is float:
        return repr(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(float(value))  # a NumPy float64 is a float with a different repr
    return _text_cell(str(value))


@lru_cache(maxsize=1 << 14)
def _text_cell(text: str) -> str:
    # Most readers end a row at a bare carriage return, and Python's csv writes it unquoted.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text
