"""Weight normalisation against torch's parametrisation."""

from __future__ import annotations

import torch
from model_cases import MODELS, inputs, operated
from sweep import sweep
from weight_cases import assert_same_weight, random_weight

from ablate.catalogue.model.weight_norm import WeightNorm


@sweep("case", range(100))
def test_equal_to_torch(case: int) -> None:
    weight = random_weight(case)
    mine = WeightNorm(True, weight)
    torch.testing.assert_close(mine(weight), weight)
    mine.length.data = torch.linspace(0.5, 3, len(weight), dtype=torch.float64)
    length = mine.length.detach().reshape(-1, *[1] * (weight.ndim - 1))
    assert_same_weight(mine, lambda v: torch._weight_norm(v, length, 0), weight)


def test_the_model_begins_as_it_was() -> None:
    torch.manual_seed(0)
    plain, x = MODELS["cnn"][0](), inputs("cnn", 4)
    net = operated("weight_norm", "cnn")
    torch.testing.assert_close(net.module(x), plain(x))
    assert net.touched["weight_norm"] == 3
