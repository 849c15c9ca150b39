"""Focal loss against the formula number by number, its gradient against finite differences."""

from __future__ import annotations

import math

import torch
from criterion_cases import random_logits, settings_of_lanes
from sweep import sweep

from ablate.catalogue.criterion.focal import example_loss


def by_hand(z: list[float], t: list[float], gamma: float) -> float:
    total = sum(math.exp(value) for value in z)
    p = [math.exp(value) / total for value in z]
    return -sum(t[c] * (1 - p[c]) ** gamma * math.log(p[c]) for c in range(len(z)))


@sweep("seed", range(5))
def test_loss_and_gradient_follow_the_paper(seed: int) -> None:
    z, t, _ = random_logits(seed)
    gammas = torch.linspace(0, 5, len(z), dtype=torch.float64)
    p = settings_of_lanes("focal", [{"gamma": gamma} for gamma in gammas.tolist()])
    losses = example_loss(z, t, p)
    for lane in range(len(z)):
        expected = [by_hand(*row, float(gammas[lane])) for row in zip(z[lane].tolist(), t[lane].tolist(), strict=True)]  # fmt: skip
        torch.testing.assert_close(losses[lane].tolist(), expected)
    assert torch.autograd.gradcheck(lambda value: example_loss(value, t, p), z)


def test_gamma_zero_is_cross_entropy_and_certain_examples_have_no_gradient_that_is_no_number() -> None:
    z = torch.tensor([[[200.0, -200.0]], [[200.0, -200.0]]], requires_grad=True)
    t = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    for gamma in (0.0, 0.5, 2.0):
        loss = example_loss(z, t, settings_of_lanes("focal", [{"gamma": gamma}] * 2))
        (gradient,) = torch.autograd.grad(loss.sum(), z)
        assert gradient.isfinite().all()
    plain = torch.nn.functional.cross_entropy(z.flatten(0, 1), t.flatten(0, 1), reduction="none")
    losses = example_loss(z, t, settings_of_lanes("focal", [{"gamma": 0.0}] * 2))
    assert losses.flatten().tolist() == plain.tolist()
