"""Columns that are numbers or dates but for a few cells ("unknown" among 1,500 ages), for which pandas takes the whole column as text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ablate.tasks.table_dates import date_form

if TYPE_CHECKING:
    import pandas as pd

FEW = 0.05
"""Largest share of the filled cells that may be something else."""
CODE = re.compile(r"\s*0\d")
"""Numbers that begin with a zero, as post codes do, are names."""


def stray_cells(column: pd.Series, most: float = FEW) -> pd.Series | None:
    """Which cells of a column of text are no numbers, bool, where at least one and at most the share `most` are; else None."""
    from pandas import to_numeric
    from pandas.api.types import is_object_dtype, is_string_dtype

    if not (is_object_dtype(column) or is_string_dtype(column)):
        return None
    filled = column.notna()
    stray = to_numeric(column, errors="coerce").isna() & filled
    if not 0 < stray.sum() <= most * filled.sum():
        return None
    if any(isinstance(value, bool) or CODE.match(str(value)) for value in column[filled & ~stray]):
        return None
    return stray


def form_of_dates(column: pd.Series) -> tuple[str, str]:
    """`date_form` of a column, without the cells that do not begin with a digit if they are few."""
    filled = column[column.notna()]
    stray = ~filled.astype(str).str[:1].str.isdigit()
    return date_form(filled[~stray] if stray.sum() <= FEW * len(filled) else filled)


def no_dates(column: pd.Series, form: str) -> pd.Series:
    """Which filled cells of a column are no dates of that form, bool."""
    from pandas import to_datetime

    return to_datetime(column, format=form, errors="coerce", utc=True).isna() & column.notna()


def cells_text(column: pd.Series, stray: pd.Series, what: str) -> str:
    """ "2 of 1,500 cells are no numbers ('unknown' at row 17, the first is 0)". `what`: "numbers". The index has the row numbers."""
    first = int(stray.to_numpy().argmax())
    count, filled = int(stray.sum()), int(column.notna().sum())
    verb = f"is no {what.removesuffix('s')}" if count == 1 else f"are no {what}"
    return f"{count:,} of {filled:,} cells {verb} ({column.iloc[first]!r} at row {column.index[first]}, the first is 0)"
