"""Chance level: the metrics of a constant prediction, which has learned nothing."""

from __future__ import annotations

from ablate.tasks.reference_loss import constant_outputs, metric_of_constant
from ablate.tasks.split import Split
from ablate.tasks.task import Task

NEAR = 0.1
UNTELLING = ("ece",)
"""Metrics in which a constant prediction scores well."""


def chance_level(task: Task, metric: str | None = None, split: Split | None = None) -> float | None:
    """The metric of predicting the training split's class shares (or mean) for every example of `split`, by default the validation split.

    `metric`: a name as in the task's (its own by default). None for metrics in which that is meaningless.
    """
    info = task.metric_info(metric)
    if info.name in UNTELLING:
        return None
    constant = constant_outputs(task.evaluation, task.judged(task.train), task.output_form.flat)
    return metric_of_constant(task, constant, task.judged(split or task.validation), info.name)


def collapse_level(task: Task, metric: str | None = None) -> float | None:
    """A run this bad or worse has collapsed: within a tenth of the way from chance to perfect."""
    info = task.metric_info(metric)
    if info.name in task.metrics or (info.name == "loss" and task.loss is not None):
        return None  # the perfect value is unknown
    level = chance_level(task, metric)
    if level is None:
        return None
    perfect = 1.0 if info.direction == "higher" else 0.0
    return level + NEAR * (perfect - level)
