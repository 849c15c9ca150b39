"""The metrics that a task can be judged by: name, direction, meaning. No torch here: `ablate tasks` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ablate.records.errors import InputError, did_you_mean, unknown

Criterion = Literal[
    "classification",
    "regression",
    "multilabel",
    "token_classification",
    "language_modelling",
    "segmentation",
    "adversarial",
    "detection",
    "custom",
]
Direction = Literal["higher", "lower"]
CRITERIA: tuple[Criterion, ...] = (
    "classification", "regression", "multilabel", "token_classification", "language_modelling", "segmentation",
    "adversarial", "detection", "custom",
)  # fmt: skip
"""What the targets are; "custom" is a task whose loss is the user's own function."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name, its direction and its meaning."""

    name: str
    direction: Direction
    meaning: str


def unit_of(metric: str, target_deviation: float | None) -> str:
    """The unit of a regression's metric (`validation/rmse`) as a person reads it: "SD" for errors of targets that were divided by
    `target_deviation`, else ""."""
    return "SD" if target_deviation and metric.rpartition("/")[2] in ("rmse", "mae") else ""


def _table(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


PLAIN = "the plain criterion, without any trick's changes"
_CROSS_ENTROPY = (
    Metric("loss", "lower", f"cross-entropy in nats, averaged over targets that count: {PLAIN}"),
    Metric("log_loss", "lower", "cross-entropy in nats, averaged over targets that count"),
)
METRICS: dict[Criterion, dict[str, Metric]] = {
    "classification": {
        metric.name: metric
        for metric in (
            Metric("accuracy", "higher", "share of examples whose largest logit is the true class"),
            Metric(
                "loss", "lower", "the plain criterion: cross-entropy in nats, without any trick's changes"
            ),
            Metric("log_loss", "lower", "cross-entropy in nats (the same number as loss)"),
            Metric("balanced_accuracy", "higher", "recall averaged over the classes that occur"),
            Metric("worst_class_recall", "higher", "recall of the class that is recognised worst"),
            Metric(
                "f1",
                "higher",
                "F1 of class 1 where there are two classes, else averaged over classes (macro)",
            ),
            Metric(
                "auroc",
                "higher",
                "area under the ROC curve; of several classes each against the rest, averaged",
            ),
            Metric("ece", "lower", "expected calibration error, 15 bins of equal width"),
        )
    },
    "regression": {
        metric.name: metric
        for metric in (
            Metric("rmse", "lower", "root mean squared error, averaged over outputs"),
            Metric("loss", "lower", "the plain criterion: mean squared error, without any trick's changes"),
            Metric("mae", "lower", "mean absolute error"),
            Metric("r2", "higher", "share of the target's variance that is explained, averaged over outputs"),
        )
    },
    "multilabel": _table(
        Metric(
            "average_precision", "higher", "area under precision over recall, averaged over labels that occur"
        ),
        Metric("f1", "higher", "F1 at probability 1/2, averaged over labels (macro)"),
        Metric("subset_accuracy", "higher", "share of examples of which every label is right"),
        Metric("label_accuracy", "higher", "share of labels that are right (1 - Hamming loss)"),
        Metric("loss", "lower", f"binary cross-entropy in nats, averaged over labels: {PLAIN}"),
        Metric("log_loss", "lower", "binary cross-entropy in nats, averaged over labels"),
    ),
    "token_classification": _table(
        Metric("accuracy", "higher", "share of tokens that are right"),
        Metric("f1", "higher", "F1 averaged over classes that occur or are predicted (macro)"),
        *_CROSS_ENTROPY,
    ),
    "language_modelling": _table(
        Metric("perplexity", "lower", "exponential of the cross-entropy of a token"),
        Metric("accuracy", "higher", "share of tokens whose largest logit is the true token"),
        *_CROSS_ENTROPY,
    ),
    "segmentation": _table(
        Metric(
            "mean_iou", "higher", "intersection over union, averaged over classes that occur or are predicted"
        ),
        Metric("accuracy", "higher", "share of pixels that are right"),
        *_CROSS_ENTROPY,
    ),
    "adversarial": _table(
        Metric(
            "sliced_wasserstein",
            "lower",
            "2-Wasserstein distance of real and generated examples along 64 directions",
        ),
        Metric(
            "critic_value", "higher", "the critic's mean score of real examples less that of generated ones"
        ),
        Metric(
            "critic_rank_correlation",
            "higher",
            "Spearman correlation of a generated example's score and its nearness to the nearest real one",
        ),
        Metric(
            "loss", "lower", f"the losses of discriminator and generator of the standard GAN, added: {PLAIN}"
        ),
    ),
    "detection": _table(
        Metric(
            "map50",
            "higher",
            "average precision at an IoU of one half, averaged over classes that occur (COCO's AP50)",
        ),
        Metric(
            "duplicates",
            "lower",
            "detections of an object that was found already, with a score of 0.05 or more, for each object",
        ),
        Metric(
            "loss",
            "lower",
            f"cross-entropy of places and classes and 1 - IoU of the boxes, by places that have an object: {PLAIN}",
        ),
    ),
    "custom": _table(Metric("loss", "lower", f"the task's own loss: {PLAIN}")),
}
SHARES = frozenset(
    {
        "accuracy", "balanced_accuracy", "worst_class_recall", "robust_accuracy", "ece", "r2", "f1", "auroc",
        "average_precision", "subset_accuracy", "label_accuracy", "mean_iou", "map50",
    }
)  # fmt: skip
"""Metrics on a scale from 0 to 1: a hundredth is a percentage point."""
DEFAULT: dict[Criterion, str] = {
    "classification": "validation/accuracy",
    "regression": "validation/rmse",
    "multilabel": "validation/average_precision",
    "token_classification": "validation/accuracy",
    "language_modelling": "validation/perplexity",
    "segmentation": "validation/mean_iou",
    "adversarial": "validation/sliced_wasserstein",
    "detection": "validation/map50",
    "custom": "validation/loss",
}


def metric_info(criterion: Criterion, metric: str, custom: Mapping[str, Metric] | None = None) -> Metric:
    """The entry for `accuracy` or `validation/accuracy`. `custom`: the task's own metrics, by name.

    Raises InputError for an unknown name.
    """
    name = metric.rpartition("/")[2]
    table = METRICS[criterion] | dict(custom or {})
    if name not in table:
        elsewhere = next((other for other in CRITERIA if name in METRICS[other]), None)
        if elsewhere and not did_you_mean(name, table):
            raise InputError(
                f"metric '{metric}' belongs to {elsewhere}, and this task is a {criterion}",
                hint=f"known: {', '.join(sorted(table))}",
            )
        raise unknown(f"{criterion} metric", name, table)
    return table[name]


def is_share(metric: str) -> bool:
    """Whether a hundredth of the metric, `accuracy` or `validation/accuracy`, is a percentage point."""
    return metric.rpartition("/")[2] in SHARES


def selection_metric(
    criterion: Criterion, metric: str | None, custom: Mapping[str, Metric] | None = None
) -> str:
    """The full name `validation/NAME` of the metric that search and ranking use.

    Raises InputError for an unknown name, and for any split but validation: test data is for `confirm`.
    """
    if metric is None:
        return DEFAULT[criterion]
    if not isinstance(metric, str):
        raise InputError(f"metric must be a name such as '{DEFAULT[criterion]}', not {metric!r}")
    split, _, name = metric.rpartition("/")
    if split not in ("", "validation"):
        raise InputError(
            f"metric '{metric}' is not measured on validation data",
            hint=f"write 'validation/{name}': training data are optimistic, and test data are kept for confirm",
        )
    return f"validation/{metric_info(criterion, name, custom).name}"
