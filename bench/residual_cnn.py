"""A task whose model has a `forward` of its own: a small residual CNN on scikit-learn's digits (`bench/residual_cnn.py:task`)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ablate.tasks.load import load
from ablate.tasks.task import Task


class Block(nn.Module):
    """x + conv(relu(conv(x))), normalised: `[B, C, H, W]` -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.inner = nn.ReLU()
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.outer = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(x + self.second(self.inner(self.norm(self.first(x)))))


class ResidualCNN(nn.Module):
    """`[B, 1, 8, 8]` -> logits `[B, 10]`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.relu = nn.ReLU()
        self.blocks = nn.Sequential(Block(16), Block(16))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.relu(self.stem(x)))
        return self.head(F.max_pool2d(x, 2).mean(dim=(-2, -1)))


def task() -> Task:
    digits = load("digits")
    return Task(ResidualCNN, digits.train, digits.validation, digits.test, batch_size=64)
