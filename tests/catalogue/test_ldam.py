"""Label-distribution-aware margins against the paper's constant C, fixed by the largest margin."""

from __future__ import annotations

import pytest
import torch
from criterion_cases import random_logits, settings_of_lanes
from sweep import sweep

from ablate.catalogue.criterion.ldam import logits


@sweep("seed", range(5))
def test_loss_and_gradient_follow_the_paper(seed: int) -> None:
    z, soft, counts = random_logits(seed)
    labels = soft.argmax(-1)
    t = torch.nn.functional.one_hot(labels, soft.shape[-1]).double()
    margins = torch.linspace(0, 5, len(z), dtype=torch.float64).tolist()
    p = settings_of_lanes("ldam", [{"margin": margin} for margin in margins], counts)
    loss = -(t * logits(z, t, p).log_softmax(-1)).sum(-1)
    for lane, margin in enumerate(margins):
        constant = margin / max(n**-0.25 for n in counts)
        for example, label in enumerate(labels[lane].tolist()):
            odds = z[lane, example].exp()
            top = (z[lane, example, label] - constant / counts[label] ** 0.25).exp()
            expected = -(top / (top + odds.sum() - odds[label])).log()
            torch.testing.assert_close(loss[lane, example], expected)
    (gradient,) = torch.autograd.grad(loss.sum(), z)
    torch.testing.assert_close(gradient, logits(z, t, p).softmax(-1) - t)


def test_neutral_is_the_identity() -> None:
    z, t, counts = random_logits(1, lanes=2)
    assert torch.equal(logits(z, t, settings_of_lanes("ldam", [{"margin": 0.0}, None], counts)), z)


@pytest.mark.parametrize("counts", [[1, 16, 81], [0, 16, 81]])
def test_the_rarest_class_has_the_whole_margin_also_where_it_has_no_examples(counts: list[int]) -> None:
    p = settings_of_lanes("ldam", [{"margin": 6.0}], counts)
    z = torch.zeros(1, 3, 3, dtype=torch.float64)
    margins = -logits(z, torch.eye(3, dtype=torch.float64)[None], p)[0].diagonal()
    assert margins.tolist() == pytest.approx([6.0, 6.0 / 2, 6.0 / 3])
