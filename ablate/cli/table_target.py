"""`--target COLUMN`: an alternative to `data.csv:COLUMN`."""

from __future__ import annotations

from typing import Annotated

import typer

from ablate.records.errors import InputError
from ablate.tasks.imports import TABLES

Target = Annotated[str, typer.Option(metavar="COLUMN", help="Of a table (data.csv): the column to predict.")]


def with_target(given: str, target: str) -> str:
    """`given` with the column named. Raises InputError if it is not a table, or already names a column."""
    if not target:
        return given
    if given.lower().endswith(TABLES):
        return f"{given}:{target}"
    if given.rpartition(":")[0].lower().endswith(TABLES):
        raise InputError(f"'{given}' names a column already", hint="leave out --target")
    raise InputError(
        f"--target is for a table, and '{given}' is none", hint="name a .csv, .tsv or .parquet file"
    )
