"""A class at every position of an example: y int64 `[N, *S]`, −100 for ignored positions, cross-entropy per position.

Outputs are reduced to counts batch by batch, since those of a validation split would not fit into memory: for each example
the sum of the cross-entropy, the numbers of positions that count and that are right, and with `per_class` the positions of each
class that are right, predicted and true.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ablate.records.errors import InputError
from ablate.tasks import data
from ablate.tasks.metrics import mean_over, tree_sum

IGNORED = -100
"""Torch's own `ignore_index`."""
FACTS = 3


@dataclass(frozen=True)
class Dense:
    """A criterion over positions.

    class_axis: of the classes in outputs `[B, …]`, 1 or -1. dims: of one example's target. form: description of y, for an
    error. also: metrics besides accuracy and cross-entropy, of (right, predicted, true) `[K, C]` and the cross-entropy `[K]`.
    """

    class_axis: int
    dims: int
    form: str
    per_class: bool
    also: Mapping[str, Callable[[Tensor, Tensor], Tensor]]
    SCORE: str = "accuracy"

    def targets(self, ys: Mapping[str, Any]) -> tuple[dict[str, Tensor], tuple[str, ...], None]:
        encoded = {}
        for where, y in ys.items():
            values = data.tensor(y, f"{where} y")
            if values.ndim != self.dims + 1:
                raise InputError(
                    f"{where} y has shape {list(values.shape)}", hint=f"give classes {self.form}"
                )
            if values.is_floating_point() and not bool((values == values.round()).all()):
                bad = values[values != values.round()][0]
                raise InputError(f"{where} y holds {float(bad):g}, which is no whole number", hint=f"give classes {self.form}")  # fmt: skip
            values = values.to(torch.int64).contiguous()
            if (wrong := (values < 0) & (values != IGNORED)).any():
                raise InputError(
                    f"{where} y holds the class {int(values[wrong][0])}",
                    hint=f"number the classes from 0, and write {IGNORED} where nothing is to be predicted",
                )
            if not bool((values >= 0).any()):
                raise InputError(f"{where} y is {IGNORED} everywhere", hint="nothing would be predicted")
            encoded[where] = values
        return encoded, (), None

    def encoded(self, y: Tensor, classes: int | None) -> Tensor:
        return y

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of each position `[K, B, *S]`, 0 where it does not count."""
        logits = self._classes_last(outputs)
        flat = F.cross_entropy(logits.flatten(0, -2), y.flatten(), ignore_index=IGNORED, reduction="none")
        return flat.view(y.shape)

    def example_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        counted = (target != IGNORED).flatten(1).sum(1).clamp(min=1)
        summed = self.losses(outputs, target).flatten(2).sum(2)
        return summed * (target.shape[1] / counted)[:, None]

    def plain_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(outputs if self.class_axis == 1 else outputs.movedim(-1, 1), y)

    def hits(self, outputs: Tensor, target: Tensor) -> Tensor:
        right = (self._classes_last(outputs).argmax(-1) == target).flatten(1).sum(1)
        return right / (target != IGNORED).flatten(1).sum(1).clamp(min=1)

    def summary(self, outputs: Tensor, y: Tensor) -> Tensor:
        """float64 `[K, B, 3]` or `[K, B, 3 + 3 C]`; the cross-entropy is NaN where an output is not finite."""
        logits = self._classes_last(outputs).double()
        lanes, classes = len(outputs), logits.shape[-1]
        y = y.to(outputs.device).expand(logits.shape[:-1])
        counts = (y != IGNORED).flatten(2)
        losses = tree_sum(
            self.losses(logits.movedim(-1, 2) if self.class_axis == 1 else logits, y).flatten(2)
        )
        losses = losses.masked_fill(~outputs.isfinite().flatten(2).all(2), torch.nan)
        predicted = _first_largest(logits).flatten(2)
        y = y.flatten(2)
        right = (predicted == y) & counts
        facts = torch.stack([losses, counts.sum(2).double(), right.sum(2).double()], -1)
        if not self.per_class:
            return facts
        of_class = [
            torch.zeros(lanes, y.shape[1], classes, dtype=torch.float64, device=y.device).scatter_add_(
                2, which.clamp(min=0), chosen.double()
            )
            for which, chosen in ((y, right), (predicted, counts), (y, counts))
        ]
        return torch.cat([facts, *of_class], -1)

    def metrics(self, summary: Tensor, y: Tensor, only: Collection[str] | None = None) -> dict[str, Tensor]:
        totals = tree_sum(summary.transpose(1, 2))  # [K, 3 + …]; counts are exact in any order
        entropy, counted, right = totals[:, 0], totals[:, 1], totals[:, 2]
        entropy = entropy / counted
        metrics = {"accuracy": right / counted, "loss": entropy, "log_loss": entropy}
        by_class = totals[:, FACTS:].reshape(len(totals), 3, -1) if self.per_class else totals[:, FACTS:]
        metrics |= {name: value(by_class, entropy) for name, value in self.also.items()}
        wanted = metrics if only is None else only
        return {
            name: value.masked_fill(entropy.isnan(), torch.nan)
            for name, value in metrics.items()
            if name in wanted
        }

    def example_scores(self, summary: Tensor, y: Tensor) -> Tensor:
        """The probability of the true class, geometric mean over positions; 1 if none counts."""
        return (-summary[..., 0] / summary[..., 1].clamp(min=1)).exp()

    def constant(self, y: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Logarithms of the classes' shares, with one more position of each."""
        classes = shape[0] if self.class_axis == 1 else shape[-1]
        counts = torch.bincount(y[y != IGNORED], minlength=classes).double()
        logs = ((counts + 1) / (counts.sum() + classes)).log()
        return (
            logs.view(1, 1, -1, *[1] * self.dims)
            if self.class_axis == 1
            else logs.view(1, 1, *[1] * self.dims, -1)
        )

    def _classes_last(self, outputs: Tensor) -> Tensor:
        return outputs.movedim(2, -1) if self.class_axis == 1 else outputs


def _first_largest(logits: Tensor) -> Tensor:
    """The first class of the largest logit, int64 `[…]`; `argmax` does not define which of equal ones it returns."""
    classes = logits.shape[-1]
    numbers = torch.arange(classes, dtype=logits.dtype, device=logits.device)
    first = torch.where(logits == logits.amax(-1, keepdim=True), numbers, classes).amin(-1)
    return first.long().clamp(max=classes - 1)


def macro_f1(by_class: Tensor, entropy: Tensor) -> Tensor:
    """`[K, 3, C]` -> `[K]`, as scikit-learn's "macro" over classes that occur or are predicted."""
    right, either = by_class[:, 0], by_class[:, 1] + by_class[:, 2]
    return mean_over(2 * right / either.clamp(min=1), either > 0)


def mean_iou(by_class: Tensor, entropy: Tensor) -> Tensor:
    """`[K, 3, C]` -> `[K]`: |A ∩ B| / |A ∪ B| averaged over classes that occur or are predicted."""
    right, either = by_class[:, 0], by_class[:, 1] + by_class[:, 2] - by_class[:, 0]
    return mean_over(right / either.clamp(min=1), either > 0)


def perplexity(by_class: Tensor, entropy: Tensor) -> Tensor:
    """exp of the cross-entropy per token."""
    return entropy.exp()
