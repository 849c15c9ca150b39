"""From a frame with text, dates, gaps and different scales to numbers for a network, by scikit-learn's transformers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ablate.records.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.compose import ColumnTransformer

GAP = "missing"
LEVELS = 64
"""Maximum number of 0/1 columns of a text column: the levels that are rarest in training share the last one."""
DISTINCT = 20
"""A text column with more levels, most of which occur once, is an identifier and not a category."""
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}.*)?")
PARTS = ("year", "month", "day", "day_of_week", "hour")


@dataclass(frozen=True)
class TableEncoder:
    """An encoder fitted on training rows; called with a frame of the same columns it returns float32 `[N, F]`.

    Numbers and booleans: gaps filled by the training median, with a 0/1 column that says so; then scaled to mean 0 and
    deviation 1. Dates: year, month, day, day of the week and hour as numbers. Text: one 0/1 column for each level, a gap being a
    level; a level that training never showed is all zeros. `notes`: what was done, for the user.
    """

    numbers: tuple[str, ...]
    dates: tuple[str, ...]
    texts: tuple[str, ...]
    transformer: ColumnTransformer
    notes: tuple[str, ...]

    def __call__(self, table: pd.DataFrame) -> np.ndarray:
        for name in (*self.numbers, *self.dates, *self.texts):
            if name not in table.columns:
                raise InputError(
                    f"the table has no column '{name}'", hint="give the columns of the training data"
                )
        encoded: np.ndarray = self.transformer.transform(_plain(table, self.numbers, self.dates, self.texts))
        return encoded.astype(np.float32)


def fit_encoder(table: pd.DataFrame, train: np.ndarray) -> TableEncoder:
    """Learn the encoding of `table` from its rows `train` (indices). Raises InputError if no column can be used."""
    from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    seen = table.iloc[train]
    numbers = [name for name in table.columns if is_numeric_dtype(table[name])]
    dates = [name for name in table.columns if is_datetime64_any_dtype(table[name]) or _are_dates(seen[name])]
    words = [name for name in table.columns if name not in {*numbers, *dates}]
    names = [name for name in words if DISTINCT < seen[name].nunique() > len(seen) / 2]
    texts = [name for name in words if name not in names]
    if not numbers and not dates and not texts:
        raise InputError(
            "no column of the table can be used as an input", hint="give numbers, dates or categories"
        )
    plain = _plain(seen, numbers, dates, texts)
    scaled = [name for name in plain.columns if name not in texts]
    gaps = [name for name in numbers if plain[name].isna().any()]
    transformer = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()), scaled),
            ("gaps", MissingIndicator(features="all"), gaps),
            (
                "texts",
                OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=LEVELS, sparse_output=False),
                texts,
            ),
        ]
    )  # fmt: skip
    transformer.set_output(transform="default").fit(plain)
    notes = []
    if numbers:
        notes.append(
            f"numeric columns ({len(numbers)}) are scaled to mean 0 and deviation 1 by training data"
        )
    if dates:
        notes.append(f"date columns ({len(dates)}) became numbers ({', '.join(PARTS)}): {', '.join(dates)}")
    if texts:
        width = sum(min(LEVELS, plain[name].nunique()) for name in texts)
        notes.append(f"text columns ({len(texts)}) became {width} columns of 0 and 1, one for each level")
    notes += [f"{name}: its rarest levels share a column" for name in texts if plain[name].nunique() > LEVELS]
    for name in gaps:
        count = int(table[name].isna().sum())
        notes.append(f"{name}: gaps ({count}) are filled by the training median and marked in a column")
    notes += [f"{name}: left out, because nearly every row has a text of its own" for name in names]
    return TableEncoder(tuple(numbers), tuple(dates), tuple(texts), transformer, tuple(notes))


def _are_dates(column: pd.Series) -> bool:
    """Whether a column of text holds ISO dates (2024-02-29, 2024-02-29T12:30) only. Other forms are ambiguous."""
    values = column.dropna()
    return len(values) > 0 and all(isinstance(value, str) and ISO_DATE.fullmatch(value) for value in values)


def _plain(
    table: pd.DataFrame, numbers: Sequence[str], dates: Sequence[str], texts: Sequence[str]
) -> pd.DataFrame:
    """The table with numbers as float64, dates as columns of numbers, and text with its gaps named."""
    from pandas import DataFrame, to_datetime

    columns: dict[str, Any] = {}
    for name in numbers:
        columns[name] = table[name].to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isinf(columns[name]).any():
            raise InputError(f"column '{name}' holds infinity", hint="give a number, or leave it empty")
    for name in dates:
        times = to_datetime(table[name], format="ISO8601", errors="coerce", utc=True)
        for part in PARTS:
            columns[f"{name} {part}"] = getattr(times.dt, part).to_numpy(dtype=np.float64, na_value=np.nan)
    for name in texts:
        column = table[name]
        columns[name] = column.astype(object).where(column.notna(), GAP).astype(str).to_numpy(dtype=object)
    return DataFrame(columns)


def encode(table: pd.DataFrame, train: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """`table` as float32 `[N, F]`, and notes on what was done. Only rows `train` (indices) are learned from."""
    encoder = fit_encoder(table, train)
    return encoder(table), encoder.notes


def standardise(values: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, float, float]:
    """`values` `[N]` scaled to mean 0 and deviation 1 over rows `train`, with that mean and deviation.

    A constant column is only centred.
    """
    mean, deviation = float(values[train].mean()), float(values[train].std())
    return (values - mean) / (deviation or 1.0), mean, deviation
