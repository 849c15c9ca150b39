"""From a frame with text, gaps and wild scales to numbers that a network can take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

GAP = "missing"


def encode(table: pd.DataFrame, train: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """`table` as float32 `[N, F]`, and notes on what was done. Only rows `train` (indices) are learned from.

    Numbers: gaps filled by the training median, with a 0/1 column that says so; then scaled to mean 0 and
    deviation 1. Text: one 0/1 column for each level seen in training, a gap being a level; a level seen only
    later is all zeros.
    """
    from pandas.api.types import is_numeric_dtype

    columns: list[np.ndarray] = []
    notes: list[str] = []
    numbers, texts = 0, list[int]()
    for name in table.columns:
        column = table[name]
        if is_numeric_dtype(column):
            numbers += 1
            values, gaps = column.to_numpy(dtype=np.float64, na_value=np.nan), column.isna().to_numpy()
            median = np.nanmedian(values[train])
            columns.append(standardise(np.where(gaps, median, values), train)[0])
            if gaps[train].any():
                columns.append(gaps.astype(np.float64))
                notes.append(
                    f"{name}: gaps ({gaps.sum()}) are filled by the training median and marked in a column"
                )
        else:
            text = column.astype(object).where(column.notna(), GAP).astype(str).to_numpy()
            levels = np.unique(text[train])
            columns += [(text == level).astype(np.float64) for level in levels]
            texts.append(len(levels))
    if texts:
        notes.insert(
            0, f"text columns ({len(texts)}) became {sum(texts)} columns of 0 and 1, one for each level"
        )
    if numbers:
        notes.insert(0, f"numeric columns ({numbers}) are scaled to mean 0 and deviation 1 by training data")
    return np.stack(columns, axis=1).astype(np.float32), tuple(notes)


def standardise(values: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, float, float]:
    """`values` `[N]` scaled to mean 0 and deviation 1 over rows `train`, with that mean and deviation.

    What is constant in training is only centred.
    """
    mean, deviation = float(values[train].mean()), float(values[train].std())
    return (values - mean) / (deviation or 1.0), mean, deviation
