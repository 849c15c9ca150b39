"""Models as people write them, and surgery on one of them: what tests of the model seam share."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.train import train
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.surgery.net import Net, open_net
from ablate.tasks.task import Task


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(inplace=True),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 8), nn.ReLU(), nn.Linear(8, 3),
    )  # fmt: skip


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 7), nn.ReLU(), nn.Linear(7, 4), nn.ReLU(), nn.Linear(4, 3)
    )


class Functional(nn.Module):
    """ReLU as a function: no activation module to be found."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.first(x)))


class OwnNorm(nn.Module):
    """Norm layers of its own, and a head that is reached through an attribute of an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3),
            nn.BatchNorm2d(6),
        )
        self.parts = nn.ModuleDict({"head": nn.Linear(6, 3)})

    def forward(self, x: Tensor) -> Tensor:
        return self.parts.head(F.relu(self.body(x)).mean(dim=(2, 3)))  # type: ignore[union-attr, operator]


def group_normed() -> nn.Module:
    """`OwnNorm` with group norms in the place of its batch norms."""
    model = OwnNorm()
    model.body[1], model.body[4] = nn.GroupNorm(2, 4), nn.GroupNorm(2, 6)
    return model


class Shared(nn.Module):
    """One hidden layer that runs three times, and one activation for all."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.first, self.middle = nn.Linear(5, 6), nn.Linear(6, 6)
        self.body = nn.Sequential(self.middle, self.act, self.middle, self.act)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.middle(self.body(self.act(self.first(x))))))


MODELS: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "cnn": (cnn, (1, 6, 6)),
    "mlp": (mlp, (5,)),
    "functional": (Functional, (5,)),
    "own_norm": (OwnNorm, (1, 7, 7)),
    "group_normed": (group_normed, (1, 7, 7)),
    "shared": (Shared, (5,)),
}


def operated(trick: str, name: str, *, on: bool = True, seed: int = 0, **settings: Any) -> Net:
    """The model `name`, made under `seed`, after surgery by `trick` with these settings."""
    factory, shape = MODELS[name]
    torch.manual_seed(seed)
    net = open_net(factory(), torch.zeros(2, *shape))
    values = {**registry()[trick].defaults, **settings}
    generator = torch.Generator().manual_seed(seed)
    registry().code(trick).model(net, SimpleNamespace(on=on, generator=generator, **values))
    return net


def inputs(name: str, examples: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(examples, *MODELS[name][1], generator=generator)


def context_of(name: str) -> TaskContext:
    """A small classification with the model `name`; the caller's own, to be changed."""
    factory, shape = MODELS[name]
    generator = torch.Generator().manual_seed(3)
    y = torch.arange(95) % 3
    x = torch.randn(95, *shape, generator=generator) + y.reshape(-1, *[1] * len(shape)) * 0.5
    task = Task(
        factory, (x[:57], y[:57]), (x[57:], y[57:]), test=False, epochs=2, batch_size=19, name=f"small-{name}"
    )
    return TaskContext.of(task, registry(), torch.device("cpu"))


_shared_context = cache(context_of)


def assert_lanes_equal_alone(
    name: str, recipes: Sequence[Mapping[str, Any]], kernel: str | None = None
) -> None:
    """Runs with the recipes' tricks (on top of momentum) give together what each gives alone, bit for bit."""
    context = _shared_context(name)
    context = context.with_kernel(kernel) if kernel else context
    tricks = [Recipe.of(registry(), {"momentum": {"lr": 0.1}, **recipe}) for recipe in recipes]
    runs = [Run(context.task.name, recipe, seed, 2) for seed, recipe in enumerate(tricks)]
    together = outcomes(context, runs)
    for run, result in zip(runs, together, strict=True):
        (alone,) = outcomes(context, [run])
        assert alone == result, run.recipe
    assert len({str(result) for result in together}) == len(runs), "settings that act the same prove nothing"


def outcomes(context: TaskContext, runs: Sequence[Run]) -> list[list[Any]]:
    """What each run gave: curves and metrics."""
    return [[result.curves, result.metrics] for result in train(context, runs)]


def assert_same_function(one: nn.Module, other: nn.Module, x: Tensor, seed: int) -> None:
    """Equal outputs (of x's shape) and gradients of a random function of them, in x and all parameters."""
    generator = torch.Generator().manual_seed(seed)
    slope = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    results = []
    for module in (one, other):
        leaf = x.clone().requires_grad_()
        y = module(leaf)
        leaves = [leaf, *module.parameters()]
        results.append([y, *torch.autograd.grad((y * slope).sum(), leaves)])
    for mine, reference in zip(*results, strict=True):
        torch.testing.assert_close(mine.reshape(reference.shape), reference, rtol=1e-9, atol=1e-9)


def random_shape(seed: int, dimensions: int) -> tuple[int, ...]:
    """(B, C, …) with `dimensions` spatial ones."""
    rng = random.Random(seed)
    return (rng.randint(2, 7), rng.randint(2, 9), *(rng.randint(2, 6) for _ in range(dimensions)))


def scaled_input(shape: tuple[int, ...], seed: int) -> Tensor:
    """float64 activations whose channels differ in mean and scale."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    per_channel = torch.randn(2, shape[1], *[1] * (len(shape) - 2), generator=generator, dtype=torch.float64)
    return x * per_channel[0].exp() + 3 * per_channel[1]


def randomised(module: nn.Module, seed: int) -> nn.Module:
    """The module in float64, with parameters drawn under `seed`."""
    generator = torch.Generator().manual_seed(seed)
    module.double()
    for parameter in module.parameters():
        parameter.data.normal_(generator=generator)
    return module
