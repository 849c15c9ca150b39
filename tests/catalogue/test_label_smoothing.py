"""Label smoothing against a loop over lanes, examples and classes in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sweep import sweep

from ablate.catalogue.criterion.label_smoothing import TRICK, target
from ablate.seams.settings import Settings

CPU = torch.device("cpu")


def settings(eps, dtype=torch.float64):
    return Settings.stack(TRICK, [None if e is None else {"eps": e} for e in eps], CPU, dtype)


def reference_loss(logits, soft, eps):
    """Cross-entropy with the mixture of the label's distribution and the uniform one, example by example."""
    total = []
    for lane in range(len(logits)):
        of_lane = 0.0
        for z, t in zip(logits[lane], soft[lane], strict=True):
            log_sum = np.log(np.sum(np.exp(z)))
            to_label = -sum(t[c] * (z[c] - log_sum) for c in range(len(z)))
            to_uniform = -np.mean(z - log_sum)
            of_lane += (1 - eps[lane]) * to_label + eps[lane] * to_uniform
        total.append(of_lane / len(logits[lane]))
    return np.array(total)


@sweep("seed", range(100))
def test_loss_and_gradient_are_those_of_the_mixture(seed):
    random = np.random.default_rng(seed)
    lanes, examples, classes = random.integers(1, 5), random.integers(1, 6), random.integers(2, 7)
    z = random.normal(size=(lanes, examples, classes))
    t = random.dirichlet(np.ones(classes), (lanes, examples))
    eps = random.uniform(0, 0.5, lanes)
    logits = torch.tensor(z, requires_grad=True)
    changed = target(torch.tensor(t), settings(eps.tolist()))
    loss = -(changed * logits.log_softmax(-1)).sum(-1).mean(1)
    np.testing.assert_allclose(loss.detach().numpy(), reference_loss(z, t, eps), rtol=1e-12)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    softmax = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    mixture = t + eps[:, None, None] * (1 / classes - t)
    np.testing.assert_allclose(gradient.numpy(), (softmax - mixture) / examples, atol=1e-14)


def test_equals_torchs_own_label_smoothing():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 20, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(5, (20,), generator=generator)
    changed = target(torch.nn.functional.one_hot(labels, 5).double()[None], settings([0.17]))
    loss = torch.nn.functional.cross_entropy(logits[0], changed[0])
    assert loss.item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits[0], labels, label_smoothing=0.17).item(), rel=1e-14
    )


def test_neutral_lanes_are_untouched_and_lanes_do_not_mix():
    soft = torch.rand(4, 6, 3, generator=torch.Generator().manual_seed(1))
    eps = [0.0, 0.1, None, 0.3]
    together = target(soft, settings(eps, torch.float32))
    assert torch.equal(together[0], soft[0])
    assert torch.equal(together[2], soft[2])
    for lane, lane_eps in enumerate(eps):
        assert torch.equal(together[lane], target(soft[lane][None], settings([lane_eps], torch.float32))[0])
    assert together.sum(-1) == pytest.approx(
        soft.sum(-1) * (1 - torch.tensor([0, 0.1, 0, 0.3])[:, None]) + torch.tensor([0, 0.1, 0, 0.3])[:, None]
    )
