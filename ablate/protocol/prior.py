"""What a model can reach that knows the targets' distribution but not the inputs."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log, sqrt

import torch

from ablate.tasks.split import Split
from ablate.tasks.task import Task

BEATEN = 0.99
"""A loss must be below this share of a prior's to count as better."""


@dataclass(frozen=True, slots=True)
class Prior:
    """Losses of models that ignore their inputs.

    `loss`: the best of them: the entropy of the class frequencies in nats, or the targets' variance, averaged
    over outputs. `start`: what outputs of zero cost: ln C, or the mean of the targets' squares. An initial
    loss belongs between the two.
    """

    loss: float
    start: float

    @classmethod
    def of(cls, task: Task, split: Split | None = None) -> Prior:
        """Of a split of the task; of its training data unless given."""
        y = (task.train if split is None else split).y
        if task.classes is None:
            values = y.double()
            return cls(float(values.var(0, correction=0).mean()), float(values.square().mean()))
        share = y.bincount().double() / len(y)
        return cls(float(-torch.special.xlogy(share, share).sum()), log(task.classes))


@dataclass(frozen=True, slots=True)
class NoInputBaseline:
    """What a model without inputs can be worth on validation data.

    `loss`: the lower one of the training targets' distribution and of outputs of zero, as cross-entropy or
    squared error. `accuracy`: what the most frequent class of training data hardly exceeds by chance (three
    standard errors above its share); infinite for regression.
    """

    loss: float
    accuracy: float

    @classmethod
    def of(cls, task: Task) -> NoInputBaseline:
        train, y = task.train.y, task.validation.y
        if task.classes is None:
            guess = train.double().mean(0)
            return cls(float((y.double() - guess).square().mean()), inf)
        counts = train.bincount(minlength=task.classes).double() + 1  # no class may cost infinity
        top = float((y == int(counts.argmax())).double().mean())
        error = sqrt(max(top * (1 - top), 1 / len(y)) / len(y))
        frequencies = float(-(counts / counts.sum())[y].log().mean())
        return cls(min(frequencies, log(task.classes)), top + 3 * error)

    def beaten(self, loss: float, accuracy: float) -> bool:
        """Whether a model with this validation loss and accuracy (NaN where there is none) knows more."""
        return loss < BEATEN * self.loss or accuracy > self.accuracy
