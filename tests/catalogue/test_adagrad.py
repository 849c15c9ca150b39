"""Adagrad against torch.optim.Adagrad; its rates only fall."""

from __future__ import annotations

import torch
from optimizer_cases import CASES, assert_equal_to, from_torch
from sweep import sweep

from ablate.catalogue.optimizer.adagrad import adagrad_step


@sweep("seed, lanes, steps", CASES)
def test_equals_torch(seed: int, lanes: int, steps: int) -> None:
    assert_equal_to("adagrad", from_torch(torch.optim.Adagrad), seed, lanes, steps)


def test_steps_fall_as_one_over_the_root_of_their_number() -> None:
    w, s = torch.zeros(2, 1, 3, dtype=torch.float64)
    g = torch.tensor([[0.01, 1.0, 100.0]], dtype=torch.float64)
    for step in range(1, 101):
        before = w
        w = adagrad_step(w, g, s, torch.tensor([[0.5]]), torch.tensor([[0.0]]))
        torch.testing.assert_close(before - w, torch.full_like(w, 0.5 / step**0.5), rtol=1e-10, atol=0)
