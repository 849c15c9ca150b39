"""Lion against the paper's algorithm 2, number by number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from optimizer_cases import Step, assert_equal_to
from sweep import sweep
from torch import Tensor


def paper(settings: Mapping[str, Any]) -> Step:
    beta1, beta2 = settings["beta1"], settings["beta2"]
    momenta: dict[str, np.ndarray] = {}

    def step(weights: dict[str, Tensor], gradients: dict[str, Tensor], factor: float) -> None:
        for name, tensor in weights.items():
            g = gradients[name].numpy()
            m = momenta.setdefault(name, np.zeros_like(g))
            c = beta1 * m + (1 - beta1) * g
            tensor.sub_(torch.from_numpy(settings["lr"] * factor * np.sign(c)))
            momenta[name] = beta2 * m + (1 - beta2) * g

    return step


@sweep("seed", range(4))
def test_equals_the_paper(seed: int) -> None:
    assert_equal_to("lion", paper, seed, lanes=25, steps=12)
