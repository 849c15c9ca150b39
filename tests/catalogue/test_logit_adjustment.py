"""Logit adjustment against the weighted exponentials of the paper's softmax."""

from __future__ import annotations

import math

import pytest
import torch
from criterion_cases import random_logits, settings_of_lanes
from sweep import sweep

from ablate.catalogue.criterion.logit_adjustment import logits


@sweep("seed", range(5))
def test_loss_and_gradient_follow_the_paper(seed: int) -> None:
    z, t, counts = random_logits(seed)
    taus = torch.linspace(0, 2, len(z), dtype=torch.float64)
    p = settings_of_lanes("logit_adjustment", [{"tau": tau} for tau in taus.tolist()], counts)
    loss = -(t * logits(z, t, p).log_softmax(-1)).sum(-1)
    prior = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    weighted = prior ** taus[:, None, None] * z.exp()
    shares = weighted / weighted.sum(-1, keepdim=True)
    torch.testing.assert_close(loss, -(t * shares.log()).sum(-1))
    (gradient,) = torch.autograd.grad(loss.sum(), z)
    torch.testing.assert_close(gradient, shares - t)


def test_neutral_is_the_identity_and_absent_classes_are_finite() -> None:
    z, t, counts = random_logits(1, lanes=2)
    assert torch.equal(logits(z, t, settings_of_lanes("logit_adjustment", [{"tau": 0.0}, None], counts)), z)
    p = settings_of_lanes("logit_adjustment", [{"tau": 1.0}], [10, 0])
    assert logits(torch.zeros(1, 1, 2, dtype=torch.float64), torch.zeros(1, 1, 2), p).isfinite().all()


def test_an_absent_class_counts_as_one_with_a_single_example() -> None:
    p = settings_of_lanes("logit_adjustment", [{"tau": 2.0}], [1, 98, 0, 1])
    adjusted = logits(torch.zeros(1, 1, 4, dtype=torch.float64), torch.zeros(1, 1, 4), p)
    assert adjusted.flatten().tolist() == pytest.approx([2 * math.log(n / 100) for n in (1, 98, 1, 1)])
