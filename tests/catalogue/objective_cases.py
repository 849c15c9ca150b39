"""Logistic regression, whose gradients in inputs and weights are known in closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ablate.catalogue.registry import registry
from ablate.seams.batch import Batch
from ablate.seams.settings import Settings


def logistic(weights: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Mean of log(1 + exp(−y w·x)) with y = ±1: `[K]`."""
    margin = batch.target[..., 0] * torch.einsum("kbf,kf->kb", batch.x, weights["w"])
    return torch.logaddexp(torch.zeros_like(margin), -margin).mean(1)


def problem(seed: int, lanes: int = 20, examples: int = 6, columns: int = 4) -> tuple[Tensor, Batch]:
    """(weights `[K, F]` that require a gradient, a batch), float64."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(lanes, examples, columns)) * 3 + 1
    y = random.choice([-1.0, 1.0], (lanes, examples, 1))
    w = torch.tensor(random.normal(size=(lanes, columns)), requires_grad=True)
    return w, Batch(torch.tensor(x), torch.tensor(y), torch.zeros(lanes, examples, dtype=torch.int64))


def settings(trick: str, lanes: Sequence[Mapping[str, Any]]) -> Settings:
    record = registry()[trick]
    full = [{**record.defaults, **lane} for lane in lanes]
    return Settings.stack(record, full, torch.device("cpu"), torch.float64)


def loss_and_slope(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """(J, ∇_w J, ∇_x J) of one lane."""
    margin = y * (x @ w)
    pull = -y / (1 + np.exp(margin)) / len(x)
    return float(np.log1p(np.exp(-margin)).mean()), pull @ x, pull[:, None] * w


def recorded(loss: Callable[[Any, Batch], Tensor]) -> tuple[Callable[[Any, Batch], Tensor], list[Tensor]]:
    """(`loss`, the inputs of each of its calls so far)."""
    seen: list[Tensor] = []

    def recording(weights: Any, batch: Batch) -> Tensor:
        seen.append(batch.x.detach())
        return loss(weights, batch)

    return recording, seen
