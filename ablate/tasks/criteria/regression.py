"""Numbers: y float32 `[N, D]`, predictions `[B, D]`, squared error."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ablate.tasks import data
from ablate.tasks.metrics import per_example_scores, regression_metrics

SCORE = "r2"


def targets(ys: Mapping[str, Any]) -> tuple[dict[str, Tensor], tuple[str, ...], None]:
    return *data.targets(ys, "regression"), None


def encoded(y: Tensor, classes: int | None) -> Tensor:
    return y


def example_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over outputs of (z − t)²: `[K, B, D]`, `[K, B, D]` -> `[K, B]`."""
    return (prediction - target).square().mean(dim=-1)


def plain_loss(prediction: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(prediction, y)


def hits(outputs: Tensor, target: Tensor) -> None:
    return None


def metrics(outputs: Tensor, y: Tensor, only: Collection[str] | None = None) -> dict[str, Tensor]:
    return regression_metrics(outputs, y, only)


def example_scores(outputs: Tensor, y: Tensor) -> Tensor:
    """The squared error, averaged over outputs."""
    return per_example_scores("regression", outputs, y)


def constant(y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The mean of each target."""
    return y.mean(dim=0)[None, None]
