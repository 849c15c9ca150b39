"""Losses of models that know the distribution of the targets but not the inputs."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log, sqrt

import torch

from ablate.tasks.reference_loss import constant_loss, zero_loss
from ablate.tasks.split import Split
from ablate.tasks.task import Task

BEATEN = 0.99
"""A loss must be below this fraction of the reference to count as better."""


@dataclass(frozen=True, slots=True)
class Prior:
    """Losses of models that ignore their inputs.

    `loss`: the lowest one, the entropy of the class frequencies in nats, or the targets' variance averaged
    over outputs. `start`: of outputs of zero, ln C, or the mean square of the targets. An initial
    loss should lie between the two. Under other criteria both are losses of constant outputs, the best ones and zero.
    """

    loss: float
    start: float

    @classmethod
    def of(cls, task: Task, split: Split | None = None) -> Prior:
        """Of `split`, by default the training data."""
        y = (task.train if split is None else split).y
        if task.loss is not None or task.criterion not in ("classification", "regression"):
            return cls(constant_loss(task, y, y), zero_loss(task, y))
        if task.classes is None:
            values = y.double()
            return cls(float(values.var(0, correction=0).mean()), float(values.square().mean()))
        share = y.bincount().double() / len(y)
        return cls(float(-torch.special.xlogy(share, share).sum()), log(task.classes))


@dataclass(frozen=True, slots=True)
class NoInputBaseline:
    """The performance of a model without inputs on validation data.

    `loss`: the lower one of predicting the training targets' distribution and of outputs of zero, as cross-entropy or
    squared error. `accuracy`: three standard errors above that of the most frequent training class;
    infinite for regression.
    """

    loss: float
    accuracy: float

    @classmethod
    def of(cls, task: Task) -> NoInputBaseline:
        train, y = task.train.y, task.validation.y
        if task.loss is not None or task.criterion not in ("classification", "regression"):
            return cls(min(constant_loss(task, train, y), zero_loss(task, y)), inf)
        if task.classes is None:
            guess = train.double().mean(0)
            return cls(float((y.double() - guess).square().mean()), inf)
        counts = (
            train.bincount(minlength=task.classes).double() + 1
        )  # additive smoothing: no class has an infinite loss
        top = float((y == int(counts.argmax())).double().mean())
        error = sqrt(max(top * (1 - top), 1 / len(y)) / len(y))
        frequencies = float(-(counts / counts.sum())[y].log().mean())
        return cls(min(frequencies, log(task.classes)), top + 3 * error)

    def beaten(self, loss: float, accuracy: float) -> bool:
        """Whether a model with this validation loss and accuracy (NaN if there is none) is better."""
        return loss < self.loss - (1 - BEATEN) * abs(self.loss) or accuracy > self.accuracy
