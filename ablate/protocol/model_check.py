"""Step 1's look at untrained models of the task: their layers, their modes, their parameters and the task's own loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablate.lanes.build import build_module
from ablate.lanes.trainer import Trainer
from ablate.protocol.batch_checks import (
    apart,
    dropout_findings,
    evaluation_findings,
    frozen_findings,
)
from ablate.protocol.loss_causes import loss_findings
from ablate.protocol.norm_checks import norm_findings
from ablate.protocol.short_runs import map_lanes
from ablate.protocol.signals import equal_head, signal_findings, signals, symmetric_layers
from ablate.protocol.steps import Finding, Setup
from ablate.tasks.split import shuffled
from ablate.tasks.task import Task

EXAMPLES = 64


def model_findings(setup: Setup) -> list[Finding]:
    """What trials with one fresh model show, on a few training examples.

    The model is the baseline's, with its tricks; frozen parameters and dropout are looked for in the user's own.
    """
    task = setup.context.task
    if len(task.train) < 2:
        return []
    x = task.train.x[shuffled(len(task.train))[:EXAMPLES].copy()].to(setup.context.device)
    users = [build_module(task.model, setup.seed + i, task.train.x[:2]) for i in range(2)]
    (model,) = map_lanes(setup.context, [setup.short_run(0.0)], one_model)

    def forward(inputs: Tensor = x) -> Tensor:
        outputs: Tensor = model(inputs)
        return outputs

    steps = task.epochs * max(1, len(task.train) // task.batch_size)
    findings = norm_findings(model, lambda: forward(x[: max(task.batch_size, 1)]), steps)
    if any(one.level == "fail" for one in findings):
        return findings
    layers = signals(model.train(), lambda: apart(forward))
    return [
        *findings,
        *frozen_findings(*users),
        *(symmetric_layers(layers, model) or signal_findings(layers)),
        *equal_head(layers, model),
        *(evaluation_findings(model, x, forward) or dropout_findings(users[0], x.cpu(), users[0])),
        *own_loss(task, model, x),
    ]


def one_model(trainer: Trainer) -> list[nn.Module]:
    """The first lane's model, as the only value."""
    return [trainer.model(0)]


@torch.no_grad()
def own_loss(task: Task, model: nn.Module, x: Tensor) -> list[Finding]:
    """Faults of the task's own loss; none where the criterion's is used."""
    if task.loss is None:
        return []
    y = task.judged(task.train, shuffled(len(task.train))[:EXAMPLES].copy()).to(x.device)
    given = task.evaluation.plain_loss
    return loss_findings(given, apart(lambda: model(x)), y, negative=task.criterion == "custom")
