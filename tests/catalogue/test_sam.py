"""Sharpness-aware minimisation against the point w + ρ g / ‖g‖ of logistic regression."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from objective_cases import logistic, loss_and_slope, problem, settings
from sweep import sweep

from ablate.catalogue.objective.sam import objective


@sweep("seed", range(5))
def test_loss_and_gradient_at_the_point_uphill(seed: int) -> None:
    w, batch = problem(seed)
    rhos = np.linspace(0.01, 0.5, len(w))
    losses = objective(logistic, {"w": w}, batch, settings("sam", [{"rho": rho} for rho in rhos.tolist()]))
    (gradient,) = torch.autograd.grad(losses.sum(), w)
    for lane, rho in enumerate(rhos):
        x, y = batch.x[lane].numpy(), batch.target[lane, :, 0].numpy()
        weights = w[lane].detach().numpy()
        slope = loss_and_slope(weights, x, y)[1]
        value, expected, _ = loss_and_slope(weights + rho * slope / np.linalg.norm(slope), x, y)
        assert losses[lane].item() == pytest.approx(value)
        np.testing.assert_allclose(gradient[lane].numpy(), expected, atol=1e-12)


def test_a_lane_without_a_gradient_stays_where_it_is() -> None:
    w, batch = problem(0, lanes=2)
    flat = batch.replaced(x=batch.x * torch.tensor([0.0, 1.0])[:, None, None])
    losses = objective(logistic, {"w": w}, flat, settings("sam", [{}, {}]))
    assert losses[0].item() == pytest.approx(np.log(2))
    assert torch.autograd.grad(losses.sum(), w)[0].isfinite().all()
