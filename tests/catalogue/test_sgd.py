"""Plain SGD against torch.optim.SGD, and against the formula by hand."""

from __future__ import annotations

import torch
from optimizer_cases import CASES, SHAPES, Problem, assert_equal_to, from_torch, train_lanes
from sweep import sweep


@sweep("seed, lanes, steps", CASES)
def test_equals_torch(seed: int, lanes: int, steps: int) -> None:
    assert_equal_to("sgd", from_torch(torch.optim.SGD), seed, lanes, steps)


def test_equals_momentum_without_momentum() -> None:
    problem = Problem(2, 3)
    trained = train_lanes([{"sgd": {"lr": 0.3}}, {"sgd": {"lr": 0.01}}], problem)
    other = train_lanes([{"momentum": {"lr": lr, "momentum": 0.0}} for lr in (0.3, 0.01)], problem)
    for name in SHAPES:
        assert torch.equal(trained[name], other[name])
