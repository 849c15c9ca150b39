"""Tasks of a second each, for checks of tricks; their scores are meaningless."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ablate.tasks.detector import Predictions
from ablate.tasks.gan_task import gan_task
from ablate.tasks.task import Task


class _Residual(nn.Module):
    """Feature maps of one channel -> 3 classes: with norms, dropout and a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.middle, self.middle_norm = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.activation, self.dropout = nn.ReLU(), nn.Dropout(0.3)
        self.head = nn.Linear(72, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.stem_norm(self.stem(x)))
        x = x + self.middle_norm(self.middle(x))
        x = self.dropout(nn.functional.max_pool2d(x, 2).flatten(1))
        outputs: Tensor = self.head(x)
        return outputs


def holding_tasks() -> dict[str, Task]:
    """Tasks whose models contain what some tricks act on: norms, dropout and a skip connection; weight norms; an enlargement; embeddings; two networks; a detector."""
    tasks = small_tasks()

    def task(name: str, model: Callable[[], nn.Module], data: Task) -> Task:
        return Task(
            model, data.train, data.validation, data.test,
            criterion="classification", epochs=4, batch_size=12, name=name,
        )  # fmt: skip

    def perceptron() -> nn.Module:
        return nn.Sequential(weight_norm(nn.Linear(5, 8)), nn.ReLU(), nn.Linear(8, 3))

    def decoder() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2),
            nn.Conv2d(4, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3),
        )  # fmt: skip

    def bag_of_words() -> nn.Module:
        return nn.Sequential(nn.Embedding(20, 4), nn.Flatten(), nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 3))

    def perceptron_detector() -> nn.Module:
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 24), nn.Unflatten(1, (6, 2, 2)), Predictions(4)
        )  # fmt: skip

    images = tasks["images"]
    scenes = torch.randn(60, 1, 8, 8, generator=torch.Generator().manual_seed(6))
    objects = torch.tensor([[0.0, 0, 0, 5, 5], [1, 3, 2, 8, 7]]).expand(60, 2, 5).clone()
    objects[::3, 1, 0] = -1
    points = torch.randn(120, 2, generator=torch.Generator().manual_seed(9))
    tokens = torch.randint(0, 20, (120, 6), generator=torch.Generator().manual_seed(8))
    labels = tokens[:, 0] % 3
    text = Task(
        bag_of_words, (tokens[:72], labels[:72]), (tokens[72:96], labels[72:96]), (tokens[96:], labels[96:]),
        epochs=4, batch_size=12, name="tokens",
    )  # fmt: skip
    return {
        "upsampling": task("upsampling", decoder, images),
        "tokens": text,
        "detection": Task(
            perceptron_detector,
            (scenes[:36], objects[:36]),
            (scenes[36:48], objects[36:48]),
            (scenes[48:], objects[48:]),
            criterion="detection",
            epochs=4,
            batch_size=6,
            name="detection",
        ),
        "adversarial": gan_task(
            lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)),
            lambda: nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)),
            points[:72],
            points[72:96],
            points[96:],
            latent=3,
            epochs=4,
            batch_size=12,
            name="adversarial",
        ),
        "residual": task("residual", _Residual, tasks["images"]),
        "weight_norm": task("weight_norm", perceptron, tasks["table"]),
    }


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
