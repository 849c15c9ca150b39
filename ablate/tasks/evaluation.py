"""Evaluation of a task's outputs: the criterion's loss and metrics, or the user's.

`outputs` `[K, B, …]` of K lanes. What is kept of a split's outputs is `collect`ed from its batches: the outputs themselves
if they are needed whole, else a summary for the metrics.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from math import isfinite

import torch
from torch import Tensor

from ablate.tasks.criteria.code import CriterionCode
from ablate.tasks.criteria.dense import Dense
from ablate.tasks.custom_loss import CustomLoss
from ablate.tasks.custom_metrics import CustomMetric
from ablate.tasks.metrics import tree_sum

ROWS = 512


@dataclass(frozen=True)
class Evaluation:
    """A criterion with the task's custom loss (None: the criterion's) and metrics.

    Targets are as of `Task.judged`, with the inputs where the loss takes the batch.

    example: targets `[B, …]` of some training examples. batch_size: of the batches whose mean is the validation loss if
    the loss is custom (weighted by examples): a loss of a batch need not be a mean over its examples.
    """

    code: CriterionCode
    example: Tensor
    batch_size: int
    loss: CustomLoss | None = None
    custom_metrics: tuple[CustomMetric, ...] = ()

    @property
    def dense(self) -> bool:
        """Whether an example's target is a map (segmentation, tokens)."""
        return isinstance(self.code, Dense)

    @property
    def whole(self) -> bool:
        """Whether a split's outputs are kept whole."""
        return not self.dense or self.loss is not None or bool(self.custom_metrics)

    def rows(self, batch_size: int) -> int:
        """Examples of one forward pass in evaluation: as many as in training, or more if outputs are small; independent
        of the other lanes."""
        return batch_size if self.dense else max(ROWS, 4 * batch_size)

    @cached_property
    def together(self) -> bool:
        """Whether the user's loss runs for several lanes under vmap."""
        return self.loss is not None and self.loss.vmaps(self.example)

    def example_losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        """`[K, B]`, or the batches' means `[K]` if the user's loss returns those. `target`: `Batch.target`."""
        if self.loss is None:
            return self.code.example_loss(outputs, target)
        return self.loss.of_lanes(outputs, target, together=self.together)

    def predicted(self, outputs: Tensor) -> Tensor:
        """The outputs that the criterion judges: the prediction, where a loss gets others with it."""
        return outputs if self.loss is None else self.loss.predicted(outputs)

    def plain(self, y: Tensor) -> Tensor:
        """The targets alone, as in the split, of those that this class takes."""
        return y if self.loss is None else self.loss.plain(y)

    def hits(self, outputs: Tensor, target: Tensor) -> Tensor | None:
        """Accuracy on the batch, `[K]`; None if undefined. `target`: `Batch.target`."""
        return self.code.hits(self.predicted(outputs), self.plain(target))

    def plain_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The loss of one lane's batch by torch's own function, or the user's; a scalar."""
        return self.code.plain_loss(outputs, y) if self.loss is None else self.loss.mean(outputs, y)

    def collect(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The part of outputs `[K, B, …]` that is kept; y `[B, …]` or `[K, B, …]`."""
        if isinstance(self.code, Dense) and not self.whole:
            return self.code.summary(outputs, self.plain(y))
        return outputs

    def metrics(self, collected: Tensor, y: Tensor, only: Collection[str] | None = None) -> dict[str, Tensor]:
        """The metrics of K lanes, each `[K]` float64; `only` names some. NaN where a lane's outputs are not finite, and where a metric
        of the user's is not: an infinite one would be the best of all, or the worst, to whatever compares runs.

        y `[N, …]`, or `[K, N, …]` if each lane has its own.
        """
        metrics = self._of_criterion(collected, y, only)
        mine = [one for one in self.custom_metrics if only is None or one.name in only]
        wants_loss = self.loss is not None and (only is None or "loss" in only)
        if not mine and not wants_loss:
            return metrics
        finite = collected.isfinite().flatten(1).all(1).tolist()
        targets = self._by_lane(y, len(collected))
        if wants_loss:
            metrics["loss"] = self._values([self._mean_loss(*lane) for lane in zip(collected, targets, strict=True)], finite)  # fmt: skip
        for one in mine:
            values = [
                one(*self._users_form(outputs, target)) if sound else torch.nan
                for outputs, target, sound in zip(collected, targets, finite, strict=True)
            ]
            metrics[one.name] = self._values(values, [sound and isfinite(v) for v, sound in zip(values, finite, strict=True)])  # fmt: skip
        return metrics

    def undefined(self, values: dict[str, float]) -> list[str]:
        """Names of custom metrics that are no finite number (NaN) although the run's loss is one."""
        return [
            one.name
            for one in self.custom_metrics
            if not isfinite(values.get(one.name, 0.0)) and isfinite(values.get("loss", 0.0))
        ]

    def example_scores(self, collected: Tensor, y: Tensor) -> Tensor:
        """One float64 score for each lane and example, `[K, N]`; `[K, 0]` where there is none."""
        return self.code.example_scores(self._reduced(collected, y), self.plain(y))

    def _of_criterion(self, collected: Tensor, y: Tensor, only: Collection[str] | None) -> dict[str, Tensor]:
        names = None if only is None else set(only) - {one.name for one in self.custom_metrics}
        if names is not None and self.loss is not None:
            names -= {"loss"}
        if names is not None and not names:
            return {}
        return self.code.metrics(self._reduced(collected, y), self.plain(y), names)

    def _reduced(self, collected: Tensor, y: Tensor) -> Tensor:
        """The summary from which the criterion's metrics are computed."""
        collected = self.predicted(collected)
        if not (isinstance(self.code, Dense) and self.whole):
            return collected
        rows = self.rows(self.batch_size)
        parts = zip(
            torch.split(collected, rows, 1), torch.split(y, rows, y.ndim - self.example.ndim), strict=True
        )
        return torch.cat([self.code.summary(outputs, self.plain(target)) for outputs, target in parts], 1)

    def _by_lane(self, y: Tensor, lanes: int) -> Tensor:
        return y if y.ndim > self.example.ndim else y.expand(lanes, *y.shape)

    def _users_form(self, outputs: Tensor, y: Tensor) -> tuple[object, object]:
        outputs, y = outputs.detach().cpu(), y.cpu()
        return (outputs, y) if self.loss is None else self.loss.unpacked(outputs, y)

    @torch.no_grad()
    def _mean_loss(self, outputs: Tensor, y: Tensor) -> float:
        assert self.loss is not None
        parts = zip(torch.split(outputs, self.batch_size), torch.split(y, self.batch_size), strict=True)
        sums = [self.loss.mean(output, target).double() * len(target) for output, target in parts]
        return float(tree_sum(torch.stack(sums)) / len(y))

    @staticmethod
    def _values(values: list[float], finite: list[bool]) -> Tensor:
        kept = [value if sound else torch.nan for value, sound in zip(values, finite, strict=True)]
        return torch.tensor(kept, dtype=torch.float64)
