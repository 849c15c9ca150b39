"""One class for each example: y int64 `[N]`, logits `[B, C]`, cross-entropy."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ablate.tasks import data
from ablate.tasks.metrics import classification_metrics, per_example_scores

SCORE = "accuracy"


def targets(ys: Mapping[str, Any]) -> tuple[dict[str, Tensor], tuple[str, ...], None]:
    return *data.targets(ys, "classification"), None


def encoded(y: Tensor, classes: int | None) -> Tensor:
    """One-hot float32 `[N, C]`, which tricks may soften."""
    assert classes is not None
    return F.one_hot(y, classes).to(torch.float32)


def example_loss(logits: Tensor, target: Tensor) -> Tensor:
    """−Σ_c t_c log softmax(z)_c: `[K, B, C]`, `[K, B, C]` -> `[K, B]`."""
    return -(target * F.log_softmax(logits, dim=-1)).sum(dim=-1)


def plain_loss(logits: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(logits, y)


def hits(outputs: Tensor, target: Tensor) -> Tensor:
    """`target`: one-hot `[K, B, C]`, or labels `[K, B]` if a custom loss takes those."""
    labels = target if target.ndim < outputs.ndim else target.argmax(dim=-1)
    hit = outputs.argmax(dim=-1) == labels
    return hit.sum(dim=1) / hit.shape[1]


def metrics(outputs: Tensor, y: Tensor, only: Collection[str] | None = None) -> dict[str, Tensor]:
    return classification_metrics(outputs, y, only)


def example_scores(outputs: Tensor, y: Tensor) -> Tensor:
    """The probability of the true class."""
    return per_example_scores("classification", outputs, y)


def constant(y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Logarithms of the classes' shares, with one more example of each."""
    counts = torch.bincount(y, minlength=shape[-1]).double()
    return ((counts + 1) / (counts.sum() + shape[-1])).log()[None, None]
