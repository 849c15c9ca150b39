"""Step 0's checks of whole examples: too few, equal inputs with different labels, constant or extreme targets, unknown tokens."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress

import torch
from torch import Tensor, nn

from ablate.lanes.build import build_module
from ablate.protocol.batch_checks import evaluating
from ablate.protocol.steps import Finding
from ablate.records.words import noun, verb
from ablate.tasks.streamed import sample_of
from ablate.tasks.task import Task

FEW = 30
"""Training examples below which little can be said."""
CONFLICTS = 0.2
"""Share of training examples whose inputs also occur with another label."""
EXTREME = 1e4
"""Distance of a target from the median, in units of the usual one, from which it is extreme."""


def few_examples(task: Task) -> list[Finding]:
    """Fewer than `FEW` training examples."""
    if len(task.train) >= FEW:
        return []
    count = len(task.train)
    message = f"{count} training {noun(count, 'example')} {verb(count, 'are', 'is')} too few to tell a good rate from a bad one"
    return [Finding("few-examples", "warn", message, "training data", "add examples, or cross-validate")]


def conflicting_labels(task: Task) -> list[Finding]:
    """Classification: equal inputs with different labels, more than discrete inputs explain."""
    if task.criterion != "classification" or not task.train.x.is_floating_point():
        return []
    labels: dict[int, set[int]] = defaultdict(set)
    keys = task.train.row_keys()
    for key, label in zip(keys, task.train.y.tolist(), strict=True):
        labels[key].add(label)
    share = sum(len(labels[key]) > 1 for key in keys) / len(keys)
    if share < CONFLICTS:
        return []
    message = f"{share:.0%} of the training examples also occur with another label"
    return [
        Finding(
            "labels-conflict", "warn", message, "training labels", "find out which of the labels is right"
        )
    ]


def target_findings(task: Task) -> list[Finding]:
    """Targets that are all equal, or of which one dominates the loss."""
    y = task.train.y
    if task.criterion == "classification" and bool((y == y[0]).all()):
        message = f"all training examples have class {int(y[0])}"
        return [
            Finding("target-constant", "fail", message, "training labels", "add examples of other classes")
        ]
    if task.criterion != "regression":
        return []
    values = y.double().flatten(1) if y.ndim > 1 else y.double()[:, None]
    if bool((values == values[:1]).all()):
        message = "every training target has the same value"
        return [Finding("target-constant", "fail", message, "target", "check how the targets are read")]
    return extreme_target(values)


def extreme_target(values: Tensor) -> list[Finding]:
    """`values` `[N, D]`."""
    away = (values - values.median(0).values).abs()
    usual = torch.stack(
        [
            column[column > 0].median() if (column > 0).any() else column.new_tensor(torch.inf)
            for column in away.T
        ]
    )
    ratio = away / usual
    if float(ratio.max()) < EXTREME:
        return []
    row, column = divmod(int(ratio.argmax()), values.shape[1])
    message = f"the target {float(values[row, column]):.3g} is {float(ratio.max()):.1g} times as far from the median as usual"
    return [Finding("extreme-value", "warn", message, f"target of example {row}", "check that value")]


def out_of_vocabulary(task: Task) -> list[Finding]:
    """Token ids that the embedding which reads the inputs does not have."""
    if task.train.x.is_floating_point():
        return []
    sizes: list[int] = []
    x = task.train.x[:2]
    model = build_module(task.model, 0, x)
    handles = [
        layer.register_forward_pre_hook(
            lambda embedding, given: (
                sizes.append(embedding.num_embeddings) if given and given[0] is x else None
            )
        )
        for layer in model.modules()
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag)
    ]
    try:
        with (
            evaluating(model),
            suppress(IndexError),
        ):  # which one of these two raises: the sizes are known by then
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    for where, split in task.splits.items():
        ids = sample_of(split.x)
        high, low = int(ids.max()), int(ids.min())
        if sizes and not 0 <= low <= high < min(sizes):
            wrong = high if high >= min(sizes) else low
            message = (
                f"token {wrong} is not in the model's vocabulary of {min(sizes)} {noun(min(sizes), 'id')}"
            )
            return [
                Finding(
                    "token-out-of-vocabulary",
                    "fail",
                    message,
                    f"{where} inputs",
                    "make the embedding larger, or map unknown tokens to one id",
                )
            ]
    return []
