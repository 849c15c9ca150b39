"""Trials without a part of the setup: do a softmax, weight decay, a trick or dropout prevent a small sample from being overfitted?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ablate.lanes.build import build_module
from ablate.protocol.baseline import Baseline
from ablate.protocol.batch_checks import (
    STRONG_DROPOUT,
    USUAL_DROPOUT,
    evaluating,
    strongest_dropout,
    without_dropout,
)
from ablate.protocol.fit import fit
from ablate.protocol.output_causes import are_probabilities
from ablate.protocol.short_runs import with_examples
from ablate.protocol.steps import Finding, Setup
from ablate.tasks.task import Task

DECADES = (3, 1)
"""Whole decades that are tried below and above the optimizer's default rate."""


def prevented(sample: Setup, goal: float, steps: int, *, learns: bool) -> Finding | None:
    """The finding of the first trial in which a rate reaches `goal` within `steps`; None if none does.

    `sample`: the setup on the small sample that was not overfitted. `learns`: whether some rate got the loss below the prior.
    """
    for finding, changed in trials(sample, learns=learns):
        fits = fit(changed, changed.baseline.decades(*DECADES), goal, steps=steps)
        if any(one.alive and one.score >= goal for one in fits):
            return finding
    return None


def trials(sample: Setup, *, learns: bool) -> Iterator[tuple[Finding, Setup]]:
    """What is left out, one part at a time, the certain causes first: the finding if that helps, and the setup without it."""
    baseline, context = sample.baseline, sample.context
    optimizer = baseline.optimizer.name
    rate = float(baseline.optimizer.parameter("lr").default)
    if ends_in_softmax(context.task):
        task = context.task.but(loss=of_probabilities)
        yield _softmax(), sample.on(with_examples(replace(context, task=task), task.train))
    if baseline.decay > 0:
        yield _decay(baseline), replace(sample, baseline=Baseline(baseline.at(rate, 0.0), baseline.catalogue))
    for name in baseline.briefly(rate):
        if name not in (optimizer, "weight_decay"):
            without = Baseline(baseline.recipe.without(name), baseline.catalogue)
            yield _trick(baseline, name), replace(sample, baseline=without)
    if share := strongest_dropout(context.task.model()):
        plain = context.task.but(model=without_dropout(context.task.model))
        yield _dropout(share, learns=learns), sample.on(replace(context, task=plain))


def ends_in_softmax(task: Task) -> bool:
    """Whether an untrained model's outputs are probabilities, to which the task's cross-entropy applies a softmax again."""
    if task.criterion != "classification" or task.loss is not None:
        return False
    x = task.train.in_memory
    model = build_module(task.model, 0, x[:2])
    with evaluating(model):
        return are_probabilities(model(x))


def of_probabilities(outputs: Tensor, targets: Tensor) -> Tensor:
    """The cross-entropy of outputs `[B, C]` that are probabilities already: of the model without its softmax."""
    return F.nll_loss(outputs.clamp_min(torch.finfo(outputs.dtype).tiny).log(), targets)


def _softmax() -> Finding:
    return Finding(
        "outputs-are-probabilities", "fail",
        "with the softmax that precedes the cross-entropy no rate overfits a small sample, without it one does",
        "the model's last layer", "return logits, without softmax",
    )  # fmt: skip


def _decay(baseline: Baseline) -> Finding:
    return Finding(
        "decay-too-strong", "fail", f"with a weight decay of {baseline.decay:g} no rate overfits a small sample, without it one does",
        "weight decay", "make it smaller: 1e-4 to 1e-2 are usual",
    )  # fmt: skip


def _trick(baseline: Baseline, name: str) -> Finding:
    settings = ", ".join(f"{key} {value}" for key, value in baseline.recipe[name].items())
    return Finding(
        "trick-prevents-learning", "fail", f"with {name} ({settings}) no rate overfits a small sample, without it one does",
        name, "check its settings, or leave it out",
    )  # fmt: skip


def _dropout(rate: float, *, learns: bool) -> Finding:
    """A failure where dropout keeps the loss above the prior; a note where it only slows the fit, which a usual rate does in healthy models."""
    message = f"with a drop rate of {rate:g} no rate overfits a small sample, without dropout one does"
    if learns and rate <= USUAL_DROPOUT:
        return Finding("slowed-by-dropout", "note", message, "dropout layers")
    return Finding(
        "dropout-too-strong", "warn" if learns and rate < STRONG_DROPOUT else "fail", message,
        "dropout layers", "lower it: 0.1 to 0.5 are usual",
    )  # fmt: skip
