"""CSV files as other programs export them."""

from __future__ import annotations

import csv
import re
import warnings
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pandas as pd

from ablate.records.addresses import shown_address
from ablate.records.errors import InputError

_COMMA_DECIMAL = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_BLANK_CELLS = ["", "NA", "N/A", "n/a", "#N/A", "<NA>"]


def read_table(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """A CSV (comma, semicolon or tab; UTF-8 with or without BOM) and notes on how it was read.

    The index holds line numbers of the file, the header being line 1. The words None and null stay words, because
    they are levels, and so does "nan", because a metric that is not a number differs from one that was not logged.
    Raises InputError in one line.
    """
    shown = shown_address(str(path))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"the table {shown} cannot be read: {error.strerror}", hint="give a CSV with a header"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"the table {shown} cannot be read: it is not UTF-8 text", hint="export it as CSV, UTF-8"
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
    content = text.encode()  # a StringIO would take four bytes a character
    check_row_lengths(content, separator, len(names))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row that is longer than the header
            frame = pd.read_csv(
                BytesIO(content), sep=separator, decimal="," if comma else ".", keep_default_na=False,
                na_values=_BLANK_CELLS, skip_blank_lines=False, skipinitialspace=True, index_col=False,
                low_memory=False,
            )  # fmt: skip
    except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"the table {shown} cannot be read: {reason}", hint="give a CSV with a header"
        ) from error
    frame.columns = [str(column).strip() for column in frame.columns]
    frame.index = pd.Index(np.arange(len(frame)) + 2)
    return frame.dropna(how="all"), notes


def check_row_lengths(content: bytes, separator: str, columns: int) -> None:
    """`content`: in UTF-8. Raise InputError for a row with fewer fields than the header: a line that was cut off, not a failed run."""
    lines = TextIOWrapper(BytesIO(content), encoding="utf-8", newline="")
    rows = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    try:
        for row in rows:
            if len(row) < columns and any(cell.strip() for cell in row):
                raise InputError(
                    f"line {rows.line_num} of the table has {len(row)} of {columns} fields",
                    hint="a run without a value still needs its separators",
                )
    except csv.Error:
        return  # the reader proper reports it
