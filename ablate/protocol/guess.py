"""Tests whether a trained model is better than a guess without inputs: a paired test over validation examples.

Per example, the model's loss is compared with that of the best constant prediction; the mean difference is judged by
its own standard error, so that neither a lucky split nor a wide spread of losses decides. For metrics that weigh
classes equally the expected accuracy is compared as well, averaged over classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erfc, inf, isfinite, sqrt
from typing import Any

import numpy as np

from ablate.protocol.short_runs import Array
from ablate.protocol.standard_error import SMALLEST, is_plain
from ablate.records.run import Result
from ablate.tasks.reference_loss import constant_loss, zero_loss
from ablate.tasks.task import Task

ALPHA = 0.001
"""One-sided level; the best of many epochs and rates is tested, hence so low."""
MARGIN = 0.01
"""Fraction of the guess's loss by which a mean loss must be below it, where there is no paired test."""
BALANCED = ("balanced_accuracy", "worst_class_recall", "f1", "auroc")
FEW = 30
"""Fewer validation examples than this cannot prove much: a model that is not significantly better is only warned about."""


@dataclass(frozen=True, slots=True)
class PairedTest:
    """`loss` and `guess`: mean validation losses of the model and of the constant prediction; `p`: one-sided."""

    loss: float
    guess: float
    p: float
    examples: int

    @property
    def better(self) -> bool:
        """Whether the model is significantly better than the guess."""
        return self.loss < self.guess and self.p < ALPHA

    def to_dict(self) -> dict[str, Any]:
        return {"loss": self.loss, "guess": self.guess, "p": self.p, "examples": self.examples}


def guess_loss(task: Task) -> float:
    """The mean validation loss of the best constant prediction learned from the training targets.

    Infinite for two networks that train against each other: no level of their losses says that nothing was learned.
    """
    if task.criterion == "adversarial":
        return inf
    if is_plain(task):
        return float(guess_losses(task).mean())
    train, y = task.judged(task.train), task.judged(task.validation)
    return min(constant_loss(task, train, y), zero_loss(task, y))


def guess_losses(task: Task) -> Array:
    """Validation losses `[N]` of the best constant prediction learned from the training targets.

    Classification: the class frequencies (with one example added to each class) or uniform, whichever is lower.
    Regression: the mean.
    """
    train, y = task.train.y, task.validation.y
    if task.classes is None:
        squares = (y.double() - train.double().mean(0)).square()
        return np.asarray(squares.mean(1).numpy() if squares.ndim > 1 else squares.numpy())
    counts = train.bincount(minlength=task.classes).double() + 1
    by_share = -(counts / counts.sum())[y].log().numpy()
    uniform = np.full(len(y), np.log(task.classes))
    return by_share if by_share.mean() < uniform.mean() else uniform


def against_guess(task: Task, result: Result) -> PairedTest:
    """The test of a run's per-example scores; a run without scores is never better.

    Under other criteria than plain classification and regression the mean losses are compared, with `MARGIN`.
    """
    if not is_plain(task):
        loss, reference = result.metrics.get("validation/loss", float("nan")), guess_loss(task)
        margin = MARGIN * abs(reference) if isfinite(reference) else 0.0
        below = loss < reference - margin
        return PairedTest(loss, reference, 0.0 if below else 1.0, len(task.validation))
    guess = guess_losses(task)
    scores = np.asarray(result.scores.get("validation", ()), dtype=float)
    if len(scores) != len(guess):
        return PairedTest(float("nan"), float(guess.mean()), 1.0, len(guess))
    losses = scores if task.classes is None else -np.log(np.maximum(scores, SMALLEST))
    p = one_sided(guess - losses)
    if task.classes is not None and task.metric_info().name in BALANCED:
        p = max(p, _balanced(scores, task.validation.y.numpy()))
    return PairedTest(float(losses.mean()), float(guess.mean()), p, len(guess))


def one_sided(gains: Array) -> float:
    """p of the hypothesis that the mean of `gains` `[N]` is not above zero (normal approximation)."""
    if len(gains) < 2:
        return 1.0
    return _tail(float(gains.mean()), float(gains.std(ddof=1)) / sqrt(len(gains)))


def _balanced(scores: Array, labels: Array) -> float:
    """p of the hypothesis that the probability of the true class, averaged over classes, is at most 1 ÷ classes."""
    groups = [scores[labels == label] for label in np.unique(labels)]
    if len(groups) < 2 or min(map(len, groups)) < 2:
        return 0.0
    mean = float(np.mean([group.mean() for group in groups])) - 1 / len(groups)
    error = sqrt(sum(float(group.var(ddof=1)) / len(group) for group in groups)) / len(groups)
    return _tail(mean, error)


def _tail(mean: float, error: float) -> float:
    if error == 0:
        return 0.0 if mean > 0 else 1.0
    return 0.5 * erfc(mean / error / sqrt(2))
