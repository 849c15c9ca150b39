"""Tables as other programs export them, read into plain labels, numbers and outcomes; what was odd is told."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd

from ablate.ranking.estimation.least_squares import Matrix
from ablate.records.errors import InputError, did_you_mean

NOTHING = ("", "nan", "na", "n/a", "#n/a", "<na>", "-", "–")
NONE_WORDS = ("none", "null")
_TRUTH = {"true": "True", "1": "True", "false": "False", "0": "False"}
_FINISHED = ("complete", "completed", "finished", "success", "succeeded", "done")
_CRASHED = {
    "crashed": "failed", "fail": "failed", "failure": "failed", "error": "failed", "nan": "diverged",
    "inf": "diverged", "oom": "out_of_memory", "diverged": "diverged", "failed": "failed",
    "out_of_memory": "out_of_memory",
}  # fmt: skip
_UNFINISHED = (
    "pruned", "running", "waiting", "killed", "interrupted", "queued", "preempted", "preempting", "pending",
    "scheduled",
)  # fmt: skip
_STATES = ("outcome", "state", "status")
_IDENTITIES = ("id", "run", "run_id", "run id", "run_name", "name", "created", "created_at", "_timestamp", "_runtime")  # fmt: skip
_COMMA_DECIMAL = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")


def read_table(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """A CSV (comma, semicolon or tab; UTF-8 with or without BOM) and notes on how it was read.

    The index holds line numbers of the file, the header being line 1. The words None and null stay words: they
    are levels. Raises InputError in one line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"the table {path} cannot be read: {error.strerror}", hint="give a CSV with a header"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"the table {path} cannot be read: it is not UTF-8 text", hint="export it as CSV, UTF-8"
        ) from error
    header = text.lstrip("\r\n").partition("\n")[0]
    separator = max(",;\t", key=header.count)
    notes = []
    comma = separator == ";" and any(
        _COMMA_DECIMAL.fullmatch(cell.strip().strip('"')) for line in text.splitlines() for cell in line.split(";")
    )  # fmt: skip
    if separator != ",":
        name = "semicolons" if separator == ";" else "tabs"
        notes.append(f"{name} separate the columns{', and the decimal sign is a comma' if comma else ''}")
    names = [name.strip() for name in next(csv.reader([header.rstrip("\r")], delimiter=separator), [])]
    if twice := next((name for name in names if name and names.count(name) > 1), None):
        raise InputError(f"the table has two columns called '{twice}'", hint="rename one")
    short_row(text, separator, len(names))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row that is longer than the header
            frame = pd.read_csv(
                StringIO(text), sep=separator, decimal="," if comma else ".", keep_default_na=False,
                na_values=["", "NaN", "nan", "NA", "N/A", "n/a", "#N/A", "<NA>"], skip_blank_lines=False,
                skipinitialspace=True, index_col=False,
            )  # fmt: skip
    except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"the table {path} cannot be read: {reason}", hint="give a CSV with a header"
        ) from error
    frame.columns = [str(column).strip() for column in frame.columns]
    frame.index = pd.Index(np.arange(len(frame)) + 2)
    return frame.dropna(how="all"), notes


def short_row(text: str, separator: str, columns: int) -> None:
    """Raise InputError for a row with fewer fields than the header: a line that was cut off, not a failed run."""
    rows = csv.reader(StringIO(text), delimiter=separator, skipinitialspace=True)
    try:
        for row in rows:
            if any(cell.strip() for cell in row) and len(row) < columns:
                raise InputError(
                    f"line {rows.line_num} of the table has {len(row)} of {columns} fields",
                    hint="a run without a value still needs its separators",
                )
    except csv.Error:
        return  # told by the reader proper


