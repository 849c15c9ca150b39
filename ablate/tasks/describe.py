"""Facts about a task: the output of the commands, and the loss with which lr-find compares the initial loss."""

from __future__ import annotations

from typing import Any

import torch

from ablate.tasks.definition import definition, fresh_model
from ablate.tasks.reference_loss import constant_loss
from ablate.tasks.task import Task


def describe(task: Task) -> dict[str, Any]:
    """The task as plain values, ready for JSON. Makes a model, to count its parameters."""
    parameters = sum(parameter.numel() for parameter in fresh_model(task).parameters())
    facts: dict[str, Any] = {
        "name": task.name,
        "title": task.title,
        "criterion": task.criterion,
        "kind": task.kind,
        "source": task.source,
        "source_sha256": task.source_sha256,
        "data_sha256": task.data_sha256,
        "definition": definition(task),
        "input_shape": list(task.input_shape),
        "outputs": task.outputs,
        "classes": task.classes,
        "labels": list(task.labels),
        "splits": {where: len(split) for where, split in task.splits.items()},
        "metric": task.metric,
        "direction": task.direction,
        "epochs": task.epochs,
        "batch_size": task.batch_size,
        "flips": task.flips,
        "parameters": parameters,
        "prior_loss": prior_loss(task),
        "target_deviation": task.target_deviation,
        "notes": list(task.notes),
    }
    if task.classes is not None:
        facts["class_counts"] = {
            where: split.y.bincount(minlength=task.classes).tolist() for where, split in task.splits.items()
        }
    return facts


def inputs_text(task: Task) -> str:
    """The inputs of one example in words: "1×8×8", or "tokens int64 [20], mask bool [20]"."""
    return str(task.train.packing or "×".join(map(str, task.input_shape)))


def prior_loss(task: Task) -> float:
    """The best loss of a model that ignores its input, on training data.

    Classification: entropy of the class frequencies in nats (ln C if classes are balanced). Regression: the
    targets' variance, averaged over outputs. Otherwise the loss of the best constant outputs.
    """
    y = task.judged(task.train)
    if task.loss is not None or task.criterion not in ("classification", "regression"):
        return constant_loss(task, y, y)
    if task.classes is None:
        return float(y.double().var(0, correction=0).mean())
    share = y.bincount().double() / len(y)
    return float(-torch.special.xlogy(share, share).sum())
