"""The interface of a criterion for training and evaluation: one module each, found by the criterion's name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol, cast

from torch import Tensor

from ablate.tasks.criteria import (
    adversarial,
    classification,
    custom,
    detection,
    multilabel,
    regression,
    segmentation,
    tokens,
)
from ablate.tasks.metric_table import Criterion
from ablate.tasks.packing import Packing

Targets = tuple[dict[str, Tensor], tuple[str, ...], Packing | None]
"""Targets by split, the classes' names where labels were text, and how nested targets are packed."""


class CriterionCode(Protocol):
    """The functions of a criterion's module. K lanes, N or B examples; `outputs` `[K, B, …]` as the model returns them.

    Metrics and scores take the outputs, or of a `Dense` criterion their `summary`, to which an example's output is reduced
    before it is kept.
    """

    SCORE: str
    """The metric by which a small sample is overfitted."""

    def targets(self, ys: Mapping[str, Any]) -> Targets:
        """The splits' targets as tensors. Raises InputError."""

    def encoded(self, y: Tensor, classes: int | None) -> Tensor:
        """y of a split as the target of a batch, `Batch.target`."""

    def example_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """`[K, B]`; its mean over the batch equals torch's function on the batch."""

    def plain_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The loss of one lane's batch `[B, …]` by torch's own function; a scalar."""

    def hits(self, outputs: Tensor, target: Tensor) -> Tensor | None:
        """Accuracy on the batch, `[K]`; None if undefined."""

    def metrics(self, summary: Tensor, y: Tensor, only: Collection[str] | None = None) -> dict[str, Tensor]:
        """The metrics of `METRICS[criterion]`, each `[K]` float64; NaN for a lane whose outputs are not finite."""

    def example_scores(self, summary: Tensor, y: Tensor) -> Tensor:
        """One float64 score for each lane and example, `[K, N]`; `[K, 0]` if there is none."""

    def constant(self, y: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The outputs `[1, 1, …]`, to be expanded to `shape` for each example, of a model that knows only the distribution of y."""


CODE = {
    "classification": classification,
    "regression": regression,
    "multilabel": multilabel,
    "token_classification": tokens.of_classes,
    "language_modelling": tokens.of_language,
    "segmentation": segmentation.code,
    "adversarial": adversarial,
    "detection": detection,
    "custom": custom,
}


def code_of(criterion: Criterion) -> CriterionCode:
    """The functions of a criterion."""
    return cast(CriterionCode, CODE[criterion])
