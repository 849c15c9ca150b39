"""Step 0: faults of the data that can be detected without training.

Duplicates between splits, classes without examples, splits of different distributions, constant and extreme inputs, and a
single input that determines the target.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ablate.protocol.data_columns import (
    as_columns,
    collinear_columns,
    constant_columns,
    extreme_value,
    leak,
    shifted_columns,
)
from ablate.protocol.data_examples import conflicting_labels, few_examples, out_of_vocabulary, target_findings
from ablate.protocol.short_runs import Array
from ablate.protocol.standard_error import is_plain
from ablate.protocol.steps import Finding, Setup, Step
from ablate.records.words import noun
from ablate.tasks.split import Split, shuffled
from ablate.tasks.streamed import sample_of
from ablate.tasks.task import Task

MOST = 2000
"""Maximum number of examples of a split for checks of quadratic cost."""
MANY, SOME = 0.5, 0.02
"""Shares of validation examples that also are in the training data: the first fails, the second warns."""
SINGLES = 3
"""Fewer duplicates than this happen by chance with coarse measurements."""
NEAR = 0.02
"""A near-duplicate's distance to its nearest training example, as a fraction of the usual one between training examples."""
FEW = 5
"""Number of training examples of a class below which it is reported."""
DOMINATES = 0.97
"""Share of the training examples above which a class makes accuracy meaningless."""
OTHER_LABELS = 6.0
"""Standard errors by which a class's share may differ between splits."""


def check_data(setup: Setup) -> Step:
    """The step; it looks at training and validation data only."""
    task = setup.context.task
    train, validation = task.train, task.validation
    columns, new = as_columns(sample_of(train.x)), as_columns(sample_of(validation.x))
    targets = target_findings(task)
    if any(one.level == "fail" for one in targets):
        return Step(0, {}, tuple(targets))
    if columns is not None and (columns.max(0) == columns.min(0)).all():
        return Step(0, {}, tuple(constant_columns(columns)))
    equal = shared(train, validation)
    near = near_duplicates(train, validation) if equal < SOME else 0.0
    figures: dict[str, Any] = {
        "examples": {"train": len(train), "validation": len(validation)},
        "also_in_training": equal,
        "near_duplicates": near,
    }
    findings = [*duplicate_findings(equal, near, len(validation)), *class_findings(task)]
    if columns is not None and new is not None:
        findings += [*constant_columns(columns), *extreme_value(columns, train.x.ndim)]
        findings += shifted_columns(columns, new, train.x.ndim)
        findings += (
            leak(columns, new, task)
            if train.x.ndim == 2 and is_plain(task) and not (train.streams or validation.streams)
            else []
        )
        findings += collinear_columns(columns) if train.x.ndim == 2 else []
    findings += [*targets, *few_examples(task), *conflicting_labels(task), *out_of_vocabulary(task)]
    if task.criterion == "classification" and task.classes is not None:
        smallest = train.y.bincount(minlength=task.classes)
        figures["smallest_class"] = int(smallest.min())
    return Step(0, figures, tuple(findings))


def shared(train: Split, validation: Split) -> float:
    """Share of validation examples whose inputs are, bit for bit, those of a training example."""
    training_keys = set(train.row_keys())
    return float(np.mean([key in training_keys for key in validation.row_keys()]))


def near_duplicates(train: Split, validation: Split) -> float:
    """Share of validation examples that nearly equal a training example; 0 for inputs that are not numbers."""
    if not train.x.is_floating_point() or len(train) < 20:
        return 0.0
    x, new = sample_of(train.x), sample_of(validation.x)
    sample = x[shuffled(len(x))[:MOST].copy()].flatten(1).double().numpy()
    others = new[shuffled(len(new))[: MOST // 4].copy()].flatten(1).double().numpy()
    scale = sample.std(0)
    sample, others = sample / np.where(scale > 0, scale, 1.0), others / np.where(scale > 0, scale, 1.0)
    usual = float(np.median(nearest(sample[: MOST // 4], sample, itself=True)))
    return float(np.mean(nearest(others, sample) < NEAR * usual)) if usual > 0 else 0.0


def nearest(rows: Array, references: Array, *, itself: bool = False) -> Array:
    """Distance of each of `rows` `[N, D]` to the nearest of `references` `[M, D]`; `itself`: `rows` are the first of `references`."""
    squares = (rows**2).sum(1)[:, None] + (references**2).sum(1)[None] - 2 * rows @ references.T
    if itself:
        squares[np.arange(len(rows)), np.arange(len(rows))] = np.inf
    return np.asarray(np.sqrt(np.maximum(squares, 0).min(1)))


def duplicate_findings(equal: float, near: float, examples: int) -> list[Finding]:
    """Findings for the shares of equal and nearly equal examples."""
    advice = "split again, so that copies of an example are on one side: validation data that were trained on give optimistic results"
    if equal >= SOME and equal * examples >= SINGLES:
        message = (
            f"{round(equal * examples)} of {examples} validation examples also occur in the training data"
        )
        return [
            Finding("duplicates", "fail" if equal >= MANY else "warn", message, "validation data", advice)
        ]
    if near - equal >= SOME and (near - equal) * examples >= SINGLES:
        message = f"{near:.0%} of the validation examples nearly equal a training example"
        return [Finding("near-duplicates", "warn", message, "validation data", advice)]
    return []


def class_findings(task: Task) -> list[Finding]:
    """Classes without training examples, very small ones, and other class shares in validation than in training."""
    if task.criterion != "classification" or task.classes is None:
        return []
    train = task.train.y.bincount(minlength=task.classes).numpy()
    validation = task.validation.y.bincount(minlength=task.classes).numpy()
    absent = np.flatnonzero((train == 0) & (validation > 0))
    if len(absent):
        names = ", ".join(str(label) for label in absent[:5])
        message = f"{noun(len(absent), 'class', 'classes')} with validation examples but no training example: {names}"
        return [
            Finding("class-missing", "fail", message, "training data", "add examples, or leave the class out")
        ]
    findings = []
    small = np.flatnonzero((train > 0) & (train < FEW))
    if len(small):
        count = int(train[small[0]])
        message = f"class {small[0]} has {count} training {noun(count, 'example')}"
        findings.append(
            Finding("class-rare", "warn", message, "training data", "add examples or merge classes")
        )
    largest = int(train.argmax())
    if train[largest] > DOMINATES * train.sum() and task.metric_info().name == "accuracy":
        message = f"class {largest} has {train[largest] / train.sum():.1%} of the training examples: accuracy hardly depends on the others"
        advice = 'metric="balanced_accuracy", with class weights or balanced sampling'
        findings.append(Finding("class-dominates", "warn", message, "training data", advice))
    shares = train / train.sum(), validation / validation.sum()
    pooled = (train + validation) / (train.sum() + validation.sum())
    error = np.sqrt(pooled * (1 - pooled) * (1 / train.sum() + 1 / validation.sum()))
    off = np.abs(shares[0] - shares[1]) / np.where(error > 0, error, np.inf)
    worst = int(off.argmax())
    if off[worst] > OTHER_LABELS:
        message = f"class {worst} has {shares[0][worst]:.1%} of the training and {shares[1][worst]:.1%} of the validation examples"
        advice = "split at random, stratified by class, or say why they differ"
        findings.append(Finding("labels-differ", "warn", message, "training and validation labels", advice))
    return findings
