"""SGD with momentum, classical and Nesterov's, against torch.optim.SGD."""

from __future__ import annotations

import pytest
import torch
from optimizer_cases import CASES, assert_equal_to, from_torch
from sweep import sweep

from ablate.catalogue.optimizer.momentum import momentum_step


@sweep("seed, lanes, steps", CASES)
def test_equals_torch(seed: int, lanes: int, steps: int) -> None:
    assert_equal_to("momentum", from_torch(torch.optim.SGD), seed, lanes, steps)


def test_a_constant_gradient_is_stepped_along_ten_times_as_far() -> None:
    """With μ = 0.9 the velocity tends to g / (1 − μ): the effective rate is lr / (1 − μ)."""
    w, v = torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    lr, mu = torch.tensor([[0.5]]), torch.tensor([[0.9]], dtype=torch.float64)
    for _ in range(400):
        before = w
        w = momentum_step(w, torch.ones_like(w), v, lr, mu, None)
    assert (before - w).item() == pytest.approx(0.5 * 10, rel=1e-12)
