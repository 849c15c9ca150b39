"""Columns of `runs.csv`, rows of `curves.csv`, and a CSV writer that is safe against formula injection.

Equal entries give equal bytes: columns are sorted, rows are in the order that was given, numbers are written as the
shortest decimal that reads back as the same double (`nan`, `inf`, `-inf` if not finite).
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import chain, islice
from typing import Any

from ablate.ledger.entry import Entry
from ablate.records.files import write_parts

Columns = dict[str, list[Any]]
RUN_COLUMNS = ("run", "stage", "recipe", "seed", "wave", "outcome", "epochs")
CURVE_COLUMNS = ("run", "metric", "epoch", "value")
ROWS_AT_ONCE = 10_000
_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|nan)", re.IGNORECASE | re.ASCII)
# Prefixes that spreadsheets interpret as a formula (OWASP, "CSV injection"), including full-width forms.
_FORMULA = ("=", "+", "-", "@", "\t", "\n", "＝", "＋", "－", "＠")


def run_columns(entries: Sequence[Entry]) -> Columns:
    """The columns of `runs.csv`, each with one value per run: RUN_COLUMNS, one per trick (`dropout.on`: 0 or 1), per parameter
    (`dropout.p`) and per metric (`validation/accuracy`), `seconds`. Empty without runs.

    `run` is the identity, `recipe` the hash, `epochs` the epochs trained. None if a trick is off or a metric was not measured.
    """
    if not entries:
        return {}
    recipes = {entry.run.recipe.hash: entry.run.recipe for entry in entries}
    numbers = {name: number for number, name in enumerate(recipes)}
    hashes = [entry.run.recipe.hash for entry in entries]
    places = [numbers[name] for name in hashes]
    results = [entry.result for entry in entries]

    # Recipe by recipe, so that each is in the processor's cache once: a look-up for each column takes three times as long.
    switches: Columns = {}
    settings: dict[str, Columns] = {}
    for number, recipe in enumerate(recipes.values()):
        for trick, given in recipe.tricks.items():
            if trick not in switches:
                switches[trick], settings[trick] = [0] * len(recipes), {}
            switches[trick][number] = 1
            of_trick = settings[trick]
            for parameter, value in given.items():
                if parameter not in of_trick:
                    of_trick[parameter] = [None] * len(recipes)
                of_trick[parameter][number] = value

    def by_run(values: list[Any]) -> list[Any]:
        return values if len(values) == len(hashes) else [values[place] for place in places]

    heads = (
        [entry.identity for entry in entries],
        [entry.stage for entry in entries],
        hashes,
        [entry.run.seed for entry in entries],
        [entry.wave for entry in entries],
        [str(result.outcome) for result in results],
        [result.epochs for result in results],
    )
    columns: Columns = dict(zip(RUN_COLUMNS, heads, strict=True))
    for name in sorted(switches):
        columns[f"{name}.on"] = by_run(switches[name])
        for parameter, values in sorted(settings[name].items()):
            columns[f"{name}.{parameter}"] = by_run(values)
    for metric in sorted({metric for result in results for metric in result.metrics}):
        columns[metric] = [result.metrics.get(metric) for result in results]
    return {**columns, "seconds": [result.seconds for result in results]}


def curve_rows(entries: Iterable[Entry]) -> Iterator[tuple[str, str, int, float]]:
    """One row per run, metric and epoch (from 1), in the order of CURVE_COLUMNS. Runs in order, metrics sorted."""
    for entry in entries:
        run = entry.identity
        for metric, curve in sorted(entry.result.curves.items()):
            for epoch, value in enumerate(curve, start=1):
                yield run, metric, epoch, value


def write_csv(
    path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None
) -> None:
    """Write `rows` atomically as CSV: UTF-8, comma, `\\n`. `columns`: by default those of the first row.

    Text, also in the header, that a spreadsheet would interpret as a formula gets a leading apostrophe; newlines
    inside a cell become `\\n`. Raises InputError if the file cannot be written, ValueError for a row with other columns.
    """
    columns = list(columns if columns is not None else rows[0] if rows else ())
    expected = set(columns)
    for row in rows:
        if row.keys() != expected:
            raise ValueError(
                f"the columns of a row differ from the header: {sorted(row.keys() ^ set(columns))}"
            )
    write_table(path, columns, ([_cell(row[column]) for column in columns] for row in rows))


def write_columns(path: str | os.PathLike[str], columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns as `write_csv` does rows, for columns of equal length (several times faster for many rows)."""
    write_table(path, list(columns), zip(*map(_cells, columns.values()), strict=True))


def write_curves(
    path: str | os.PathLike[str], entries: Iterable[Entry], name_of: Callable[[str], str]
) -> None:
    """`curves.csv`: `curve_rows`, with the metrics called `name_of(metric)`."""

    @cache
    def cell(metric: str) -> str:
        """The name as it stands in the file, quoted where it must be."""
        return _csv([[_text_cell(name_of(metric)), ""]]).removesuffix(",\n")

    def lines() -> Iterator[str]:
        yield ",".join(CURVE_COLUMNS) + "\n"
        for entry in entries:
            run = entry.identity
            for metric, curve in sorted(entry.result.curves.items()):
                name = cell(metric)
                yield "".join([f"{run},{name},{epoch},{value!r}\n" for epoch, value in enumerate(curve, 1)])

    _write(path, map("".join, _batches(lines())))


def write_table(path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows of cells that are ready, atomically. `header`: names of the columns. Raises InputError."""
    head = [[_cell(name) for name in header]] if header else []
    _write(path, map(_csv, _batches(chain(head, rows))))


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _batches(values: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """`values` in tuples of at most ROWS_AT_ONCE: a table of a million runs is written as it is made."""
    iterator = iter(values)
    while some := tuple(islice(iterator, ROWS_AT_ONCE)):
        yield some


def _write(path: str | os.PathLike[str], parts: Iterable[str]) -> None:
    write_parts(path, (part.encode("utf-8", "backslashreplace") for part in parts))


def _cells(values: Sequence[Any]) -> Iterable[Any]:
    """The cells of a column; values of one type need no check of each."""
    kinds = set(map(type, values))
    if kinds <= {float, int, type(None)}:
        return values  # which the CSV writer of Python writes as `_cell` does
    if kinds <= {str}:
        return [text if text.isascii() and text.isalnum() else _text_cell(text) for text in values]
    return map(_cell, values)


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
