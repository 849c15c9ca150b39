"""Tasks of a second each, for checks of tricks: nothing is to be learned from their scores."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ablate.tasks.task import Task


def small_tasks() -> dict[str, Task]:
    """Three tasks of a second each: feature maps, a table, a regression."""
    generator = torch.Generator().manual_seed(7)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    labels = torch.arange(120) % 3
    images = numbers(120, 1, 6, 6) + labels[:, None, None, None] * 0.5
    uneven = torch.arange(120) % 10 % 3  # four tenths, three tenths and three tenths
    rows = numbers(120, 5) + uneven[:, None] * 0.5

    def convolutions() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 3),
        )  # fmt: skip

    def perceptron(outputs: int) -> Callable[[], nn.Module]:
        return lambda: nn.Sequential(
            nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, outputs)
        )

    def task(name: str, model: Callable[[], nn.Module], x: Tensor, y: Tensor, criterion: str) -> Task:
        return Task(
            model, (x[:72], y[:72]), (x[72:96], y[72:96]), (x[96:], y[96:]),
            criterion=criterion, epochs=4, batch_size=12, name=name,
        )  # fmt: skip

    return {
        "images": task("images", convolutions, images, labels, "classification"),
        "table": task("table", perceptron(3), rows, uneven, "classification"),
        "regression": task("regression", perceptron(1), rows, rows[:, :1].sin(), "regression"),
    }
