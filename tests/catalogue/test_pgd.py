"""PGD against the projected steps written out for logistic regression."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from objective_cases import logistic, loss_and_slope, problem, recorded, settings

from ablate.catalogue.objective.pgd import objective
from ablate.seams.draws import Draws, seed_keys


@pytest.mark.parametrize("steps", [1, 2, 5, 7, 10])
def test_loss_and_gradient_at_the_point_found(steps: int) -> None:
    w, batch = problem(steps)
    draws = Draws(seed_keys(list(range(len(w))), torch.device("cpu")))
    start = 2 * draws.within("pgd").uniform("start", 6, 4).double().numpy() - 1
    lanes = [{"eps": 0.02 + 0.04 * lane, "step": 0.1 + 0.04 * lane, "steps": steps} for lane in range(len(w))]
    losses = objective(logistic, {"w": w}, batch.replaced(draws=draws), settings("pgd", lanes))
    (gradient,) = torch.autograd.grad(losses.sum(), w)
    for lane, lane_settings in enumerate(lanes):
        x, y = batch.x[lane].numpy(), batch.target[lane, :, 0].numpy()
        weights = w[lane].detach().numpy()
        radius = lane_settings["eps"] * x.std(axis=0)
        point = x + radius * start[lane]
        for _ in range(steps):
            slope = loss_and_slope(weights, point, y)[2]
            point = np.clip(point + lane_settings["step"] * radius * np.sign(slope), x - radius, x + radius)
        value, expected, _ = loss_and_slope(weights, point, y)
        assert losses[lane].item() == pytest.approx(value)
        np.testing.assert_allclose(gradient[lane].numpy(), expected, atol=1e-12)


def test_without_draws_it_begins_at_the_example() -> None:
    w, batch = problem(0)
    small = settings("pgd", [{"eps": 1e-9, "steps": 1}] * len(w))
    torch.testing.assert_close(objective(logistic, {"w": w}, batch, small), logistic({"w": w}, batch))


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_every_pass_is_a_step_further_and_the_last_one_is_trained_on(steps: int) -> None:
    """Of logistic regression, whose slope has the same sign everywhere; a quarter of the radius at each step."""
    w, batch = problem(steps)
    loss, seen = recorded(logistic)
    lane = {"eps": 0.1, "step": 0.25, "steps": steps}
    objective(loss, {"w": w}, batch, settings("pgd", [lane] * len(w)))
    radius = 0.1 * batch.x.std(dim=1, correction=0, keepdim=True).expand(batch.x.shape)
    for number, x in enumerate(seen):
        torch.testing.assert_close((x - batch.x).abs(), radius * min(number / 4, 1))
    assert len(seen) == 1 + steps
