"""Standard error of a validation metric over examples.

Proportions are binomial; a metric that weighs classes equally has the error of its rarest classes, not of the whole
split. Area under the ROC curve: Hanley & McNeil 1982, Radiology 143. Losses and errors: from per-example scores
(delta method for roots).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, sqrt

import numpy as np

from ablate.protocol.short_runs import Array
from ablate.records.run import Result
from ablate.tasks.task import Task

SMALLEST = 1e-38
"""Probabilities are clipped here before the logarithm."""


def is_plain(task: Task) -> bool:
    """Whether the task is classification or regression under its own criterion's loss, with scores for each example."""
    return task.criterion in ("classification", "regression") and task.loss is None


def standard_error(task: Task, value: float, result: Result | None = None) -> float:
    """The standard error of `value`, the task's metric on the validation split; 0 if unknown.

    `result`: a run with per-example scores, needed for losses and errors of regression.
    """
    name = task.metric_info().name
    if not isfinite(value) or not is_plain(task):
        return 0.0
    if task.classes is None or name in ("loss", "log_loss"):
        scores = np.asarray((result.scores if result else {}).get("validation", ()))
        return _of_scores(task, name, scores) if len(scores) > 1 else 0.0
    counts = [n for n in task.validation.y.bincount().tolist() if n]
    if name == "accuracy":
        return _proportion(value, sum(counts))
    if name == "worst_class_recall":
        return _proportion(value, min(counts))
    if name == "balanced_accuracy":
        return _mean_of(value, counts)
    if name == "f1":
        return _f1(task, result) if task.classes == 2 else _mean_of(value, counts)
    if name == "auroc":
        errors = [_area(value, n, sum(counts) - n) for n in (counts[-1:] if task.classes == 2 else counts)]
        return sqrt(sum(error**2 for error in errors)) / len(errors)
    return 0.0


def _proportion(share: float, count: int) -> float:
    return sqrt(max(share * (1 - share), 0.0) / count)


def _mean_of(share: float, counts: Sequence[int]) -> float:
    """Standard error of a mean of proportions over classes with `counts` examples, each near `share`."""
    return sqrt(sum(_proportion(share, count) ** 2 for count in counts)) / len(counts)


def _f1(task: Task, result: Result | None) -> float:
    """Standard error of F1 = 2a / (2a + b), a and b the shares of true positives and of errors; delta method. 0 without scores."""
    scores = np.asarray((result.scores if result else {}).get("validation", ()))
    labels = task.validation.y.numpy()
    if len(scores) != len(labels):
        return 0.0
    right = scores > 0.5
    hit, wrong = (right & (labels == 1)).astype(float), (~right).astype(float)
    a, b = float(hit.mean()), float(wrong.mean())
    if 2 * a + b == 0:
        return 0.0
    influence = 2 * (b * hit - a * wrong) / (2 * a + b) ** 2
    return float(influence.std(ddof=1)) / sqrt(len(labels))


def _area(area: float, members: int, others: int) -> float:
    """Hanley & McNeil, equation 1."""
    if not members or not others:
        return 0.0
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (members - 1) * (one - area**2) + (others - 1) * (two - area**2)) / (
        members * others
    )
    return sqrt(max(variance, 0.0))


def _of_scores(task: Task, name: str, scores: Array) -> float:
    """`scores` `[N]`: probability of the true class, or squared error."""
    values = -np.log(np.maximum(scores, SMALLEST)) if task.classes is not None else scores
    if name == "mae":
        values = np.sqrt(values)
    error = float(values.std(ddof=1)) / sqrt(len(values))
    if name == "rmse":
        return error / (2 * sqrt(max(float(values.mean()), SMALLEST)))
    if name == "r2":
        return error / max(float(task.validation.y.double().var(0, correction=0).mean()), SMALLEST)
    return error
