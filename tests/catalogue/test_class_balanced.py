"""Class-balanced weights against the effective number of samples, summed term by term."""

from __future__ import annotations

import torch
from criterion_cases import random_logits, settings_of_lanes
from sweep import sweep

from ablate.catalogue.criterion.class_balanced import example_weight


def by_hand(beta: float, counts: list[int]) -> list[float]:
    """1 / E_n with E_n = 1 + β + … + β^(n−1), scaled to the number of classes."""
    inverse = [1 / sum(beta**i for i in range(n)) for n in counts]
    return [value * len(counts) / sum(inverse) for value in inverse]


@sweep("seed", range(5))
def test_weights_and_gradient_follow_the_paper(seed: int) -> None:
    z, t, counts = random_logits(seed)
    betas = torch.linspace(0.1, 0.9999, len(z), dtype=torch.float64).tolist()
    p = settings_of_lanes("class_balanced", [{"beta": beta} for beta in betas], counts)
    weight = example_weight(t, p)
    for lane, beta in enumerate(betas):
        weights = torch.tensor(by_hand(beta, counts), dtype=torch.float64)
        torch.testing.assert_close(weight[lane], t[lane] @ weights)
    losses = -(t * z.log_softmax(-1)).sum(-1) * weight
    (gradient,) = torch.autograd.grad(losses.sum(), z)
    torch.testing.assert_close(gradient, weight[:, :, None] * (z.softmax(-1) - t))


def test_without_the_trick_every_weight_is_one() -> None:
    _, t, counts = random_logits(0, lanes=2)
    assert example_weight(t, settings_of_lanes("class_balanced", [{"beta": 0.0}, None], counts)).eq(1).all()


def test_a_class_without_examples_has_a_finite_weight() -> None:
    p = settings_of_lanes("class_balanced", [{"beta": 0.9}], [10, 0])
    assert example_weight(torch.eye(2, dtype=torch.float64)[None], p).isfinite().all()


def test_a_class_without_examples_weighs_as_one_with_one() -> None:
    p = settings_of_lanes("class_balanced", [{"beta": 0.9}, {"beta": 0.99}], [10, 0, 1])
    weight = example_weight(torch.eye(3, dtype=torch.float64).expand(2, 3, 3), p)
    for lane, beta in enumerate((0.9, 0.99)):
        expected = torch.tensor(by_hand(beta, [10, 1, 1]), dtype=torch.float64)
        torch.testing.assert_close(weight[lane], expected)
