"""Models that draw more than parameters and buffers when they are made: their lanes do not share one module."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ablate.catalogue.registry import registry
from ablate.lanes.build import build_module
from ablate.lanes.context import TaskContext
from ablate.lanes.seed_dependence import seed_dependent
from ablate.lanes.self_check import by_kernel, differing, plain
from ablate.tasks.task import Task

X = torch.zeros(2, 6)


def made(change: Callable[[nn.Linear], object]) -> Callable[[], nn.Module]:
    def model() -> nn.Module:
        layer = nn.Linear(6, 3)
        change(layer)
        return layer

    return model


def set_to(make: Callable[[], object]) -> Callable[[nn.Linear], object]:
    return lambda layer: setattr(layer, "own", make())


DRAWN = {
    "a permutation": set_to(lambda: torch.randperm(6)),
    "a number": set_to(random.random),
    "an array": set_to(lambda: np.random.rand(3)),
    "a list of tensors": set_to(lambda: [torch.rand(2) > 0.5 for _ in range(8)]),
    "an object": set_to(lambda: np.poly1d([random.random()])),
    "a closure": set_to(lambda: (lambda number: lambda x: x * number)(random.random())),
    "layers that are not registered": set_to(lambda: (nn.Linear(6, 6), {"more": nn.Linear(3, 3)})),
    "a set": set_to(lambda: {random.random()}),
    "what is frozen": lambda layer: layer.weight.requires_grad_(torch.rand(()).item() > 0.5),
    "its layers": lambda layer: layer.add_module(
        "more", random.choice([nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU])()
    ),
}
SAME = {
    "parameters and buffers": lambda layer: layer.register_buffer("own", torch.rand(3)),
    "constants": set_to(
        lambda: {"a": [1, "b", torch.arange(3), np.ones(2), float("nan"), None, torch.float32]}
    ),
    "functions": set_to(lambda: [torch.tanh, random.random, {"c", "d"}, nn.ReLU]),
    "its own layers in a list": lambda layer: setattr(layer, "own", [layer]),
    "objects": set_to(lambda: [object(), random.Random(), torch.Generator()]),
}


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_drawn_is_found(name: str):
    models = [build_module(made(DRAWN[name]), seed, X) for seed in range(6)]
    assert any(seed_dependent(models[0], other) for other in models[1:])


@pytest.mark.parametrize("name", SAME)
def test_what_two_seeds_share_keeps_lanes_together(name: str):
    assert seed_dependent(*(build_module(made(SAME[name]), seed, X) for seed in (0, 1))) == ""


def test_layers_that_torch_compile_wraps_are_named():
    whole = torch.compile(nn.Linear(6, 3), backend="eager")
    inner = nn.Sequential(nn.Linear(6, 6), torch.compile(nn.Linear(6, 3), backend="eager"))
    assert seed_dependent(whole, whole) == "the model is compiled by torch.compile"
    assert seed_dependent(inner, inner) == "'1' is compiled by torch.compile"


class Permuted(nn.Module):
    """Features in a random order, as the layers of a normalising flow have them."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.order = random.random(), torch.randperm(6).tolist()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x[:, self.order]) * self.scale


def test_each_lane_keeps_its_own():
    draw = torch.Generator().manual_seed(0)
    data = torch.randn(64, 6, generator=draw), torch.randint(0, 3, (64,), generator=draw)
    task = Task(Permuted, data, name="permuted", batch_size=16, epochs=1)
    context = TaskContext.of(task, registry(), torch.device("cpu"))
    assert "is drawn when the model is made" in context.solo
    for seed in (0, 1):
        assert not differing(by_kernel(context, [seed])[0], plain(context, seed))
