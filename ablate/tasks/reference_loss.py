"""The loss of outputs that do not depend on the inputs, which training must beat."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ablate.seams.boxes import BOX, FACTOR, PLACE
from ablate.tasks.evaluation import Evaluation
from ablate.tasks.task import Task

ROWS = 512
"""Number of targets to which a constant is fitted for a custom loss."""
STEPS = 50
FEWER_ROWS = 128
"""Number of targets to which a detector's constant is fitted; it has many outputs."""


def constant_outputs(evaluation: Evaluation, y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The best constant outputs `[1, 1, …]`, fitted to targets `y` (`Task.judged`); `shape`: of one example's outputs.

    For a custom loss by L-BFGS from zero; zeros if that finds nothing better.
    """
    loss = evaluation.loss
    if loss is None:
        return evaluation.code.constant(evaluation.plain(y), shape)
    initial = (
        evaluation.code.constant(evaluation.plain(y), shape)
        if loss.prediction is None
        else torch.zeros(shape)
    )
    some = y[:ROWS]
    start = initial.float().expand(1, 1, *shape)[0, 0].clone()
    return fitted(start, lambda outputs: loss.mean(outputs.expand(len(some), *shape), some))[None, None]


def fitted(start: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """`start`, or the outputs that L-BFGS finds from there if their loss is lower."""
    constant = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([constant], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(constant)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        better = bool(constant.isfinite().all()) and bool(loss(constant) < loss(start))
    return constant.detach() if better else start


def constant_detections(task: Task, y: Tensor) -> Tensor:
    """The best constant outputs `[1, 1, A, 7 + C]` of a detector for targets `y`, fitted from an untrained model's, which have its places."""
    some = y[:FEWER_ROWS]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        start = task.model().eval()(task.train.x[:FEWER_ROWS]).mean(dim=0)
    places = start[..., PLACE]

    def loss(outputs: Tensor) -> Tensor:
        placed = torch.cat([outputs[..., BOX], places, outputs[..., FACTOR:]], dim=-1)
        value: Tensor = task.evaluation.code.plain_loss(placed.expand(len(some), *placed.shape), some)
        return value

    outputs = fitted(start, loss)
    outputs[..., PLACE] = places
    return outputs[None, None]


def metric_of_constant(task: Task, constant: Tensor, y: Tensor, metric: str) -> float:
    """A metric of the outputs `constant` `[1, 1, …]` for every target of `y`."""
    evaluation, shape = task.evaluation, task.output_form.flat
    wide = constant if evaluation.loss is None else constant.float()
    parts = torch.split(y, evaluation.rows(task.batch_size))
    collected = [evaluation.collect(wide.expand(1, len(target), *shape), target) for target in parts]
    return evaluation.metrics(torch.cat(collected, dim=1), y, [metric])[metric].item()


def constant_loss(task: Task, training_y: Tensor, y: Tensor) -> float:
    """The loss on targets `y` of the best constant outputs for the targets `training_y`."""
    constant = (
        constant_detections(task, training_y)
        if task.criterion == "detection"
        else constant_outputs(task.evaluation, training_y, task.output_form.flat)
    )
    return metric_of_constant(task, constant, y, "loss")


def zero_loss(task: Task, y: Tensor) -> float:
    """The loss on targets `y` of outputs of zero."""
    return metric_of_constant(task, torch.zeros(1, 1, *task.output_form.flat), y, "loss")
