"""SM3 against algorithm SM3-II written with sets of indices; its state is as small as the paper promises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from optimizer_cases import Step, assert_equal_to
from sweep import sweep
from torch import Tensor

from ablate.catalogue.optimizer.sm3 import state
from ablate.seams.tensors import LaneTensors, Layout, Spec


def paper(settings: Mapping[str, Any]) -> Step:
    """The cover's sets are the rows and columns of a matrix, and single elements of a vector."""
    beta = settings["momentum"]
    maxima: dict[str, list[np.ndarray]] = {}
    momenta: dict[str, np.ndarray] = {}

    def step(weights: dict[str, Tensor], gradients: dict[str, Tensor], factor: float) -> None:
        for name, tensor in weights.items():
            g = gradients[name].numpy()
            sets = maxima.setdefault(name, [np.zeros(size) for size in g.shape])
            nu = np.empty_like(g)
            for place in np.ndindex(*g.shape):
                nu[place] = min(cover[i] for cover, i in zip(sets, place, strict=True)) + g[place] ** 2
            maxima[name] = [np.array([np.take(nu, i, axis).max() for i in range(size)]) for axis, size in enumerate(g.shape)]  # fmt: skip
            scaled = np.divide(g, np.sqrt(nu), out=np.zeros_like(g), where=nu > 0)
            momenta[name] = beta * momenta.get(name, np.zeros_like(g)) + (1 - beta) * scaled
            tensor.sub_(torch.from_numpy(settings["lr"] * factor * momenta[name]))

    return step


@sweep("seed", range(4))
def test_equals_the_paper(seed: int) -> None:
    assert_equal_to("sm3", paper, seed, lanes=25, steps=12)


def test_a_weight_keeps_a_number_for_each_index_of_each_dimension() -> None:
    layout = Layout([Spec("conv", (32, 16, 3, 3)), Spec("matrix", (32, 16)), Spec("bias", (32,))])
    kept = state(LaneTensors(layout, torch.zeros(2, layout.width)))
    of_conv = [tensor for name, tensor in kept.items() if name.endswith("/conv")]
    assert sum(int(np.prod(tensor.shape[1:])) for tensor in of_conv) == 32 + 16 + 3 + 3
    for name, numbers in (("matrix", 32 + 16), ("bias", 1 + 32)):
        tensors_of_weight = [tensor for key, tensor in kept.items() if key.endswith(f"/{name}")]
        assert sum(int(np.prod(tensor.shape[1:])) for tensor in tensors_of_weight) == numbers
