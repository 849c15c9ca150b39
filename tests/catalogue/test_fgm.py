"""FGM against logistic regression on a bag of embeddings, worked by hand in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from objective_cases import loss_and_slope, settings
from sweep import sweep

from ablate.catalogue.objective.fgm import objective
from ablate.records.errors import NotApplicable
from ablate.seams.batch import Batch
from ablate.seams.facts import Facts
from ablate.seams.settings import Settings


def with_tables(eps: list[float], *names: str) -> Settings:
    """Settings of the trick in as many lanes, float64, that know of these embedding tables."""
    p = settings("fgm", [{"eps": e} for e in eps])
    p.facts = Facts(embeddings=names)
    return p


def linear(weights, batch):
    """Mean of log(1 + exp(−y w · E[token])): `[K]`."""
    rows = torch.stack([table[tokens] for table, tokens in zip(weights["E"], batch.x, strict=True)])
    margin = batch.target[..., 0] * torch.einsum("kbf,kf->kb", rows, weights["w"])
    return torch.logaddexp(torch.zeros_like(margin), -margin).mean(1)


def table_slope(table, w, tokens, y):
    """(J, ∇_w J, ∇_E J)."""
    value, slope, rows = loss_and_slope(w, table[tokens], y)
    gradient = np.zeros_like(table)
    np.add.at(gradient, tokens, rows)
    return value, slope, gradient


@sweep("seed", range(100))
def test_loss_and_gradients(seed: int) -> None:
    random = np.random.default_rng(seed)
    lanes, words, width, examples = 3, 5, 4, 7
    tables, w = random.normal(size=(lanes, words, width)), random.normal(size=(lanes, width))
    tokens = random.integers(0, words, (lanes, examples))
    y, eps = random.choice([-1.0, 1.0], (lanes, examples)), random.uniform(0.05, 2, lanes)
    weights = {"E": torch.tensor(tables, requires_grad=True), "w": torch.tensor(w, requires_grad=True)}
    batch = Batch(
        torch.tensor(tokens), torch.tensor(y)[..., None], torch.zeros(lanes, examples, dtype=torch.int64)
    )
    losses = objective(linear, weights, batch, with_tables(eps.tolist(), "E"))
    gradients = torch.autograd.grad(losses.sum(), [weights["E"], weights["w"]])
    for lane in range(lanes):
        value, slope, gradient = table_slope(tables[lane], w[lane], tokens[lane], y[lane])
        moved = tables[lane] + eps[lane] * gradient / np.linalg.norm(gradient)
        worst, worst_slope, worst_gradient = table_slope(moved, w[lane], tokens[lane], y[lane])
        assert losses[lane].item() == pytest.approx((value + worst) / 2, rel=1e-12)
        np.testing.assert_allclose(gradients[0][lane].numpy(), (gradient + worst_gradient) / 2, atol=1e-13)
        np.testing.assert_allclose(gradients[1][lane].numpy(), (slope + worst_slope) / 2, atol=1e-13)


def test_a_table_without_gradient_is_not_moved() -> None:
    weights = {
        "E": torch.zeros(1, 3, 2, dtype=torch.float64, requires_grad=True),
        "w": torch.zeros(1, 2, dtype=torch.float64),
    }
    batch = Batch(torch.tensor([[0, 1]]), torch.ones(1, 2, 1), torch.zeros(1, 2, dtype=torch.int64))
    losses = objective(linear, weights, batch, with_tables([0.5], "E"))
    assert losses.item() == pytest.approx(np.log(2))


def test_a_model_without_a_trained_embedding_is_refused() -> None:
    with pytest.raises(NotApplicable, match="embedding layer"):
        objective(
            linear, {}, Batch(torch.zeros(1, 1), torch.ones(1, 1, 1), torch.zeros(1, 1)), with_tables([0.5])
        )
