"""From a pandas frame to the arguments of a task: which column is predicted, the split, the encoding, a default model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ablate.records.errors import InputError, unknown
from ablate.records.words import noun
from ablate.tasks.metric_table import Criterion
from ablate.tasks.models import EmbeddedPerceptron, perceptron
from ablate.tasks.split import random_parts
from ablate.tasks.table_cells import FEW, cells_text, form_of_dates, stray_cells
from ablate.tasks.tabular import fit_encoder, standardise, standardised_note

if TYPE_CHECKING:
    import pandas as pd

FIFTHS = "TVSTT"
CLASSES = 20
"""A numeric target is a class label if all values are whole and at most this many differ; otherwise it is regressed."""
WIDTHS = (64, 64)
LARGE = 10_000
"""Tables with more rows get a batch size of 256 instead of 64."""


def frame_arguments(
    table: pd.DataFrame,
    column: str,
    model: Callable[..., nn.Module] | None = None,
    where: str = "the table",
    *,
    embed: bool | None = None,
) -> dict[str, Any]:
    """The arguments of the `Task` that predicts `column` from the other columns of `table`.

    Three fifths of the rows are for training, one each for validation and test. model: makes a fresh module for the numbers of
    inputs and outputs, and with `embed` for the ids of each wide category; a small perceptron by default. where: the table's name, for an
    error. embed: whether wide categories become ids for embeddings (`tabular.WIDE`); None: with the model that is given by default. Raises InputError.
    """
    table = table.rename(columns=str)
    if column not in table.columns:
        raise unknown(f"column of {where}", column, table.columns)
    if int((table.columns == column).sum()) > 1:
        raise InputError(f"{where} has several columns '{column}'", hint="rename all but one")
    notes = []
    if gaps := int(table[column].isna().sum()):
        notes.append(f"{gaps} {noun(gaps, 'row')} without a value of '{column}' are left out")
    table = table.reset_index(drop=True)[
        table[column].notna().to_numpy()
    ]  # the index stays: it has the numbers of the user's rows
    target = table.pop(column)
    if target.nunique() == 1:
        hint = "predict another column, or give rows with other values of it"
        raise InputError(f"column '{column}' of {where} holds one value only, '{target.iloc[0]}'", hint=hint)
    criterion, y, labels = _target(target, column)
    if criterion == "classification" and (cells := stray_cells(target)) is not None:
        notes.append(f"{column}: {cells_text(target, cells, 'numbers')}; counted as a class: leave such cells empty if the value is missing")  # fmt: skip
    rows = random_parts(len(y), FIFTHS, y if criterion == "classification" else None)
    if len(rows) < 3 or not all(map(len, rows.values())):
        raise InputError(f"{where} has {len(y)} rows with a target, too few to split", hint="give more rows")
    encoder = fit_encoder(table, rows["T"], embed=model is None if embed is None else embed)
    outputs, deviation = len(labels), None
    if criterion == "regression":
        y, mean, deviation = standardise(y, rows["T"])
        notes.append(standardised_note(mean, deviation))
        outputs = 1
    x = encoder(table)
    train, validation, test = ((_rows_of(x, rows[part]), y[rows[part]]) for part in "TVS")
    inputs = (x["numbers"] if encoder.wide else x).shape[1]
    factory: Callable[[], nn.Module]
    if model is not None:
        factory = (
            partial(model, inputs, outputs, encoder.levels) if embed else partial(model, inputs, outputs)
        )
    elif encoder.wide:
        factory = partial(EmbeddedPerceptron, inputs, encoder.levels, WIDTHS, outputs)
    else:
        factory = partial(perceptron, inputs, WIDTHS, outputs)
    return {
        "model": factory, "train": train, "validation": validation, "test": test, "criterion": criterion,
        "kind": "tabular", "title": column, "labels": labels, "random_split": True, "batch_size": 256 if len(y) > LARGE else 64,
        "notes": (*encoder.notes, *notes), "encode": encoder, "target_deviation": deviation,
    }  # fmt: skip


def _rows_of(x: Any, rows: np.ndarray) -> Any:
    """Rows of an array, or of every array of a dict, as tensors."""
    if isinstance(x, dict):
        return {name: _rows_of(values, rows) for name, values in x.items()}
    return torch.from_numpy(x[rows])


def _target(target: pd.Series, column: str) -> tuple[Criterion, np.ndarray, tuple[str, ...]]:
    """What is predicted: (criterion, int64 classes or float64 numbers, the classes' names).

    Raises InputError for dates, for numbers among which a few cells are something else, and for too many classes.
    """
    from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype

    if is_numeric_dtype(target) and not is_bool_dtype(target):
        values = target.to_numpy(dtype=np.float64)
        if not np.isfinite(values).all():
            raise InputError(f"column '{column}' holds infinity", hint="give a number, or leave it empty")
        if (values != np.round(values)).any() or len(np.unique(values)) > CLASSES:
            return "regression", values, ()
        target = target.astype(np.int64)
    elif target.nunique() > CLASSES:
        if is_datetime64_any_dtype(target) or any(form_of_dates(target)):
            hint = "predict a number that is made from it, such as the days since the first one"
            raise InputError(f"column '{column}' holds dates, and a date is neither a class nor a number", hint=hint)  # fmt: skip
        many = target.nunique() > len(target) / 2
        if (cells := stray_cells(target, most=0.5 if many else FEW)) is not None:
            hint = "correct them, or leave them empty: rows without a value are left out"
            raise InputError(f"column '{column}' is numeric but for some cells: {cells_text(target, cells, 'numbers')}", hint=hint)  # fmt: skip
    if not is_numeric_dtype(target) or is_bool_dtype(target):
        target = target.astype(str)
    names, codes = np.unique(target.to_numpy(), return_inverse=True)
    if len(names) > len(target) / 2:
        raise InputError(f"column '{column}' has {len(names)} classes in {len(target)} rows", hint="give a column of few classes, or of numbers")  # fmt: skip
    return "classification", codes.astype(np.int64), tuple(map(str, names))
