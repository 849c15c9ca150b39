"""Blur pooling against maxima and weighted sums by loops, with NumPy's reflected border."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ablate.catalogue.model.blur_pool import BlurPool, binomial, is_blurred, model
from ablate.surgery.net import open_net

LINES = {3: [1, 2, 1], 5: [1, 4, 6, 4, 1], 7: [1, 6, 15, 20, 15, 6, 1]}


def by_hand(x: np.ndarray, window: int, stride: int, padding: int, size: int) -> np.ndarray:
    outside = [(0, 0), (0, 0), (padding, padding), (padding, padding)]
    given = np.pad(x, outside, constant_values=-np.inf)
    height, width = (length - window + 1 for length in given.shape[2:])
    maxima = np.array(
        [
            [given[:, :, i : i + window, j : j + window].max(axis=(2, 3)) for j in range(width)]
            for i in range(height)
        ]
    ).transpose(2, 3, 0, 1)
    border = size // 2
    reflected = np.pad(maxima, [(0, 0), (0, 0), (border, border), (border, border)], mode="reflect")
    kernel = np.outer(LINES[size], LINES[size]) / sum(LINES[size]) ** 2
    rows, columns = range(0, height, stride), range(0, width, stride)
    return np.array(
        [
            [(reflected[:, :, i : i + size, j : j + size] * kernel).sum(axis=(2, 3)) for j in columns]
            for i in rows
        ]
    ).transpose(2, 3, 0, 1)


@pytest.mark.parametrize("seed", range(100))
def test_equal_to_loops(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    size, window, stride, padding = (3, 5, 7)[seed % 3], 2 + seed % 2, 2 + seed // 2 % 2, seed // 4 % 2
    pool = nn.MaxPool2d(window, stride, padding)
    x = torch.randn(2, 1 + seed % 4, 6 + seed % 3, 8, generator=generator, dtype=torch.float64)
    layer = BlurPool(pool, size).double()
    layer.kernel = binomial(size).double()
    pooled = layer(x)
    assert pooled.shape == pool(x).shape
    torch.testing.assert_close(pooled, torch.from_numpy(by_hand(x.numpy(), window, stride, padding, size)))
    if seed < 6:
        assert torch.autograd.gradcheck(layer, x.requires_grad_())


@pytest.mark.parametrize("size", [3, 5, 7])
def test_a_constant_map_stays_and_the_finest_stripes_vanish(size: int) -> None:
    flat = torch.full((1, 2, 8, 8), 3.0)
    layer = BlurPool(nn.MaxPool2d(1, 2), size)
    torch.testing.assert_close(layer(flat), torch.full((1, 2, 4, 4), 3.0))
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)
    torch.testing.assert_close(layer(stripes), torch.zeros(1, 1, 4, 4))


def test_layers_that_subsample_are_replaced() -> None:
    shape = (2, 3, 8, 8)
    assert is_blurred(nn.MaxPool2d(2), shape, 3)
    assert is_blurred(nn.MaxPool2d(3, (1, 2), dilation=2), shape, 7)
    assert is_blurred(nn.MaxPool2d(2, padding=1), (2, 3, 3, 3), 7), (
        "padding makes room: 4 maxima for a border of 3"
    )
    for layer, given, size in (
        (nn.MaxPool2d(2, 1), shape, 3),
        (nn.MaxPool2d(2, ceil_mode=True), shape, 3),
        (nn.MaxPool2d(2, return_indices=True), shape, 3),
        (nn.MaxPool2d(2), (2, 3, 4, 4), 7),
        (nn.MaxPool2d(2, padding=1), (2, 3, 2, 2), 7),
        (nn.MaxPool2d(3, dilation=2), (2, 3, 7, 7), 7),
        (nn.MaxPool2d(2), (3, 8, 8), 3),
    ):
        assert not is_blurred(layer, given, size)
    module = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(8, 2)
    )
    net = open_net(module, torch.zeros(2, 1, 8, 8))
    model(net, SimpleNamespace(on=True, size=3))
    assert net.touched["blur_pool"] == 1
    assert module(torch.zeros(2, 1, 8, 8)).shape == (2, 2)