def without_copies(frame: pd.DataFrame, seed: str | None) -> tuple[pd.DataFrame, list[str]]:
    """The rows without those that equal an earlier one in every column, where a column tells runs apart.

    Where none does (no name, no time, no seed), equal rows may be two runs: they stay, and it is told.
    """
    copies = frame.astype(str).duplicated().to_numpy()
    if not copies.any():
        return frame, []
    count = f"{int(copies.sum())} of {len(frame)} rows equal an earlier row in every column"
    named = {str(column).strip().lower() for column in frame.columns}
    if seed is not None or named & set(_IDENTITIES):
        return frame[~copies], [f"{count}: taken for copies, each run counts once"]
    return frame, [f"{count}: if a run was exported twice its interval is too narrow; add a column that names the run"]  # fmt: skip


def labels(column: pd.Series) -> pd.Series:
    """Level labels as text: a whole number loses its ".0", every spelling of true and false is one; missing
    stays missing."""

    def label(value: object) -> object:
        if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
            return np.nan
        if isinstance(value, float | np.floating) and float(value).is_integer():
            return str(int(value))
        text = str(value).strip()
        return np.nan if text.lower() in NOTHING else text

    found = pd.Series([label(value) for value in column.to_numpy()], dtype=object)
    words = {str(value).lower() for value in found.dropna()}
    if words & {"true", "false"} and words <= set(_TRUTH):
        found = found.map(lambda value: _TRUTH[str(value).lower()] if isinstance(value, str) else value)
    return found


def numbers(column: pd.Series) -> Matrix | None:
    """A column of numbers as float64 [n], NaN where empty; None where it holds a word (or true and false)."""
    if column.dtype == bool:
        return None
    found = labels(column)
    values = pd.to_numeric(found, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    return values if np.isfinite(values[found.notna().to_numpy()]).all() and found.notna().any() else None


def metric_values(column: pd.Series, name: str) -> tuple[Matrix, list[str]]:
    """The metric [n], NaN for an empty cell and for the word of a crash (told). Raises InputError at other words."""
    values = np.full(len(column), np.nan)
    words: list[str] = []
    for i, (line, value) in enumerate(column.items()):
        text = "" if value is None or value is pd.NA else str(value).strip()
        try:
            values[i] = float(text)
        except ValueError as error:
            if text.lower() in _CRASHED:
                words.append(text)
            elif text.lower() not in (*NOTHING, *NONE_WORDS):
                raise InputError(
                    f"column '{name}' is not a number throughout: line {line} holds '{text[:40]}'",
                    hint="name the column that a run is judged by",
                ) from error
    told = f"{len(words)} runs have a word for '{name}' ({', '.join(sorted(set(words)))}): counted as failed"
    return values, [told] if words else []


def outcomes(frame: pd.DataFrame, column: str | None) -> list[str]:
    """Our words for the states of a tracker's export (default: a column called outcome, state or status).

    A run without a state counts as complete. Raises InputError for a word that is not known.
    """
    if column is None:
        column = next((str(name) for name in frame.columns if str(name).lower() in _STATES), None)
    if column is None:
        return ["complete"] * len(frame)
    found = []
    for line, value in frame[column].items():
        word = "" if value is None or value != value else str(value).strip().lower()
        if word in ("", *_FINISHED):
            found.append("complete")
        elif word in _CRASHED:
            found.append(_CRASHED[word])
        elif word in _UNFINISHED:
            found.append("pruned")
        else:
            raise InputError(
                f"column '{column}' holds the state '{value}', which is not known (line {line})",
                hint=did_you_mean(word, [*_FINISHED, *_CRASHED, *_UNFINISHED])
                or "use complete, diverged, failed, out_of_memory or pruned",
            )
    return found


def spellings(name: str, levels: Sequence[str]) -> list[str]:
    """A note where levels differ in nothing but capitals."""
    folded: dict[str, list[str]] = {}
    for level in levels:
        folded.setdefault(level.casefold(), []).append(level)
    twice = [" and ".join(f"'{one}'" for one in several) for several in folded.values() if len(several) > 1]
    return [f"column '{name}': {one} differ only in capitals and count as different levels" for one in twice]
