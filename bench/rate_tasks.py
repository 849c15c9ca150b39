"""The tasks of `python -m bench.rates`: small, a few hundred steps a run, so that a grid takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from sklearn import datasets
from torch import Tensor, nn

from ablate.tasks.task import Task
from bench.faults import healthy, models
from bench.faults.data import Data, cut, digits, generator, made, numbers, perceptron, standard, table

OPTIMIZERS = ("momentum", "adam", "adamw", "rmsprop")


def unit(seed: int) -> Data:
    """Digits with pixels of 0 to 1."""
    x, y, new, new_y = digits(seed, count=900)
    low, high = x.min(), x.max()
    return (x - low) / (high - low), y, (new - low) / (high - low), new_y


def several_labels(seed: int) -> Data:
    """Three labels `[N, 3]`, each a column's sign."""
    x, _, new, _ = table(seed, 900)
    return x, (x[:, :3] > 0.3).float(), new, (new[:, :3] > 0.3).float()


def spirals(seed: int) -> Data:
    """Two spirals `[N, 2]`, one a class, with noise."""
    draw = generator(seed)
    turn = 0.5 + 5 * torch.rand(900, generator=draw)
    y = torch.randint(2, (900,), generator=draw)
    angle = turn + torch.pi * y
    x = torch.stack([turn * angle.cos(), turn * angle.sin()], 1) / 3
    noise: Tensor = 0.05 * torch.randn(900, 2, generator=draw)
    return cut(x + noise, y)


TASKS: dict[str, Callable[[], Task]] = {
    "digits": lambda: made(digits(0, count=900), epochs=15),
    "digits-few": lambda: made(digits(1, count=450), epochs=25),
    "digits-unit": lambda: made(unit(2), epochs=15),
    "digits-batch-norm": lambda: made(digits(3, count=900), healthy.normalised(nn.BatchNorm1d), epochs=10),
    "digits-tanh": lambda: made(digits(4, count=900), models.deep(3, nn.Tanh), epochs=15),
    "digits-linear": lambda: made(digits(5, count=900), partial(nn.Linear, 64, 10), epochs=15),
    "table": lambda: made(table(0, 900), epochs=15),
    "spirals": lambda: made(spirals(0), lambda: perceptron(2, 2), epochs=20),
    "several-labels": lambda: made(
        several_labels(0), lambda: perceptron(8, 3), criterion="multilabel", epochs=15
    ),
    "breast-cancer": lambda: made(standard(datasets.load_breast_cancer, 0), epochs=20),
    "regression": lambda: made(numbers(0), epochs=20, criterion="regression"),
    "diabetes": lambda: made(
        standard(datasets.load_diabetes, 0, regression=True), epochs=25, criterion="regression"
    ),
}
PAIRS = [
    (task, optimizer)
    for place, task in enumerate(TASKS)
    for optimizer in ("momentum", OPTIMIZERS[1 + place % 3])
]
"""Every task with momentum and with one adaptive rule."""
