"""Small tasks, sound and faulty, for the tests of lr-find."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from sklearn import datasets
from torch import Tensor, nn

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.train import train
from ablate.protocol.baseline import Baseline
from ablate.protocol.steps import Setup
from ablate.records.recipe import Recipe
from ablate.records.run import Result, Run
from ablate.tasks.task import Task

CATALOGUE = registry()
CPU = torch.device("cpu")


@lru_cache
def digits() -> tuple[Tensor, Tensor]:
    """600 standardised digits, flat, `[600, 64]`."""
    x, y = datasets.load_digits(return_X_y=True)
    x = torch.tensor(x[:600]).float()
    return (x - x.mean()) / x.std(), torch.tensor(y[:600])


@lru_cache
def diabetes() -> tuple[Tensor, Tensor]:
    """Standardised inputs `[442, 10]` and the raw target, whose mean is 152 and deviation 77."""
    x, y = datasets.load_diabetes(return_X_y=True)
    x = torch.tensor(x).float()
    return (x - x.mean(0)) / x.std(0), torch.tensor(y).float()


def mlp(inputs: int = 64, outputs: int = 10) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, outputs)
    )


def task_of(
    model: Callable[[], nn.Module] = mlp, x: Tensor | None = None, y: Tensor | None = None, **options
) -> Task:
    own_x, own_y = digits()
    pair = (own_x if x is None else x, own_y if y is None else y)
    return Task(model=model, train=pair, name="case", **({"epochs": 6, "test": False} | options))


def regression(
    model: Callable[[], nn.Module] | None = None, x: Tensor | None = None, y: Tensor | None = None
) -> Task:
    own_x, target = diabetes()
    target = (target - target.mean()) / target.std() if y is None else y
    model = model or (lambda: mlp(10, 1))
    return task_of(model, own_x if x is None else x, target, criterion="regression", epochs=10)


def context_of(task: Task) -> TaskContext:
    return TaskContext.of(task, CATALOGUE, CPU)


def trained_on(
    context: TaskContext, arms: list[str] | None = None
) -> Callable[[list[Run], str], list[Result]]:
    """A `train` that trains in this process and notes the arms."""

    def call(runs: list[Run], arm: str) -> list[Result]:
        if arms is not None:
            arms.append(arm)
        return train(context, runs)

    return call


def baseline_of(**tricks) -> Baseline:
    """SGD with momentum, or the tricks that are given."""
    return Baseline(Recipe.of(CATALOGUE, tricks), CATALOGUE) if tricks else Baseline.default(CATALOGUE)


def ground_of(task: Task, seed: int = 0, baseline: Baseline | None = None) -> Setup:
    context = context_of(task)
    return Setup(context, trained_on(context), baseline or baseline_of(), seed, lambda line: None)


def changed(change: Callable[[nn.Sequential], object]) -> Callable[[], nn.Module]:
    """The perceptron with its fresh weights changed."""

    def make() -> nn.Module:
        module = mlp()
        with torch.no_grad():
            change(module)
        return module

    return make


class Wrapped(nn.Module):
    """The perceptron inside a forward pass of one's own."""

    def __init__(self, forward: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.body = mlp()
        self.extra = nn.Parameter(torch.zeros(1))
        self.call = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.body, x, self.extra)


def wrapped(forward: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> Callable[[], nn.Module]:
    return lambda: Wrapped(forward)
