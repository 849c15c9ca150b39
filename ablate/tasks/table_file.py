"""A task made from a table in a file: `data.csv:income`, where `income` is the column to predict."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.records.errors import InputError
from ablate.records.files import read_input
from ablate.tasks.frame import frame_arguments
from ablate.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".tsv", ".parquet")


def is_table(name: str) -> bool:
    """Whether a task's name is a table's file, with or without its target column."""
    file, _, _ = name.rpartition(":")
    return name.lower().endswith(SUFFIXES) or file.lower().endswith(SUFFIXES)


def table_task(name: str) -> Task:
    """The task of predicting a column from the others. `name`: `FILE:COLUMN`.

    Raises InputError: no such file or column, a file that cannot be read, a target that cannot be predicted.
    """
    file, column = (name, "") if name.lower().endswith(SUFFIXES) else name.rpartition(":")[::2]
    path = Path(file)
    content = read_input(path)
    table = _frame(path, content)
    if not column:
        names = ", ".join(map(str, table.columns[:12])) + (", …" if len(table.columns) > 12 else "")
        raise InputError(f"'{name}' does not say which column is to be predicted", hint=f"write {path}:COLUMN, or --target COLUMN; columns: {names}")  # fmt: skip
    task = Task(**frame_arguments(table, column, where=str(path)))
    name_of_file = path.stem if path.stem.isidentifier() else f"table-{path.stem}".replace(" ", "-")
    digest = hashlib.sha256(content).hexdigest()
    return task.but(title=f"{column} of {path.name}").called(name_of_file, source=name, source_sha256=digest)


def _frame(path: Path, content: bytes) -> pd.DataFrame:
    from pandas import read_csv, read_parquet

    kind = path.suffix.lower()
    separator = "\t" if kind == ".tsv" else ","
    try:
        if kind == ".parquet":
            table = read_parquet(BytesIO(content))
        else:
            table = read_csv(BytesIO(content), sep=separator)
    except ImportError as error:
        raise InputError(
            "to read parquet needs pyarrow", hint="pip install pyarrow, or give a CSV file"
        ) from error
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        text = " ".join(str(error).split())[:200]
        raise InputError(f"{path} cannot be read as a table ({text})", hint=_advice(path, error)) from error
    if kind != ".parquet":
        header = read_csv(BytesIO(content), sep=separator, header=None, nrows=1, dtype=str).iloc[0].dropna()
        if len(twice := header[header.duplicated()]):  # pandas renames the second
            raise InputError(f"{path} has several columns '{twice.iloc[0]}'", hint="rename all but one")
    if len(table.columns) < 2:
        raise InputError(
            f"{path} has one column only", hint="columns are separated by commas (.csv) or tabs (.tsv)"
        )
    return table


def _advice(path: Path, error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f'save it as UTF-8, in Python: pandas.read_csv("{path}", encoding="latin-1").to_csv("{path}", index=False)'
    if "Expected" in str(error):
        return "each line needs as many fields as the header; a text with commas stands in double quotes"
    return "give a CSV file with a header line"
