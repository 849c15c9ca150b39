"""Checks that a fresh model's outputs fit the criterion, the loss and the metrics."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan

import torch
from torch import Tensor

from ablate.records.errors import InputError
from ablate.seams.boxes import LOGITS
from ablate.surgery.adversarial_pair import SCORES
from ablate.tasks.task import Task
from ablate.tasks.user_code import draws

METRIC_ROWS = 256
"""Validation examples on which the user's metrics are tried."""


def check_shape(task: Task, shape: list[int], batch: int) -> None:
    """Raise InputError if outputs of `shape` do not fit the criterion for `batch` examples."""
    if task.criterion == "custom":
        if shape[:1] != [batch]:
            raise InputError(
                f"the model's output has shape {shape} for {batch} examples", hint="return [batch, …]"
            )
        return
    if task.criterion == "detection":
        classes = 1 + max(int(split.y[..., 0].max()) for split in task.splits.values())
        if len(shape) != 3 or shape[0] != batch or shape[2] < LOGITS + classes:
            hint = "return a box, its place, a factor of 1 and a logit for each class for every place (ablate/seams/boxes.py)"
            expected = f"[{batch}, places, {LOGITS} + {classes} or more]"
            raise InputError(f"the model's output has shape {shape}, expected {expected}", hint=hint)
        return
    if task.criterion == "adversarial":
        if shape != [batch, SCORES + task.outputs]:
            hint = "make the task by ablate.gan_task; its generator returns examples of the shape of the real ones"
            raise InputError(
                f"the pair's output has shape {shape}, expected {[batch, SCORES + task.outputs]}", hint=hint
            )
        return
    if task.dense:
        _check_dense(task, shape, batch)
        return
    wanted = [batch, task.outputs]
    if shape != wanted:
        raise _wrong_shape(task, shape, wanted)


def _check_dense(task: Task, shape: list[int], batch: int) -> None:
    positions = list(task.train.y.shape[1:])
    if len(positions) == 1:
        right, classes = shape[:-1] == [batch, *positions], shape[-1]
        form = f"[{batch}, {positions[0]}, {task.outputs} or more]"
        hint = (
            "end forward with .transpose(1, 2)" if shape[2:] == positions else "return logits of every token"
        )
    else:
        right, classes = [shape[0], *shape[2:]] == [batch, *positions], shape[min(1, len(shape) - 1)]
        form = f"[{batch}, {task.outputs} or more, {', '.join(map(str, positions))}]"
        last = len(shape) == 4 and shape[1:3] == positions
        hint = "end forward with .permute(0, 3, 1, 2)" if last else "return logits of every pixel"
    if not right:
        raise InputError(f"the model's output has shape {shape}, expected {form}", hint=hint)
    if classes < task.outputs:
        raise InputError(
            f"y holds the class {task.outputs - 1}, but the model has {classes} outputs",
            hint=f"number the classes 0 … {classes - 1}, with -100 at {'tokens' if len(positions) == 1 else 'pixels'} that do not count, "
            f"or give the model {task.outputs} outputs",
        )


def _wrong_shape(task: Task, shape: list[int], wanted: list[int]) -> InputError:
    message = f"the model's output has shape {shape}, expected {wanted}"
    if task.criterion == "multilabel":
        return InputError(
            message, hint=f"multilabel takes logits [batch, labels], here {task.outputs} labels"
        )
    if task.classes is None:
        if shape == wanted[:1] and wanted[1] == 1:
            return InputError(message, hint="end forward with .unsqueeze(1)")
        return InputError(
            message, hint=f"regression on {task.outputs} target(s) takes [batch, {task.outputs}]"
        )
    if len(shape) == 2 and shape[0] == wanted[0] and shape[1] < wanted[1]:
        if shape[1] == 1 and wanted[1] == 2:
            return InputError(
                "y holds the labels 0 and 1, and the model has one output",
                hint='give the model 2 outputs; or, to keep one logit, give y as [N, 1], y[:, None], with criterion="multilabel"',
            )
        where, label = max(
            ((where, int(s.y.max())) for where, s in task.splits.items()), key=lambda pair: pair[1]
        )
        return InputError(
            f"{where} y holds the label {label}, but the model has {shape[1]} outputs",
            hint=f"number the classes 0 … {shape[1] - 1}, or give the model {wanted[1]} outputs",
        )
    return InputError(
        message, hint=f"classification takes logits [batch, classes], here {task.classes} classes"
    )


def check_loss(task: Task, output: Tensor) -> list[str]:
    """Raise InputError if the task's custom loss cannot be trained; return warnings. `output`: of the first examples."""
    if task.loss is None:
        return []
    loss = task.evaluation.loss
    assert loss is not None
    y = task.judged(task.train, slice(len(output)))
    losses = loss(output.detach().clone().requires_grad_(), y)
    if draws(lambda: loss(output.detach().clone().requires_grad_(), y)):
        raise InputError(
            "the loss draws random numbers", hint="draw them in the model's forward, where they are seeded"
        )
    if not losses.is_floating_point():
        raise InputError(f"the loss returned {losses.dtype}", hint="return floating-point numbers")
    if not losses.requires_grad:
        raise InputError(
            "the loss has no gradient", hint="compute it from the outputs, without detach, argmax or item"
        )
    if not losses.isfinite().all():
        what = "NaN" if losses.isnan().any() else "infinite"
        raise InputError(
            f"the loss is {what} for the fresh model's outputs", hint="look for a log or a division in it"
        )
    if losses.ndim:
        return []
    notes = ["the loss returns one number for a batch, which is taken as its mean"]
    with torch.no_grad():
        once, twice = float(losses), float(loss(torch.cat([output, output]), torch.cat([y, y])))
    if abs(once) > 0 and abs(twice - 2 * once) < 1e-3 * abs(once):
        notes = [
            'the loss is a sum over the batch: the learning rate depends on the batch size (reduction="mean" does not)'
        ]
    return notes


def check_metrics(task: Task) -> Iterator[str]:
    """Raise InputError if one of the task's custom metrics raises or returns no number, or if the selection metric is
    not finite for random outputs too; yield warnings about others that are not."""
    if not task.metrics:
        return
    split = task.validation
    with torch.no_grad():
        outputs = task.model().eval()(split.x[:METRIC_ROWS]).float()
    y = task.judged(split, slice(METRIC_ROWS))
    for name, value in task.evaluation.metrics(outputs[None], y, list(task.metrics)).items():
        if not isnan(value.item()):
            continue
        message = (
            f"the metric '{name}' is not finite for the fresh model's outputs on {len(y)} validation examples"
        )
        if task.metric == f"validation/{name}":
            again = task.evaluation.metrics(torch.randn_like(outputs)[None], y, [name])[name]
            if isnan(again.item()):
                raise InputError(
                    f"{message}, and for random ones", hint="return a number, or choose another metric"
                )
        yield message
