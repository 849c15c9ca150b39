"""Extended batch normalisation against the formula in numpy; with one channel it is torch's batch normalisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from model_cases import assert_same_function, operated, random_shape, randomised, scaled_input
from torch import nn

from ablate.records.errors import InputError
from ablate.surgery.norms import ExtendedBatchNorm


def test_equal_to_the_formula() -> None:
    for case in range(100):
        shape = random_shape(case, case % 3)
        mine, x = randomised(ExtendedBatchNorm(shape[1], 0.3, 1e-3), case), scaled_input(shape, case)
        y = mine(x).detach().numpy()
        rows = np.moveaxis(x.numpy(), 1, 0).reshape(shape[1], -1)
        means = rows.mean(axis=1)
        variance = ((rows - means[:, None]) ** 2).sum() / rows.size
        for c in range(shape[1]):
            expected = (x[:, c].numpy() - means[c]) / np.sqrt(variance + 1e-3)
            expected = mine.weight[c].item() * expected + mine.bias[c].item()
            np.testing.assert_allclose(y[:, c], expected, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(mine.running_mean.numpy(), 0.3 * means, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(mine.running_var.item(), 0.7 + 0.3 * variance)


def test_gradients() -> None:
    x = scaled_input((3, 2, 4), 0).requires_grad_()
    mine = randomised(ExtendedBatchNorm(2, 0.0, 1e-3), 0)
    assert torch.autograd.gradcheck(lambda x, w, b: torch.func.functional_call(mine, {"weight": w, "bias": b}, x), (x, mine.weight, mine.bias))  # fmt: skip


def test_one_channel_is_batch_normalisation() -> None:
    for case in range(50):
        shape = (3 + case % 5, 1, 4)
        mine = randomised(ExtendedBatchNorm(1, 0.1, 1e-4), case)
        torchs = randomised(nn.BatchNorm1d(1, 1e-4, 0.1), case)
        assert_same_function(mine, torchs, scaled_input(shape, case), case)


def test_evaluation_uses_the_running_statistics() -> None:
    mine = ExtendedBatchNorm(3, 0.1, 0.0).double().eval()
    mine.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    mine.running_var.fill_(4.0)
    assert mine(torch.tensor([[5.0, 4.0, 3.0]], dtype=torch.float64)).tolist() == [[2.0, 1.0, 0.0]]
    assert operated("extended_batch_norm", "cnn").touched["extended_batch_norm"] == 3


def test_a_momentum_above_one_is_refused() -> None:
    """The running statistics would be weighed negatively; with one they are the last batch's."""
    with pytest.raises(InputError, match="momentum"):
        operated("extended_batch_norm", "cnn", momentum=1.5)
    assert operated("extended_batch_norm", "cnn", momentum=1.0).touched["extended_batch_norm"] == 3


def test_the_biases_go_where_norms_come_and_stay_where_norms_are_replaced() -> None:
    for name, gone in (("cnn", True), ("group_normed", False)):
        net = operated("extended_batch_norm", name)
        assert all((site.bias_gate is not None) is gone for _, site in net.sites())
        assert not gone or all(site.bias_gate.on == 0 for _, site in net.sites())
