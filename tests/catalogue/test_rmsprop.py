"""RMSprop against torch.optim.RMSprop; it forgets, which Adagrad does not."""

from __future__ import annotations

import pytest
import torch
from optimizer_cases import CASES, assert_equal_to, from_torch
from sweep import sweep

from ablate.catalogue.optimizer.rmsprop import rmsprop_step


@sweep("seed, lanes, steps", CASES)
def test_equals_torch(seed: int, lanes: int, steps: int) -> None:
    assert_equal_to("rmsprop", from_torch(torch.optim.RMSprop), seed, lanes, steps)


def test_a_burst_of_large_gradients_is_forgotten() -> None:
    w, s = torch.zeros(2, 1, 1, dtype=torch.float64)
    lr, alpha, eps = (torch.tensor([[x]], dtype=torch.float64) for x in (0.1, 0.9, 1e-12))
    for step in range(600):
        before = w
        g = torch.full_like(w, 1e3 if step < 10 else 1.0)
        w = rmsprop_step(w, g, s, lr, alpha, 1 - alpha, eps)
    assert (before - w).item() == pytest.approx(0.1, rel=1e-9)
