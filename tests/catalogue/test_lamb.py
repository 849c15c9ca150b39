"""LAMB against the paper's algorithm 2 in numpy, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from optimizer_cases import Step, assert_equal_to, assert_lanes_equal_alone
from sweep import sweep
from torch import Tensor

from ablate.catalogue.optimizer.lamb import trust_ratio


def paper(settings: Mapping[str, Any]) -> Step:
    beta1, beta2 = settings["beta1"], settings["beta2"]
    means: dict[str, np.ndarray] = {}
    squares: dict[str, np.ndarray] = {}
    time = 0

    def step(weights: dict[str, Tensor], gradients: dict[str, Tensor], factor: float) -> None:
        nonlocal time
        time += 1
        for name, tensor in weights.items():
            w, g = tensor.numpy(), gradients[name].numpy()
            means[name] = beta1 * means.get(name, 0 * g) + (1 - beta1) * g
            squares[name] = beta2 * squares.get(name, 0 * g) + (1 - beta2) * g**2
            m, v = means[name] / (1 - beta1**time), squares[name] / (1 - beta2**time)
            direction = m / (np.sqrt(v) + settings["eps"]) + settings["decay"] * w
            ratio = np.linalg.norm(w) / np.linalg.norm(direction)
            tensor.sub_(torch.from_numpy(settings["lr"] * factor * ratio * direction))

    return step


@sweep("seed", range(4))
def test_equals_the_paper(seed: int) -> None:
    assert_equal_to("lamb", paper, seed, lanes=25, steps=12)


def test_norms_have_the_same_bits_in_any_group() -> None:
    assert_lanes_equal_alone([{"lamb": {"lr": lr}} for lr in (0.01, 0.02, 0.05, 0.1)], 0)


def test_a_layer_of_zeros_moves_at_the_plain_rate() -> None:
    zero, one = torch.zeros(1, 1), torch.ones(1, 1)
    assert trust_ratio(zero, one).item() == trust_ratio(one, zero).item() == 1.0
    assert trust_ratio(3 * one, 2 * one).item() == 1.5
