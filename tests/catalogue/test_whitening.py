"""IterNorm against its iteration and the exact inverse square root in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from model_cases import operated, random_shape, scaled_input
from sweep import sweep

from ablate.catalogue.model.whitening import group_size
from ablate.records.errors import InputError
from ablate.surgery.whitening import IterNorm, whitening_matrix


def by_hand(x: np.ndarray, size: int, iterations: int, eps: float) -> np.ndarray:
    """Whitened `[B, C, N]`, group by group."""
    batch, channels, positions = x.shape
    rows = np.moveaxis(x, 1, 0).reshape(channels, -1)
    out = np.empty_like(rows)
    for first in range(0, channels, size):
        group = rows[first : first + size]
        group = group - group.mean(axis=1, keepdims=True)
        sigma = group @ group.T / group.shape[1] + eps * np.eye(size)
        scaled = sigma / np.trace(sigma)
        p = np.eye(size)
        for _ in range(iterations):
            p = 0.5 * (3 * p - np.linalg.matrix_power(p, 3) @ scaled)
        out[first : first + size] = p / np.sqrt(np.trace(sigma)) @ group
    return np.moveaxis(out.reshape(channels, batch, positions), 0, 1)


@sweep("seed", range(100))
def test_training_mode_is_the_papers_algorithm(seed: int) -> None:
    shape = random_shape(seed, 2)
    x = scaled_input(shape, seed)
    size, iterations = group_size(shape[1], 1 + seed % 4), 1 + seed % 7
    layer = IterNorm(shape[1], size, iterations, 0.1, 1e-3).double()
    generator = torch.Generator().manual_seed(seed)
    for parameter in layer.parameters():
        parameter.data.normal_(generator=generator)
    white = by_hand(x.flatten(2).numpy(), size, iterations, 1e-3)
    gamma, beta = (tensor.detach().numpy()[:, None] for tensor in (layer.weight, layer.bias))
    expected = torch.from_numpy(white * gamma + beta).reshape(shape)
    torch.testing.assert_close(layer(x), expected, rtol=1e-8, atol=1e-8)
    if seed < 5:
        assert torch.autograd.gradcheck(layer, x[:, :, :2, :2].clone().requires_grad_(), atol=1e-4)


def test_many_iterations_are_the_inverse_square_root() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.eye(4, dtype=torch.float64) + 0.3 * torch.randn(
        4, 4, generator=generator, dtype=torch.float64
    )
    x = mixing @ torch.randn(1, 4, 500, generator=generator, dtype=torch.float64)
    x = x - x.mean(dim=2, keepdim=True)
    white = whitening_matrix(x, 14, 0.0) @ x
    torch.testing.assert_close(
        white @ white.transpose(1, 2) / 500, torch.eye(4, dtype=torch.float64)[None], rtol=1e-6, atol=1e-6
    )


def test_evaluation_uses_running_statistics() -> None:
    x = scaled_input((64, 4, 3, 3), 0).float()
    layer = IterNorm(4, 2, 5, 0.25, 1e-3)
    rows = x.transpose(0, 1).flatten(1)
    matrix = whitening_matrix((rows - rows.mean(dim=1, keepdim=True)).reshape(2, 2, -1), 5, 1e-3)
    layer(x)
    torch.testing.assert_close(layer.running_mean, 0.25 * rows.mean(dim=1))
    torch.testing.assert_close(layer.running_whitening, 0.75 * torch.eye(2).expand(2, 2, 2) + 0.25 * matrix)
    layer.eval()
    groups = (rows - layer.running_mean[:, None]).reshape(2, 2, -1)
    expected = (layer.running_whitening @ groups).reshape(4, 64, 3, 3).transpose(0, 1)
    torch.testing.assert_close(layer(x), expected)


def test_one_value_a_channel_is_refused_in_training() -> None:
    with pytest.raises(InputError, match="one value per channel"):
        IterNorm(3, 3, 5, 0.1, 1e-3)(torch.ones(1, 3))


def test_groups_divide_the_channels_and_the_bias_goes() -> None:
    assert [group_size(c, 16) for c in (8, 24, 17, 48)] == [8, 12, 1, 16]
    net = operated("whitening", "cnn")
    assert net.touched["whitening"] == 3
    assert all(site.bias_gate is not None and site.bias_gate.on == 0 for _, site in net.sites())


def test_a_momentum_above_one_is_refused() -> None:
    """The running statistics would be weighed negatively; with one they are the last batch's."""
    with pytest.raises(InputError, match="momentum"):
        operated("whitening", "cnn", momentum=1.5)
    assert operated("whitening", "cnn", momentum=1.0).touched["whitening"] == 3
