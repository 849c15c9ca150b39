"""FGSM against logistic regression worked by hand, where sign ∇x J is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from objective_cases import recorded
from sweep import sweep

from ablate.catalogue.objective.fgsm import TRICK, deviation, objective
from ablate.records.errors import NotApplicable
from ablate.seams.batch import Batch
from ablate.seams.settings import Settings


def settings(eps, dtype=torch.float64):
    return Settings.stack(TRICK, [{"eps": e} for e in eps], torch.device("cpu"), dtype)


def logistic(weights, batch):
    """Mean of log(1 + exp(−y w·x)) with y = ±1: `[K]`."""
    margin = batch.target[..., 0] * torch.einsum("kbf,kf->kb", batch.x.flatten(2), weights["w"])
    return torch.logaddexp(torch.zeros_like(margin), -margin).mean(1)


def by_hand(w, x, y, eps, columns):
    """(J', ∇_w J') of one lane: the paper's softplus(ε σ ‖w‖₁ − margin), since sign ∇x = −y sign w."""
    flat = x.reshape(len(x), -1)
    sigma = flat.std(0) if columns else np.full(flat.shape[1], x.std())
    value, slope = 0.0, np.zeros_like(w)
    for shift in (np.zeros_like(w), eps * sigma):
        for row, label in zip(flat, y, strict=True):
            seen = row - label * shift * np.sign(w)
            margin = label * (w @ seen)
            value += 0.5 * np.log1p(np.exp(-margin)) / len(x)
            slope += 0.5 * (-label * seen / (1 + np.exp(margin))) / len(x)
    return value, slope


@sweep("seed", range(100))
def test_loss_and_gradient_of_logistic_regression(seed):
    random = np.random.default_rng(seed)
    columns = bool(seed % 2)
    lanes, examples = random.integers(1, 4), random.integers(2, 8)
    shape = (4,) if columns else (1, 2, 3)
    x = random.normal(size=(lanes, examples, *shape)) * 3 + 1
    y = random.choice([-1.0, 1.0], (lanes, examples))
    w = random.normal(size=(lanes, int(np.prod(shape))))
    eps = random.uniform(0.01, 1, lanes)
    weights = {"w": torch.tensor(w, requires_grad=True)}
    batch = Batch(
        torch.tensor(x), torch.tensor(y)[..., None], torch.zeros(lanes, examples, dtype=torch.int64)
    )
    losses = objective(logistic, weights, batch, settings(eps.tolist()))
    (gradient,) = torch.autograd.grad(losses.sum(), weights["w"])
    for lane in range(lanes):
        value, slope = by_hand(w[lane], x[lane], y[lane], eps[lane], columns)
        assert losses[lane].item() == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(gradient[lane].numpy(), slope, atol=1e-13)
    assert not batch.x.requires_grad


def test_perturbed_inputs_lie_on_the_corners_of_the_ball():
    generator = torch.Generator().manual_seed(0)
    batch = Batch(torch.randn(2, 6, 5, generator=generator).double(), torch.ones(2, 6, 1), torch.zeros(2, 6))
    loss, seen = recorded(logistic)
    weights = {"w": torch.randn(2, 5, generator=generator).double().requires_grad_()}
    objective(loss, weights, batch, settings([0.1, 0.4]))
    assert len(seen) == 2
    assert torch.equal(seen[0], batch.x)
    size = torch.tensor([0.1, 0.4])[:, None, None] * batch.x.std(1, correction=0, keepdim=True)
    torch.testing.assert_close((seen[1] - seen[0]).abs(), size.expand_as(batch.x).double(), rtol=1e-6, atol=0)


def test_an_input_on_which_the_loss_does_not_depend_is_not_perturbed():
    generator = torch.Generator().manual_seed(0)
    batch = Batch(torch.randn(1, 6, 3, generator=generator).double(), torch.ones(1, 6, 1), torch.zeros(1, 6))
    loss, seen = recorded(logistic)
    weights = {"w": torch.tensor([[1.0, 0.0, -2.0]], dtype=torch.float64, requires_grad=True)}
    assert objective(loss, weights, batch, settings([0.3])).isfinite().all()
    assert ((seen[1] != seen[0]).all(dim=1)).tolist() == [[True, False, True]]
    assert torch.equal(seen[1][..., 1], seen[0][..., 1])


def test_an_input_that_never_varies_is_not_perturbed():
    x = torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(0))
    x[..., 1] = 7
    assert deviation(x)[0, 0, 1] == 0


@pytest.mark.parametrize("shape", [(3, 64, 9), (3, 32, 3, 40, 40)])
def test_a_lanes_deviation_is_the_same_alone(shape):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    together = deviation(x)
    assert all(torch.equal(deviation(x[lane : lane + 1])[0], together[lane]) for lane in range(3))


def test_numbers_of_tokens_are_refused():
    batch = Batch(torch.zeros(1, 2, 3, dtype=torch.int64), torch.ones(1, 2, 1), torch.zeros(1, 2))
    with pytest.raises(NotApplicable, match="tokens"):
        objective(logistic, {"w": torch.ones(1, 3)}, batch, settings([0.1]))
