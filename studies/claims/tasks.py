"""Tasks on which claims of the literature should show: over-fitting, wrong labels, depth, long tails, a shifted distribution, wide layers.

All are made from data that scikit-learn brings along, or are drawn; each trains in about a second.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import Dataset

from ablate import Task
from ablate.tasks.digits_gan import digits_gan
from ablate.tasks.task_cards import CARDS

CLASSES = 10


def digits() -> tuple[Tensor, Tensor]:
    """1,797 images `[N, 1, 8, 8]` with mean 0 and deviation 1, and their labels, in an order of their own."""
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    x = torch.from_numpy(pixels[order].astype(np.float32)).reshape(-1, 1, 8, 8)
    return (x - x.mean()) / x.std(), torch.from_numpy(labels[order].astype(np.int64))


def perceptron(*widths: int, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    """Linear layers on 64 pixels, an activation behind each but the last."""
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip((64, *widths), (*widths, CLASSES), strict=True):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


def convnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, CLASSES),
    )  # fmt: skip


def scarce() -> Task:
    """150 images to train a wide perceptron on, which it learns by heart."""
    x, y = digits()
    return Task(
        lambda: perceptron(128, 128), (x[:150], y[:150]), (x[150:950], y[150:950]), test=False,
        epochs=25, batch_size=32, name="scarce-digits", kind="other", random_split=True,
    )  # fmt: skip


def scarce_images() -> Task:
    """150 images to train a small convolutional network on."""
    x, y = digits()
    return Task(
        convnet, (x[:150], y[:150]), (x[150:950], y[150:950]), test=False, epochs=30, batch_size=32,
        name="scarce-images", random_split=True,
    )  # fmt: skip


def small_maps() -> Task:
    """Images of 4 × 4 pixels and feature maps of 2 × 2: two examples are eight numbers for a channel's statistics."""
    x, y = digits()
    x = nn.functional.avg_pool2d(x, 2)
    return Task(
        lambda: nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, CLASSES),
        ),
        (x[:900], y[:900]), (x[900:], y[900:]), test=False, epochs=2, batch_size=32, name="small-maps", random_split=True,
    )  # fmt: skip


class Slow(Dataset[tuple[Tensor, Tensor]]):
    """Images that take half a millisecond each to read, with noise of their own each time."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        time.sleep(5e-4)
        return self.x[index] + 0.1 * torch.randn(self.x[index].shape), self.y[index]


def slow_loader() -> Task:
    """Images that are read anew each epoch, slowly. An epoch is one batch, so that every step reads."""
    x, y = digits()
    return Task(
        convnet, Slow(x[:64], y[:64]), (x[900:1000], y[900:1000]), test=False, epochs=2, batch_size=64, name="slow-loader",
    )  # fmt: skip


def wrong_labels() -> Task:
    """600 images, three labels in ten of which were drawn at random; validation labels are right."""
    x, y = digits()
    random = np.random.default_rng(1)
    noisy = y.clone()
    rows = torch.from_numpy(random.permutation(600)[:180])
    noisy[rows] = torch.from_numpy(random.integers(0, CLASSES, 180))
    return Task(
        lambda: perceptron(128, 128), (x[:600], noisy[:600]), (x[600:1400], y[600:1400]), test=False,
        epochs=30, batch_size=32, name="wrong-labels", kind="other",
    )  # fmt: skip


def depth_20() -> Task:
    """A perceptron of 20 hidden layers of 32 units."""
    return _deep(20, nn.ReLU, "depth-20")


def depth_6() -> Task:
    """A perceptron of 6 hidden layers of 32 units."""
    return _deep(6, nn.ReLU, "depth-6")


def depth_6_tanh() -> Task:
    """The same with tanh units."""
    return _deep(6, nn.Tanh, "depth-6-tanh")


def _deep(layers: int, activation: type[nn.Module], name: str) -> Task:
    x, y = digits()
    return Task(
        lambda: perceptron(*[32] * layers, activation=activation), (x[:900], y[:900]), (x[900:], y[900:]), test=False,
        epochs=10, batch_size=64, name=name, kind="other", random_split=True,
    )  # fmt: skip


def shifted() -> Task:
    """Validation images have a third of the contrast, are brighter, and have noise."""
    x, y = digits()
    random = torch.Generator().manual_seed(2)
    other = x[1000:] / 3 + 0.5 + 0.15 * torch.randn(x[1000:].shape, generator=random)
    return Task(
        convnet, (x[:1000], y[:1000]), (other, y[1000:]), test=False, epochs=12, batch_size=64, name="shifted-digits",
    )  # fmt: skip


def many_columns() -> Task:
    """200 rows of 200 columns, of which ten say anything of the two classes."""
    random = np.random.default_rng(3)
    x = random.normal(size=(1000, 200)).astype(np.float32)
    y = (x[:, :10] @ random.normal(size=10) > 0).astype(np.int64)
    return Task(
        lambda: nn.Sequential(nn.Linear(200, 32), nn.ReLU(), nn.Linear(32, 2)), (x[:200], y[:200]), (x[200:], y[200:]),
        test=False, epochs=30, batch_size=32, name="many-columns", random_split=True,
    )  # fmt: skip


def wide() -> Task:
    """A perceptron whose 1.1 million weights are most of what a step holds."""
    x, y = digits()
    return Task(
        lambda: perceptron(1024, 1024), (x[:900], y[:900]), (x[900:], y[900:]), test=False, epochs=4, batch_size=32,
        name="wide-perceptron", kind="other", random_split=True,
    )  # fmt: skip


def twelve_convolutions() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()]
    for _ in range(11):
        layers += [nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, CLASSES))


def large_maps() -> Task:
    """Twelve convolutions on maps of 32 × 32, whose activations are most of what a step holds."""
    x, y = digits()
    x, y = nn.functional.interpolate(x[:400], scale_factor=4), y[:400]
    return Task(
        twelve_convolutions, (x[:200], y[:200]), (x[200:], y[200:]), test=False, epochs=2, batch_size=32, name="large-maps",
    )  # fmt: skip


class Recurrent(nn.Module):
    """A tanh network over the eight rows of an image, written with linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer, self.head = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, CLASSES)
        nn.init.orthogonal_(self.outer.weight, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(1).unflatten(1, (8, 8))
        state = torch.zeros(len(rows), 32, dtype=x.dtype, device=x.device)
        for row in rows.unbind(1):
            state = torch.tanh(self.inner(row) + self.outer(state))
        outputs: Tensor = self.head(state)
        return outputs


def recurrent() -> Task:
    """A recurrent network whose state is stretched by two at each step: its gradients explode."""
    x, y = digits()
    return Task(
        Recurrent, (x[:900], y[:900]), (x[900:], y[900:]), test=False, epochs=10, batch_size=64, name="recurrent", kind="other",
        random_split=True,
    )  # fmt: skip


def perceptron_digits_gan() -> Task:
    """The task `digits-gan` with a perceptron as generator."""
    return digits_gan(CARDS["digits-gan"], plain=True)
