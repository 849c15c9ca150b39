"""Residual networks with batch norm and dropout, of about ten thousand parameters: sound ones, and parts that are not."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.faults.data import Data, digits

Make = Callable[[], nn.Module]
Drop = Callable[[float], nn.Module]


class Block(nn.Module):
    """Two convolutions and a rectifier behind the sum: `relu(x + drop(norm(conv(…))))`."""

    def __init__(self, width: int, rate: float, drop: Drop) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), drop(rate),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), drop(rate),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class EarlyBlock(nn.Module):
    """Norms and rectifiers before the convolutions: `x + conv(drop(relu(norm(…))))`."""

    def __init__(self, width: int, rate: float, drop: Drop) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width), nn.ReLU(), drop(rate), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = x + self.body(x)
        return outputs


class Layer(nn.Module):
    """A residual layer over vectors."""

    def __init__(self, width: int, rate: float, drop: Drop) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), drop(rate))

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = x + self.body(x)
        return outputs


def residual(
    *last: nn.Module,
    block: Callable[[int, float, Drop], nn.Module] = EarlyBlock,
    rate: float = 0.3,
    drop: Drop = nn.Dropout2d,
    blocks: int = 3,
    stride: int = 1,
    positions: int = 0,
) -> nn.Sequential:
    """Over images `[B, 1, H, W]` of ten classes; `last`: layers behind the head; `positions`: of the last layer, if they are not averaged."""
    width = 12
    pooled = () if positions else (nn.AdaptiveAvgPool2d(1),)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, stride=stride), nn.BatchNorm2d(width), nn.ReLU(),
        *(block(width, rate, drop) for _ in range(blocks)),
        *pooled, nn.Flatten(), nn.Dropout(rate), nn.Linear(width * (positions or 1), 10), *last,
    )  # fmt: skip


def residual_perceptron() -> nn.Sequential:
    layers = (Layer(48, 0.3, nn.Dropout) for _ in range(3))
    return nn.Sequential(nn.Linear(64, 48), nn.ReLU(), *layers, nn.Linear(48, 10))


def many(seed: int) -> Data:
    """All digits as images of 8 x 8: 600 for training."""
    return digits(seed, (1, 8, 8), 900)


def enlarged(seed: int) -> Data:
    """Digits as images of 16 x 16."""
    x, y, new, new_y = many(seed)
    return _twice(x), y, _twice(new), new_y


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear")


def illegible(seed: int) -> Data:
    """Digits under noise of twice their deviation: many cannot be told, and their labels are right."""
    x, y, new, new_y = many(seed)
    draw = torch.Generator().manual_seed(seed)
    return (
        x + 2 * torch.randn(x.shape, generator=draw),
        y,
        new + 2 * torch.randn(new.shape, generator=draw),
        new_y,
    )


class OverBatch(nn.Module):
    """`call` of the outputs of a model, such as a softmax over the wrong dimension."""

    def __init__(self, body: nn.Module, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.call = body, call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.body(x))


class StuckNorm(nn.Module):
    """A batch norm of one's own whose running statistics are never written."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = (x.mean(0), x.var(0, correction=0)) if self.training else (self.mean, self.variance)
        return (x - mean) / (variance + 1e-5).sqrt() * self.weight + self.bias


def stuck() -> nn.Module:
    """What the norm is given has eight times its initial deviation."""
    first = nn.Linear(64, 32, bias=False)
    nn.init.normal_(first.weight)
    return nn.Sequential(first, StuckNorm(32), nn.ReLU(), nn.Linear(32, 10))


class AlwaysTraining(nn.Sequential):
    """A model that `eval()` does not reach: its batch norms keep to the statistics of the batch."""

    def train(self, mode: bool = True) -> AlwaysTraining:
        super().train(True)
        return self


def always_training() -> nn.Module:
    return AlwaysTraining(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
