"""From a frame with text, dates, missing values and different scales to numbers for a network, by scikit-learn's transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ablate.records.errors import InputError
from ablate.tasks.table_cells import cells_text, form_of_dates, no_dates, stray_cells
from ablate.tasks.table_dates import ISO

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OrdinalEncoder

GAP = "missing"
LEVELS = 64
"""Maximum number of 0/1 columns of a text column: the levels that are rarest in training share the last one."""
DISTINCT = 20
"""A text column with more levels is an identifier and not a category if more than half of the rows hold one that occurs once."""
WIDE = 40
"""A text column with more levels gets an embedding, where there is a model for it. (skrub's threshold for a wide category.)"""
FEWEST = 2
"""Training rows that a level of an embedding has at least; the rarer ones share an id, which new levels get too."""
PARTS = ("year", "month", "day", "day_of_week", "hour")


@dataclass(frozen=True)
class TableEncoder:
    """An encoder fitted on training rows; called with a frame of the same columns it returns float32 `[N, F]`, or, with wide
    categories, `{"numbers": float32 [N, F], "categories": int64 [N, C]}`.

    Numbers and booleans: missing values filled with the training median and marked in a 0/1 column; then scaled to mean 0 and
    deviation 1. Dates: year, month, day, day of the week and hour as numbers. Text: one 0/1 column for each level, a gap being a
    level; a level that training never showed is all zeros. Wide categories: an id for each level, 0 or that of the rare levels for
    one that training never showed; `levels`: the number of ids of each. `dates`: column -> its form. `strays`: columns of numbers in which
    other cells are taken as missing. `notes`: what was done, for the user.
    """

    numbers: tuple[str, ...]
    dates: Mapping[str, str]
    texts: tuple[str, ...]
    wide: tuple[str, ...]
    levels: tuple[int, ...]
    transformer: ColumnTransformer
    ids: OrdinalEncoder
    notes: tuple[str, ...]
    strays: tuple[str, ...] = ()

    def __call__(self, table: pd.DataFrame) -> Any:
        for name in (*self.numbers, *self.dates, *self.texts, *self.wide):
            if name not in table.columns:
                raise InputError(
                    f"the table has no column '{name}'", hint="give the columns of the training data"
                )
        plain = _plain(table, self.numbers, self.dates, (*self.texts, *self.wide), self.strays)
        encoded = self.transformer.transform(plain).astype(np.float32)
        if not self.wide:
            return encoded
        codes = self.ids.transform(plain[list(self.wide)])
        rare = [
            -1 if levels is None else last
            for levels, last in zip(self.ids.infrequent_categories_, self._last, strict=True)
        ]
        return {"numbers": encoded, "categories": np.where(codes < 0, rare, codes).astype(np.int64) + 1}

    @property
    def _last(self) -> list[int]:
        """The last code of each wide category."""
        return [count - 2 for count in self.levels]


def fit_encoder(table: pd.DataFrame, train: np.ndarray, *, embed: bool = False) -> TableEncoder:
    """Learn the encoding of `table` from its rows `train` (indices). Raises InputError if no column can be used. The index of `table`
    is told as numbers of rows.

    embed: text columns of more than `WIDE` levels become ids for an embedding instead of columns of 0 and 1.
    """
    from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    seen = table.iloc[train]
    counters = [name for name in table.columns if _counts_rows(table[name])]
    strays = {name: cells for name in table.columns if (cells := stray_cells(table[name])) is not None}
    numbers = [
        name
        for name in table.columns
        if (is_numeric_dtype(table[name]) or name in strays) and name not in counters
    ]
    forms = {
        name: (ISO, "") if is_datetime64_any_dtype(table[name]) else form_of_dates(seen[name])
        for name in table.columns
        if name not in {*numbers, *counters}
    }
    dates = {name: form for name, (form, _) in forms.items() if form}
    words = [name for name in forms if name not in dates]
    names = [name for name in words if _is_identifier(seen[name])]
    wide = [name for name in words if embed and name not in names and seen[name].nunique() > WIDE]
    texts = [name for name in words if name not in {*names, *wide}]
    if not numbers and not dates and not texts and not wide:
        raise InputError(
            "no column of the table can be used as an input", hint="give numbers, dates or categories"
        )
    plain = _plain(seen, numbers, dates, (*texts, *wide), tuple(strays))
    scaled = [name for name in plain.columns if name not in {*texts, *wide}]
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
    ids = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, min_frequency=FEWEST)
    levels = [int(column.max()) + 2 for column in ids.fit_transform(plain[wide]).T] if wide else []
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
    notes += [
        f"{name}: {plain[name].nunique()} levels became {count - 1} ids for an embedding; levels of one training row share one"
        for name, count in zip(wide, levels, strict=True)
    ]
    notes += [f"{name}: {remark}" for name, (_, remark) in forms.items() if remark]
    undated = {name: no_dates(table[name], form) for name, form in dates.items()}
    for what, found in (("numbers", strays), ("dates", undated)):
        notes += [
            f"{name}: {cells_text(table[name], cells, what)}; taken as missing"
            for name, cells in found.items()
            if cells.any()
        ]
    for name in gaps:
        count = int(table[name].isna().sum()) + int(strays[name].sum() if name in strays else 0)
        notes.append(f"{name}: gaps ({count}) are filled by the training median and marked in a column")
    notes += [f"{name}: left out, because it numbers the rows" for name in counters]
    notes += [f"{name}: left out, because nearly every row has a different text" for name in names]
    return TableEncoder(
        tuple(numbers), dates, tuple(texts), tuple(wide), tuple(levels), transformer, ids, tuple(notes), tuple(strays)
    )  # fmt: skip


