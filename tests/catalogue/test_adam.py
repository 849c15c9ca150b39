"""Adam against torch.optim.Adam; without bias correction against the paper's algorithm in plain Python."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from optimizer_cases import CASES, Step, assert_equal_to, from_torch
from sweep import sweep
from torch import Tensor

from ablate.catalogue.optimizer import adam
from ablate.catalogue.registry import registry
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors, Layout, Spec


def scalar_adam(settings: Mapping[str, Any]) -> Step:
    """Algorithm 1 of 1412.6980 number by number; its lines on bias correction are skipped if that is off."""
    means: dict[str, list[float]] = {}
    squares: dict[str, list[float]] = {}
    beta1, beta2 = settings["beta1"], settings["beta2"]
    time = 0

    def step(weights: dict[str, Tensor], gradients: dict[str, Tensor], factor: float) -> None:
        nonlocal time
        time += 1
        for name, tensor in weights.items():
            flat, g = tensor.flatten().tolist(), gradients[name].flatten().tolist()
            m = means.setdefault(name, [0.0] * len(flat))
            v = squares.setdefault(name, [0.0] * len(flat))
            for i in range(len(flat)):
                m[i] += (1 - beta1) * (g[i] - m[i])
                v[i] += (1 - beta2) * (g[i] ** 2 - v[i])
                first, second = m[i], v[i]
                if settings["bias_correction"]:
                    first /= 1 - beta1**time
                    second /= 1 - beta2**time
                flat[i] -= settings["lr"] * factor * first / (math.sqrt(second) + settings["eps"])
            tensor.copy_(torch.tensor(flat, dtype=tensor.dtype).reshape(tensor.shape))

    return step


def torch_adam(settings: Mapping[str, Any]) -> Step:
    named = {"lr": settings["lr"], "eps": settings["eps"], "betas": (settings["beta1"], settings["beta2"])}
    return from_torch(torch.optim.Adam)(named)


def reference(settings: Mapping[str, Any]) -> Step:
    return (torch_adam if settings["bias_correction"] else scalar_adam)(settings)


@sweep("seed, lanes, steps", CASES)
def test_equals_references(seed: int, lanes: int, steps: int) -> None:
    assert_equal_to("adam", reference, seed, lanes, steps)


@sweep("seed", range(3))
def test_the_scalar_reference_is_right_where_torch_can_tell(seed: int) -> None:
    assert_equal_to("adam", scalar_adam, seed, lanes=2)


def test_first_step_is_one_rate_long_with_correction_and_longer_without() -> None:
    """Step one: ±lr with correction; ±lr (1 − β₁) / √(1 − β₂) without, 3.2 times as long at the defaults."""
    trick = registry()["adam"]
    lanes = [{**trick.defaults, "bias_correction": on} for on in (True, False)]
    p = Settings.stack(trick, lanes, torch.device("cpu"), torch.float64)
    layout = Layout([Spec("w", (16,))])
    weights = LaneTensors(layout, torch.zeros(2, 16, dtype=torch.float64))
    gradients = weights.like(torch.linspace(-5, 5, 16, dtype=torch.float64).expand(2, 16))
    new = adam.update(weights, gradients, adam.state(weights), p, torch.ones(2, dtype=torch.int64)) / 0.001
    torch.testing.assert_close(new[0], -gradients.flat[0].sign(), rtol=1e-6, atol=0)
    torch.testing.assert_close(new[1], -gradients.flat[0].sign() * 0.1 / math.sqrt(0.001), rtol=1e-6, atol=0)
