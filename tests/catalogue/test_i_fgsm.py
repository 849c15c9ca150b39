"""Iterated FGSM against its steps written out for logistic regression."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from objective_cases import logistic, loss_and_slope, problem, recorded, settings

from ablate.catalogue.objective.i_fgsm import objective


@pytest.mark.parametrize("steps", [2, 3, 5, 7, 10])
def test_loss_and_gradient_are_those_of_both_points(steps: int) -> None:
    w, batch = problem(steps)
    lanes = [{"eps": 0.02 + 0.04 * lane, "steps": steps} for lane in range(len(w))]
    losses = objective(logistic, {"w": w}, batch, settings("i_fgsm", lanes))
    (gradient,) = torch.autograd.grad(losses.sum(), w)
    for lane, lane_settings in enumerate(lanes):
        x, y = batch.x[lane].numpy(), batch.target[lane, :, 0].numpy()
        weights = w[lane].detach().numpy()
        radius = lane_settings["eps"] * x.std(axis=0)
        point = x
        for _ in range(steps):
            slope = loss_and_slope(weights, point, y)[2]
            point = np.clip(point + radius / steps * np.sign(slope), x - radius, x + radius)
        clean, worst = loss_and_slope(weights, x, y), loss_and_slope(weights, point, y)
        assert losses[lane].item() == pytest.approx((clean[0] + worst[0]) / 2)
        np.testing.assert_allclose(gradient[lane].numpy(), (clean[1] + worst[1]) / 2, atol=1e-12)


@pytest.mark.parametrize("steps", [2, 7])
def test_every_pass_is_a_step_further_and_the_last_one_is_trained_on(steps: int) -> None:
    """Of logistic regression, whose slope has the same sign everywhere."""
    w, batch = problem(steps)
    loss, seen = recorded(logistic)
    objective(loss, {"w": w}, batch, settings("i_fgsm", [{"eps": 0.1, "steps": steps}] * len(w)))
    radius = 0.1 * batch.x.std(dim=1, correction=0, keepdim=True).expand(batch.x.shape)
    for number, x in enumerate(seen):
        torch.testing.assert_close((x - batch.x).abs(), radius * number / steps)
    assert len(seen) == 1 + steps
