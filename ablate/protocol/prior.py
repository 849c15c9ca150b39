"""Training losses of models that know the distribution of the targets but not the inputs."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import torch

from ablate.tasks.reference_loss import constant_loss, zero_loss
from ablate.tasks.split import Split
from ablate.tasks.task import Task


@dataclass(frozen=True, slots=True)
class PriorLosses:
    """Losses of models that ignore their inputs.

    `loss`: the lowest one, the entropy of the class frequencies in nats, or the targets' variance averaged
    over outputs. `start`: of outputs of zero, ln C, or the mean square of the targets. An initial
    loss should lie between the two. Under other criteria both are losses of constant outputs, the best ones and zero; of a detector both of the best
    ones, as outputs of zero are no boxes.
    """

    loss: float
    start: float
    start_of: str = "outputs of zero"

    @classmethod
    def of(cls, task: Task, split: Split | None = None) -> PriorLosses:
        """The losses on `split`, by default the training data."""
        split = task.train if split is None else split
        y = task.judged(split)
        if task.criterion == "detection":
            loss = constant_loss(task, y, y)
            return cls(loss, loss, "the best constant outputs")
        if task.loss is not None or task.criterion not in ("classification", "regression"):
            return cls(constant_loss(task, y, y), zero_loss(task, y))
        if task.classes is None:
            values = y.double()
            return cls(float(values.var(0, correction=0).mean()), float(values.square().mean()))
        share = y.bincount().double() / len(y)
        return cls(float(-torch.special.xlogy(share, share).sum()), log(task.classes))
