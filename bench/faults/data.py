"""The data of healthy tasks, by seed: what the faults are planted into."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from sklearn import datasets
from torch import Tensor, nn

from ablate.tasks.task import Task

Data = tuple[Tensor, Tensor, Tensor, Tensor]
"""Training inputs and targets, validation inputs and targets."""
TRAIN, VALIDATION = 400, 200


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table(seed: int, count: int = TRAIN + VALIDATION) -> Data:
    """Eight standard normal columns `[N, 8]`; the class, of three, is a noisy function of three of them."""
    draw = generator(seed)
    x = torch.randn(count, 8, generator=draw)
    score = x[:, 0] + x[:, 1] * x[:, 2] + 0.3 * torch.randn(count, generator=draw)
    y = (score > 0.5).long() + (score > -0.5).long()
    return cut(x, y)


def cut(x: Tensor, y: Tensor) -> Data:
    """Two thirds for training."""
    at = 2 * len(x) // 3
    return x[:at].clone(), y[:at].clone(), x[at:].clone(), y[at:].clone()


def numbers(seed: int) -> Data:
    """The table with a target `[N]` of mean 0 and deviation about 1."""
    x, _, new, _ = table(seed)
    draw = generator(seed + 100)

    def target(x: Tensor) -> Tensor:
        y = x[:, 0] + x[:, 1] * x[:, 2] + 0.3 * torch.randn(len(x), generator=draw)
        return y / 1.4

    return x, target(x), new, target(new)


@lru_cache
def _digits() -> tuple[Tensor, Tensor]:
    x, y = datasets.load_digits(return_X_y=True)
    x = torch.tensor(x).float()
    return (x - x.mean()) / x.std(), torch.tensor(y)


def digits(seed: int, shape: tuple[int, ...] = (64,), count: int = 600) -> Data:
    """Standardised digits, shuffled by the seed."""
    x, y = _digits()
    order = torch.randperm(len(x), generator=generator(seed))[:count]
    return cut(x[order].reshape(-1, *shape), y[order])


def images(seed: int) -> Data:
    return digits(seed, (1, 8, 8))


def sequences(seed: int, length: int = 12) -> Data:
    """Noise `[N, T, 4]`; the class, of three, says which of three channels has a bump somewhere."""
    draw = generator(seed)
    count = TRAIN + VALIDATION
    x = 0.5 * torch.randn(count, length, 4, generator=draw)
    y = torch.randint(3, (count,), generator=draw)
    at = torch.randint(length, (count,), generator=draw)
    x[torch.arange(count), at, y] += 4
    return cut((x - x.mean()) / x.std(), y)


def tokens(seed: int, length: int = 10, words: int = 20) -> Data:
    """Token ids `[N, T]`; the class, of three, says which of the words 1, 2, 3 occurs most."""
    draw = generator(seed)
    count = TRAIN + VALIDATION
    y = torch.randint(3, (count,), generator=draw)
    x = torch.randint(4, words, (count, length), generator=draw)
    for word in range(2):
        x[torch.arange(count), torch.randperm(length, generator=draw)[word]] = y + 1
    return cut(x, y)


def standard(load: Callable[..., Any], seed: int, *, regression: bool = False) -> Data:
    """A data set of scikit-learn with standardised columns, shuffled by the seed; a regression's target as well."""
    x, y = load(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = torch.tensor(x[order]).float(), torch.tensor(y[order])
    x = (x - x.mean(0)) / x.std(0)
    return cut(x, ((y - y.mean()) / y.std()).float() if regression else y.long())


def perceptron(
    inputs: int, outputs: int, *last: nn.Module, width: int = 32, before: tuple[nn.Module, ...] = ()
) -> nn.Sequential:
    """Two hidden layers of rectified units between `before` and `last`."""
    return nn.Sequential(
        *before, nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs), *last
    )  # fmt: skip


def made(data: Data, model: Callable[[], nn.Module] | None = None, **options: Any) -> Task:
    """A task of `data`, by default with a perceptron that fits them."""
    x, y, new, new_y = data
    outputs = 1 if options.get("criterion") == "regression" else max(int(y.max()), int(new_y.max())) + 1
    model = model or (lambda: perceptron(x[0].numel(), outputs))
    return Task(
        model, (x, y), (new, new_y), test=False, name="case", **({"epochs": 10, "batch_size": 32} | options)
    )
