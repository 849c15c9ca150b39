"""Cells of a table as level labels, numbers and metric values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from ablate.ranking.estimation.least_squares import Matrix
from ablate.records.errors import InputError

HUGE = float(np.finfo(np.float32).max)
"""A metric of this size or more counts as infinite: `sys.float_info.max` for a run that failed."""
BLANKS = ("", "nan", "na", "n/a", "#n/a", "<na>", "-", "–")
NONE_WORDS = ("none", "null")
CRASH_WORDS = {
    "crash": "failed", "crashed": "failed", "fail": "failed", "failed": "failed", "failure": "failed", "error": "failed",
    "nan": "diverged", "inf": "diverged", "diverged": "diverged", "oom": "out_of_memory", "out_of_memory": "out_of_memory",
}  # fmt: skip
_TRUTH = {"true": "True", "1": "True", "1.0": "True", "false": "False", "0": "False", "0.0": "False"}


def labels(column: pd.Series) -> pd.Series:
    """Level labels [n] as text, NaN where empty; the index is 0 … n − 1.

    A whole number loses its ".0", and every spelling of true and false is one. A categorical column's labels are
    taken unchanged: its author has already distinguished the levels.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        return pd.Series(np.asarray(column, dtype=object), dtype=object)
    codes, values = _distinct(column)
    texts = [_text(value) for value in values]
    if not pd.api.types.is_numeric_dtype(column.dtype):
        texts = _unified(texts)
    distinct_labels = np.array([*texts, np.nan], dtype=object)
    return pd.Series(distinct_labels[codes], dtype=object)


def numbers(column: pd.Series) -> Matrix | None:
    """A column of numbers as float64 [n], NaN for empty cells; None if it holds a word (or true and false)."""
    if pd.api.types.is_bool_dtype(column.dtype):
        return None
    if pd.api.types.is_numeric_dtype(column.dtype):
        values = column.to_numpy(dtype=float, na_value=np.nan)
        return values if (~np.isinf(values)).all() and np.isfinite(values).any() else None
    if _begins_with_a_word(column):
        return None
    texts = labels(column)
    values = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    present = texts.notna().to_numpy()
    return values if np.isfinite(values[present]).all() and present.any() else None


def metric_values(column: pd.Series, name: str) -> tuple[Matrix, list[str]]:
    """The metric [n] and notes: NaN for an empty cell and for the word of a crash, infinity from HUGE on. Raises InputError at
    other words."""
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        return _without_huge(column.to_numpy(dtype=float, na_value=np.nan), name)
    values = np.full(len(column), np.nan)
    crashed: list[str] = []
    for i, (line, value) in enumerate(column.items()):
        text = "" if value is None or value is pd.NA else str(value).strip()
        try:
            values[i] = float(text)
        except ValueError as error:
            if text.lower() in CRASH_WORDS:
                crashed.append(text)
            elif text.lower() not in (*BLANKS, *NONE_WORDS):
                raise InputError(
                    f"column '{name}' is not a number throughout: line {line} holds '{text[:40]}'",
                    hint="name the column that a run is judged by",
                ) from error
    note = (
        f"{len(crashed)} runs have a word for '{name}' ({', '.join(sorted(set(crashed)))}): counted as failed"
    )
    values, notes = _without_huge(values, name)
    return values, [note, *notes] if crashed else notes


def _without_huge(values: Matrix, name: str) -> tuple[Matrix, list[str]]:
    huge = np.isfinite(values) & (np.abs(values) >= HUGE)
    if not huge.any():
        return values, []
    note = f"{int(huge.sum())} runs have a '{name}' of {HUGE:.2g} or more: counted as failed"
    return np.where(huge, np.copysign(np.inf, values), values), [note]


def case_variants(name: str, levels: Sequence[str]) -> list[str]:
    """A note on levels that differ in capitals only."""
    folded: dict[str, list[str]] = {}
    for level in levels:
        folded.setdefault(level.casefold(), []).append(level)
    twice = [" and ".join(f"'{one}'" for one in several) for several in folded.values() if len(several) > 1]
    return [f"column '{name}': {one} differ only in capitals and count as different levels" for one in twice]


def _distinct(column: pd.Series) -> tuple[np.ndarray, list[object]]:
    """Codes [n] into the list of distinct values, −1 where missing. 1, 1.0 and True are distinct, as are types."""
    if column.dtype != object:
        codes, distinct = pd.factorize(column)
        return codes, list(distinct)
    positions: dict[tuple[type, object], int] = {}
    values: list[object] = []
    codes = np.empty(len(column), dtype=np.intp)
    for i, value in enumerate(column.to_numpy()):
        if value is None or value is pd.NA or value != value:
            codes[i] = -1
            continue
        key = (type(value), value if value.__hash__ else str(value))
        if key not in positions:
            positions[key] = len(values)
            values.append(value)
        codes[i] = positions[key]
    return codes, values


def _begins_with_a_word(column: pd.Series) -> bool:
    """Whether the first cell that is not blank holds no number: then the rest need not be checked."""
    first = column.first_valid_index()
    if first is None or not column.index.is_unique:
        return False
    text = str(column.loc[first]).strip().lower()
    return text not in BLANKS and not _are_numbers([text])


def _text(value: object) -> object:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    text = str(value).strip()
    return np.nan if text.lower() in BLANKS else text


def _unified(texts: Sequence[object]) -> list[object]:
    """One spelling for true and false; and for numbers, where all of them are."""
    words = {str(text).lower() for text in texts if isinstance(text, str)}
    if words & {"true", "false"} and words <= set(_TRUTH):
        return [_TRUTH[text.lower()] if isinstance(text, str) else text for text in texts]
    if words and _are_numbers(words):
        return [_text(float(text)) if isinstance(text, str) else text for text in texts]
    return list(texts)


def _are_numbers(words: Iterable[str]) -> bool:
    try:
        return all(np.isfinite(float(word)) for word in words)
    except ValueError:
        return False
