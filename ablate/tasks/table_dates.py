"""Columns of text that hold dates: the one form that all of them have."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

ISO = "ISO8601"
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}.*)?")
DAY_FIRST, MONTH_FIRST = "day first", "month first"
ORDERS = {DAY_FIRST: ("%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y"), MONTH_FIRST: ("%m/%d/%Y", "%m.%d.%Y", "%m-%d-%Y")}
OTHERS = ("%Y/%m/%d",)
TIMES = ("", " %H:%M", " %H:%M:%S")


def date_form(column: pd.Series) -> tuple[str, str]:
    """(the form of all values, in the words of `pandas.to_datetime`; a remark). Both are "" for what is no column of dates.

    ISO dates (2024-02-29, 2024-02-29T12:30), 2024/02/29, and 29/02/2024 or 02/29/2024 with `/`, `.` or `-`. Where every value may be read
    with the day first or the month first, the column is no date, and the remark says so.
    """
    values = column.dropna()
    if not len(values) or not all(isinstance(value, str) and value[:1].isdigit() for value in values):
        return "", ""
    if all(ISO_DATE.fullmatch(value) for value in values):
        return ISO, ""
    fitting = {order: _fitting(values, forms) for order, forms in {**ORDERS, "": OTHERS}.items()}
    forms = [(order, form) for order, form in fitting.items() if form]
    if len(forms) > 1:
        return "", "looks like dates, but day and month cannot be told apart; taken as text: write 2024-02-29"
    if not forms:
        return "", ""
    order, form = forms[0]
    return form, f"dates are read with the {order}" if order else ""


def _fitting(values: pd.Series, forms: tuple[str, ...]) -> str:
    """The first of `forms`, with or without a time, that all of `values` have; "" if none."""
    from pandas import to_datetime

    for form, time in product(forms, TIMES):
        first = to_datetime(values.iloc[:1], format=form + time, errors="coerce")
        if first.notna().all() and to_datetime(values, format=form + time, errors="coerce").notna().all():
            return form + time
    return ""
