"""A task made from a table in a file: `data.csv:income`, where `income` is the column to predict."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ablate.records.errors import InputError, unknown
from ablate.tasks.metric_table import Criterion
from ablate.tasks.models import perceptron
from ablate.tasks.split import deal
from ablate.tasks.tabular import fit_encoder, standardise
from ablate.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".tsv", ".parquet")
FIFTHS = "TVSTT"
CLASSES = 20
"""A target of more different numbers, or of any that are not whole, is a number and no class."""
WIDTHS = (64, 64)
LARGE = 10_000


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
    content = _content(path)
    table = _frame(path, content)
    if not column:
        names = ", ".join(map(str, table.columns[:12])) + (", …" if len(table.columns) > 12 else "")
        raise InputError(f"'{name}' does not say which column is to be predicted", hint=f"write {path}:COLUMN, or --target COLUMN; columns: {names}")  # fmt: skip
    task = frame_task(table, column, where=str(path))
    name_of_file = path.stem if path.stem.isidentifier() else f"table-{path.stem}".replace(" ", "-")
    digest = hashlib.sha256(content).hexdigest()
    return task.but(title=f"{column} of {path.name}").called(name_of_file, source=name, source_sha256=digest)


def frame_task(
    table: pd.DataFrame,
    column: str,
    model: Callable[[int, int], nn.Module] | None = None,
    where: str = "the table",
) -> Task:
    """The task of predicting `column` from the other columns of `table`.

    Three fifths of the rows are for training, one each for validation and test. model: makes a fresh module for so many
    inputs and outputs; a small perceptron by default. where: the table's name, for an error. Raises InputError.
    """
    table = table.rename(columns=str)
    if column not in table.columns:
        raise unknown(f"column of {where}", column, table.columns)
    if int((table.columns == column).sum()) > 1:
        raise InputError(f"{where} has several columns '{column}'", hint="rename all but one")
    notes = []
    if gaps := int(table[column].isna().sum()):
        notes.append(f"{gaps} rows without a value of '{column}' are left out")
    table = table[table[column].notna()].reset_index(drop=True)
    target = table.pop(column)
    criterion, y, labels = _target(target, column)
    rows = deal(len(y), FIFTHS, y if criterion == "classification" else None)
    if len(rows) < 3 or not all(map(len, rows.values())):
        raise InputError(f"{where} has {len(y)} rows with a target, too few to split", hint="give more rows")
    encoder = fit_encoder(table, rows["T"])
    outputs = len(labels)
    if criterion == "regression":
        y, mean, deviation = standardise(y, rows["T"])
        notes.append(f"the target is standardised by training data: its mean {mean:.6g} is 0, its deviation {deviation:.6g} is 1")  # fmt: skip
        outputs = 1
    x = torch.from_numpy(encoder(table))
    train, validation, test = ((x[torch.from_numpy(rows[part])], y[rows[part]]) for part in "TVS")
    factory = (
        partial(perceptron, x.shape[1], WIDTHS, outputs)
        if model is None
        else partial(model, x.shape[1], outputs)
    )
    return Task(
        factory, train, validation, test, criterion=criterion, kind="tabular", title=column, labels=labels, dealt=True,
        batch_size=256 if len(y) > LARGE else 64, notes=(*encoder.notes, *notes), encode=encoder,
    )  # fmt: skip


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            f"there is no file {path}", hint="give its path from the folder you are in"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error


def _frame(path: Path, content: bytes) -> pd.DataFrame:
    from pandas import read_csv, read_parquet

    try:
        if path.suffix.lower() == ".parquet":
            table = read_parquet(BytesIO(content))
        else:
            table = read_csv(BytesIO(content), sep="\t" if path.suffix.lower() == ".tsv" else ",")
    except ImportError as error:
        raise InputError(
            "to read parquet needs pyarrow", hint="pip install pyarrow, or give a CSV file"
        ) from error
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        text = " ".join(str(error).split())[:200]
        raise InputError(f"{path} cannot be read as a table ({text})") from error
    if len(table.columns) < 2:
        raise InputError(
            f"{path} has one column only", hint="columns are separated by commas (.csv) or tabs (.tsv)"
        )
    return table


def _target(target: pd.Series, column: str) -> tuple[Criterion, np.ndarray, tuple[str, ...]]:
    """What is predicted: (criterion, int64 classes or float64 numbers, the classes' names)."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if is_numeric_dtype(target) and not is_bool_dtype(target):
        values = target.to_numpy(dtype=np.float64)
        if not np.isfinite(values).all():
            raise InputError(f"column '{column}' holds infinity", hint="give a number, or leave it empty")
        if (values != np.round(values)).any() or len(np.unique(values)) > CLASSES:
            return "regression", values, ()
        target = target.astype(np.int64)
    else:
        target = target.astype(str)
    names, codes = np.unique(target.to_numpy(), return_inverse=True)
    if len(names) > len(target) / 2:
        raise InputError(f"column '{column}' has {len(names)} classes in {len(target)} rows", hint="give a column of few classes, or of numbers")  # fmt: skip
    return "classification", codes.astype(np.int64), tuple(map(str, names))
