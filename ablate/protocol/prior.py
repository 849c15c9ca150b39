"""What a model can reach that knows the targets' distribution but not the inputs."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log, sqrt

import torch

from ablate.tasks.split import Split
from ablate.tasks.task import Task


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
class ValidationPrior:
    """What the training targets' distribution alone is worth on validation data.

    `loss`: its cross-entropy or squared error. `clearly_better`: an accuracy that the most frequent class does
    not reach by chance (three standard errors above its share); infinite for regression.
    """

    loss: float
    clearly_better: float


def validation_prior(task: Task) -> ValidationPrior:
    train, y = task.train.y, task.validation.y
    if task.classes is None:
        mean = train.double().mean(0)
        return ValidationPrior(float((y.double() - mean).square().mean()), inf)
    counts = train.bincount(minlength=task.classes).double()
    share = (counts + 1) / (counts + 1).sum()  # a class that training lacks must not cost infinity
    top = float((y == int(counts.argmax())).double().mean())
    error = sqrt(max(top * (1 - top), 1 / len(y)) / len(y))
    return ValidationPrior(float(-share[y].log().mean()), top + 3 * error)