def _counts_rows(column: pd.Series[Any]) -> bool:
    """Whether a column holds n, n + 1, n + 2, … from row to row: the index of a frame that was saved with it. Rows that are left out for lack of a target
    leave a gap in the column and in the table's index."""
    from pandas.api.types import is_integer_dtype

    if len(column) <= DISTINCT or not is_integer_dtype(column):
        return False
    steps = np.diff(column.to_numpy())
    follows_index = is_integer_dtype(column.index.dtype) and (steps == np.diff(column.index)).all()
    return bool((steps == 1).all() or (follows_index and (steps > 0).all()))


def _is_identifier(column: pd.Series[Any]) -> bool:
    """Whether a text column tells rows apart, instead of grouping them: names, free text."""
    counts = column.value_counts()
    return len(counts) > DISTINCT and int((counts == 1).sum()) > len(column) / 2


def _plain(
    table: pd.DataFrame,
    numbers: Sequence[str],
    dates: Mapping[str, str],
    texts: Sequence[str],
    strays: Sequence[str],
) -> pd.DataFrame:
    """The table with numbers as float64, dates as columns of numbers, and text with its gaps named."""
    from pandas import DataFrame, to_datetime

    columns: dict[str, Any] = {}
    for name in numbers:
        columns[name] = _numbers(table[name], strict=name not in strays)
        if np.isinf(columns[name]).any():
            raise InputError(f"column '{name}' holds infinity", hint="give a number, or leave it empty")
    for name, form in dates.items():
        times = to_datetime(table[name], format=form, errors="coerce", utc=True)
        for part in PARTS:
            columns[f"{name} {part}"] = getattr(times.dt, part).to_numpy(dtype=np.float64, na_value=np.nan)
    for name in texts:
        column = table[name]
        columns[name] = column.astype(object).where(column.notna(), GAP).astype(str).to_numpy(dtype=object)
    return DataFrame(columns)


def _numbers(column: pd.Series[Any], *, strict: bool) -> np.ndarray:
    """A column as float64 `[N]`, NaN where it has a gap, and, unless `strict`, where a cell is no number. Raises InputError."""
    from pandas import to_numeric
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    numbers = to_numeric(column, errors="coerce")
    stray = numbers.isna() & column.notna()
    if strict and stray.any():
        raise InputError(
            f"column '{column.name}': {cells_text(column, stray, 'numbers')}",
            hint="correct them, or leave them empty",
        )
    return numbers.to_numpy(dtype=np.float64, na_value=np.nan)


def encode(table: pd.DataFrame, train: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """`table` as float32 `[N, F]`, and notes on what was done. Only rows `train` (indices) are learned from."""
    encoder = fit_encoder(table, train)
    encoded: np.ndarray = encoder(table)
    return encoded, encoder.notes


def standardise(values: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, float, float]:
    """`values` `[N]` scaled to mean 0 and deviation 1 over rows `train`, with that mean and deviation.

    A constant column is only centred.
    """
    mean, deviation = float(values[train].mean()), float(values[train].std())
    return (values - mean) / (deviation or 1.0), mean, deviation


def standardised_note(mean: float, deviation: float) -> str:
    """What `standardise` did to a target, for the user."""
    return (
        f"the target is standardised by training data: its mean {mean:.6g} is 0, its deviation {deviation:.6g} is 1; "
        "rmse and mae are in such deviations (SD)"
    )
