"""Why no model is better than a guess: whether inputs predict labels at all, by models that are independent of the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import sqrt

from ablate.protocol.relation import MOST, SURE, Relations, relations
from ablate.protocol.steps import Finding
from ablate.tasks.split import shuffled
from ablate.tasks.task import Task

ERRORS, LEAST = 4.0, 0.08
"""Standard errors, and a difference of accuracies, by which two shares must differ."""
ENOUGH = 100
"""Training examples that are needed to say that labels are unrelated to inputs."""
POSSIBLE = 0.05
"""Level at which a relation is possible: labels are not said to be unrelated."""
UNMATCHED = "inputs and labels do not seem to match: shuffled or shifted rows, or random labels"
"""The hint where inputs do not predict labels."""


def task_label_cause(task: Task) -> Finding | None:
    """`label_cause` of a task's splits."""
    return label_cause(task_relations(task), len(task.train))


@lru_cache(maxsize=1)
def task_relations(task: Task) -> Relations | None:
    """`relations` of the task's splits, computed once; None for tasks that are neither classification nor regression."""
    if task.criterion not in ("classification", "regression"):
        return None
    train, validation = (split.sample(shuffled(len(split))[:MOST]) for split in (task.train, task.validation))
    return relations((train.in_memory, train.y), (validation.in_memory, validation.y))


def label_cause(relations: Relations | None, examples: int) -> Finding | None:
    """The finding about labels; a note if the labels are sound; None if undecided.

    `relations`: of the splits; `examples`: the number of training examples.
    """
    if relations is None or examples < ENOUGH:
        return None
    if not relations.train.certain:
        if relations.train.p < POSSIBLE:
            return None  # too few examples to tell a weak relation from none
        return Finding(
            "labels-unrelated", "fail",
            f"inputs do not predict labels: from one half of the training data {relations.train} of the other half, a guess {relations.train.chance:.0%}",
            "training labels", UNMATCHED,
        )  # fmt: skip
    if relations.across.certain:
        return Finding(
            "labels-sound",
            "note",
            f"{relations.across} of the validation labels",
            "labels",
            "look at model and optimizer",
        )
    if not relations.half_across.certainly_below(relations.train, ERRORS):
        return None  # too few validation examples: they show neither that labels belong to inputs nor that they do not
    return _across(relations)


def _across(relations: Relations) -> Finding:
    message = f"training data do not predict validation labels: {relations.across}, a guess {relations.across.chance:.0%}"
    if relations.validation.certain:
        return Finding(
            "validation-differs", "fail", f"{message}, though within the validation data {relations.validation}", "validation data",
            "labels or inputs of the two splits do not mean the same: prepare both in the same way",
        )  # fmt: skip
    return Finding(
        "validation-labels-unrelated", "fail", f"{message}; nor do validation inputs predict them", "validation labels",
        UNMATCHED,
    )  # fmt: skip


def with_label_cause(findings: Sequence[Finding], cause: Finding | None) -> list[Finding]:
    """`findings` with the labels' fault in place of "labels-unrelated", which is only assumed where no rate works."""
    if cause is None:
        return list(findings)
    if cause.level == "note":
        renamed = [
            replace(one, code="does-not-learn") if one.code == "labels-unrelated" else one for one in findings
        ]
        return [*renamed, cause]
    return [cause, *(one for one in findings if one.code != "labels-unrelated")]


def noisy_training_labels(relations: Relations | None) -> list[Finding]:
    """Models fitted to one half of the training data predict validation labels much better than labels of the other half."""
    if relations is None or not relations.half_across.certain or relations.train.chance == 0:
        return []
    training, new = relations.train, relations.half_across
    error = sqrt(sum(one.score * (1 - one.score) / max(one.count, 1) for one in (training, new)))
    if new.score - training.score < max(ERRORS * error, LEAST):
        return []
    return [
        Finding(
            "labels-noisy", "warn",
            f"about {1 - training.score / new.score:.0%} of the training labels seem wrong: from half of the training data {new} of the validation "
            f"labels, but only {training.score:.0%} of the other training labels",
            "training labels", "look at examples whose label is predicted to be another: many are wrong",
        )
    ]  # fmt: skip


def confident_label_errors(relations: Relations | None) -> list[Finding]:
    """A forest of trees is wrong as often where it is sure as elsewhere (`ConfidentErrors.labels_wrong`).

    Predictions are of examples that it was not fitted to, as in confident learning (Northcutt et al. 2021, arXiv 1911.00068).
    """
    seen = None if relations is None else relations.surest
    if seen is None or seen.count < ENOUGH or not seen.labels_wrong:
        return []
    share = seen.wrong_when_sure
    return [
        Finding(
            "labels-noisy", "warn",
            f"about {share:.0%} of the labels seem wrong: of the {SURE:.0%} that a forest of trees, fitted to other examples, predicts most surely "
            f"{share:.0%} differ from it, of all {seen.wrong:.0%}",
            "labels", "look at examples whose label is predicted to be another: many are wrong",
        )
    ]  # fmt: skip


def worse_than_reference(relations: Relations | None, accuracy: float, error: float) -> list[Finding]:
    """The chosen rate's accuracy is far below that of a linear model or a forest. `error`: its standard error."""
    if (
        relations is None
        or relations.across.chance == 0
        or not relations.across.score - accuracy > max(ERRORS * error, LEAST)
    ):
        return []
    return [
        Finding(
            "worse-than-linear", "warn", f"the network predicts {accuracy:.0%} of the validation labels, where {relations.across}",
            "model and training", "check the model, the optimizer and the length of a run: the data contain more information",
        )
    ]  # fmt: skip
