"""NAdam against the formula with explicit powers and products; that formula against torch.optim.NAdam, whose product of
momenta is a float32 number."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import torch
from optimizer_cases import Problem, Step, assert_equal_to, from_torch, train_alone
from sweep import sweep
from torch import Tensor


def paper(settings: Mapping[str, Any]) -> Step:
    beta1, beta2 = settings["beta1"], settings["beta2"]
    means: dict[str, np.ndarray] = {}
    squares: dict[str, np.ndarray] = {}
    time = 0

    def momentum(t: int) -> float:
        return float(beta1 * (1 - 0.5 * 0.96 ** (t * 0.004)))

    def step(weights: dict[str, Tensor], gradients: dict[str, Tensor], factor: float) -> None:
        nonlocal time
        time += 1
        rate, now, ahead = settings["lr"] * factor, momentum(time), momentum(time + 1)
        so_far = prod(momentum(t) for t in range(1, time + 1))
        for name, tensor in weights.items():
            g = gradients[name].numpy()
            means[name] = beta1 * means.get(name, 0 * g) + (1 - beta1) * g
            squares[name] = beta2 * squares.get(name, 0 * g) + (1 - beta2) * g**2
            root = np.sqrt(squares[name] / (1 - beta2**time)) + settings["eps"]
            change = (1 - now) / (1 - so_far) * g + ahead / (1 - so_far * ahead) * means[name]
            tensor.sub_(torch.from_numpy(rate * change / root))

    return step


@sweep("seed", range(4))
def test_equals_the_paper(seed: int) -> None:
    assert_equal_to("nadam", paper, seed, lanes=25, steps=12)


@sweep("seed", range(3))
def test_the_reference_is_torchs(seed: int) -> None:
    settings = {"lr": 0.01, "eps": 1e-8, "beta1": 0.9, "beta2": 0.99}
    named = {"lr": 0.01, "eps": 1e-8, "betas": (0.9, 0.99)}
    problem = Problem(1, seed)
    mine = train_alone(paper(settings), problem, 0, 12)
    torchs = train_alone(from_torch(torch.optim.NAdam, foreach=False)(named), problem, 0, 12)
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, torchs[name], rtol=1e-5, atol=1e-6)
