"""What a model reaches that has learned nothing: the metrics of a constant prediction."""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.tasks.metric_table import metric_info
from ablate.tasks.metrics import metrics
from ablate.tasks.task import Task

NEAR = 0.1
UNTELLING = ("ece",)
"""Metrics in which a constant prediction is good."""


def chance_level(task: Task, metric: str | None = None) -> float | None:
    """The metric of predicting the training split's class shares (or mean) for every validation example.

    `metric`: a name as in the task's (its own by default). None for a metric in which that says nothing.
    """
    info = metric_info(task.criterion, metric or task.metric)
    if info.name in UNTELLING:
        return None
    y = task.validation.y
    guess = constant(task).expand(1, len(y), -1)
    return metrics(task.criterion, guess, y, {info.name})[info.name].item()


def constant(task: Task) -> Tensor:
    """The constant prediction, `[1, 1, C]` log shares or `[1, 1, D]` means."""
    if task.classes is None:
        return task.train.y.mean(dim=0)[None, None]
    counts = torch.bincount(task.train.y, minlength=task.classes).double()
    return ((counts + 1) / (counts.sum() + task.classes)).log()[None, None]


def collapse_level(task: Task, metric: str | None = None) -> float | None:
    """A run this bad or worse has collapsed: within a tenth of the way from chance to perfect."""
    level = chance_level(task, metric)
    if level is None:
        return None
    perfect = 1.0 if metric_info(task.criterion, metric or task.metric).direction == "higher" else 0.0
    return level + NEAR * (perfect - level)
