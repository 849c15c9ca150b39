"""Step 0's checks of single inputs: columns of a table, channels of an image, or everything else as one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ablate.protocol.short_runs import Array
from ablate.protocol.steps import Finding
from ablate.records.words import noun, verb
from ablate.tasks.task import Task

Labels = NDArray[np.int64]
EXTREME = 1e4
"""Distance from the median, in units of the usual one, from which a value is extreme."""
SHIFT_ERRORS, SHIFT_DEVIATIONS, SCALE_RATIO = 8.0, 0.5, 2.5
"""Splits differ if a column's means do by this many standard errors and deviations, or its deviations by this ratio."""
FEWEST, WIDEST = 30, 1000
COLLINEAR = 0.99
"""Share of the variance in one direction from which columns are collinear."""
LEAK, LEAK_GAIN, LEAK_R2, BINS = 0.99, 0.05, 0.99, 64
"""One column leaks the target if it alone predicts this share, and this much more than the most frequent class."""


def as_columns(x: Tensor) -> Array | None:
    """`[N, D]` columns of a table, `[N · H · W, C]` channels of images, else one column; None for integers."""
    if not x.is_floating_point():
        return None
    values = x.double().numpy()
    if x.ndim == 2:
        return np.asarray(values)
    return np.asarray(
        np.moveaxis(values, 1, -1).reshape(-1, x.shape[1]) if x.ndim == 4 else values.reshape(-1, 1)
    )


def _column_name(column: int, ndim: int) -> str:
    return {2: f"column {column} of the inputs", 4: f"channel {column} of the inputs"}.get(ndim, "inputs")


def constant_columns(columns: Array) -> list[Finding]:
    """All inputs constant: nothing can be learned. Some columns constant: a note."""
    constant = columns.max(0) == columns.min(0)
    if constant.all():
        message = "every input has the same value in all training examples"
        return [
            Finding(
                "inputs-constant", "fail", message, "inputs", "check how the inputs are read and prepared"
            )
        ]
    if not constant.any():
        return []
    which = ", ".join(str(column) for column in np.flatnonzero(constant)[:5])
    count = int(constant.sum())
    message = f"{count} of {len(constant)} columns {verb(count, 'are', 'is')} constant: {which}"
    return [Finding("columns-constant", "note", message, "inputs", "leave them out")]


def extreme_value(columns: Array, ndim: int) -> list[Finding]:
    """A value so far from the others that it dominates its column."""
    away = np.abs(columns - np.median(columns, axis=0))
    usual = np.array(
        [
            np.percentile(distances[distances > 0], 50) if (distances > 0).any() else np.inf
            for distances in away.T
        ]
    )
    ratio = away / usual
    row, column = np.unravel_index(int(ratio.argmax()), ratio.shape)
    if ratio[row, column] < EXTREME:
        return []
    message = f"{columns[row, column]:.3g} is {ratio[row, column]:.1g} times as far from the median as usual"
    advice = "check that value; clip or transform the column"
    return [Finding("extreme-value", "warn", message, _column_name(int(column), ndim), advice)]


def collinear_columns(columns: Array) -> list[Finding]:
    """Standardised columns that are nearly all collinear: gradient descent is slow in every other direction."""
    deviation = columns.std(0)
    kept = columns[:, deviation > 0]
    if kept.shape[1] < 3 or kept.shape[1] > WIDEST or len(kept) < FEWEST:
        return []
    values = np.linalg.eigvalsh(np.corrcoef(kept, rowvar=False))
    share = float(values[-1] / values.sum())
    if share < COLLINEAR:
        return []
    message = f"one direction holds {share:.4%} of the variance of the standardised columns: the others are hardly learned"
    return [
        Finding(
            "inputs-collinear", "warn", message, "inputs", "remove what the columns share, or whiten them"
        )
    ]


def shifted_columns(train: Array, validation: Array, ndim: int) -> list[Finding]:
    """A column whose mean or deviation differs between training and validation data."""
    if min(len(train), len(validation)) < FEWEST:
        return []
    deviation = np.sqrt((train.var(0) + validation.var(0)) / 2)
    scale = np.where(deviation > 0, deviation, np.inf)
    far = np.abs(train.mean(0) - validation.mean(0)) / scale
    errors = far / np.sqrt(1 / len(train) + 1 / len(validation))
    if ndim == 4:  # pixels of inverted images have the same mean and deviation once they are standardised
        far = np.maximum(far, np.abs(np.median(train, 0) - np.median(validation, 0)) / scale)
        errors = far / np.sqrt(1 / len(train) + 1 / len(validation))
    moved = (errors > SHIFT_ERRORS) & (far > SHIFT_DEVIATIONS)
    low, high = np.minimum(train.std(0), validation.std(0)), np.maximum(train.std(0), validation.std(0))
    spread = _robust_ratio(train, validation) > SCALE_RATIO
    spread &= high > SCALE_RATIO * low
    if not (moved | spread).any():
        return []
    column = int(np.where(moved, far, 0).argmax() if moved.any() else spread.argmax())
    message = (
        f"mean {train[:, column].mean():.3g} and deviation {train[:, column].std():.3g} in training, "
        f"{validation[:, column].mean():.3g} and {validation[:, column].std():.3g} in validation data"
    )
    count = int((moved | spread).sum())
    where = _column_name(column, ndim) + (f" and {count - 1} {noun(count - 1, 'other')}" if count > 1 else "")
    return [
        Finding("splits-differ", "warn", message, where, "prepare both in the same way and split at random")
    ]


def _robust_ratio(train: Array, validation: Array) -> Array:
    """Ratio of the larger to the smaller spread between the 5th and 95th percentile; 1 where one is zero."""
    spans = [np.subtract(*np.percentile(values, [95, 5], axis=0)) for values in (train, validation)]
    low, high = np.minimum(*spans), np.maximum(*spans)
    return np.asarray(np.where(low > 0, high / np.where(low > 0, low, 1), 1.0))


def leak(train: Array, validation: Array, task: Task) -> list[Finding]:
    """A column that alone predicts the target of validation examples, as learned from training examples."""
    if min(len(train), len(validation)) < FEWEST:
        return []
    y, held_out = task.train.y.numpy(), task.validation.y.numpy()
    advice = "check that this input is known when a prediction is made"
    if task.classes is None:
        target, truth = y[:, 0], held_out[:, 0]
        centred = truth - truth.mean()
        shares = []
        for column, new in zip(train.T, validation.T, strict=True):
            line = np.polyfit(column, target, 1) if column.std() > 0 else np.array([0.0, target.mean()])
            shares.append(1 - ((np.polyval(line, new) - truth) ** 2).sum() / max((centred**2).sum(), 1e-300))
        best = int(np.argmax(shares))
        if shares[best] < LEAK_R2 or train.shape[1] < 2:
            return []
        message = f"column {best} of the inputs alone explains {shares[best]:.1%} of the target's variance in validation data"
        return [Finding("input-tells-target", "warn", message, f"column {best} of the inputs", advice)]
    majority = float(np.mean(held_out == np.bincount(y).argmax()))
    scores = [
        _binned_accuracy(*pair, y, held_out, task.classes) for pair in zip(train.T, validation.T, strict=True)
    ]
    best = int(np.argmax(scores))
    if scores[best] < max(LEAK, majority + LEAK_GAIN) or train.shape[1] < 2:
        return []
    message = f"column {best} of the inputs alone predicts {scores[best]:.1%} of the validation labels"
    return [Finding("input-tells-target", "warn", message, f"column {best} of the inputs", advice)]


def _binned_accuracy(column: Array, new: Array, y: Labels, target: Labels, classes: int) -> float:
    """Accuracy on `new` of the most frequent class in each of at most `BINS` bins of `column`."""
    edges = np.unique(np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = np.zeros((len(edges) + 1, classes))
    np.add.at(counts, (np.searchsorted(edges, column, side="right"), y), 1)
    return float(np.mean(counts.argmax(1)[np.searchsorted(edges, new, side="right")] == target))
