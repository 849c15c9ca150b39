"""Transposed convolutions against loops that spread each input over the output, and against bilinear interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sweep import sweep
from torch import nn

from ablate.catalogue.model.transposed_conv import Upsampling, scale_of
from ablate.surgery.net import open_net


def by_hand(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, scale: int) -> np.ndarray:
    batch, channels, height, width = x.shape
    size, padding = weight.shape[2], -(-(scale - 1) // 2)
    whole = np.zeros((batch, channels, (height - 1) * scale + size, (width - 1) * scale + size))
    for b, c, i, j in np.ndindex(x.shape):
        for o in range(channels):
            whole[b, o, i * scale : i * scale + size, j * scale : j * scale + size] += (
                x[b, c, i, j] * weight[c, o]
            )
    end = (padding + height * scale, padding + width * scale)
    return whole[:, :, padding : end[0], padding : end[1]] + bias[:, None, None]


@sweep("seed", range(100))
def test_equal_to_loops(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scale, channels = 2 + seed % 3, 1 + seed % 4
    layer = Upsampling(channels, scale).double()
    for parameter in layer.parameters():
        parameter.data.normal_(generator=generator)
    x = torch.randn(2, channels, 3, 4, generator=generator, dtype=torch.float64)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    torch.testing.assert_close(layer(x), torch.from_numpy(by_hand(x.numpy(), weight, bias, scale)))
    if seed < 5:
        assert torch.autograd.gradcheck(layer, x.requires_grad_())


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_it_begins_as_bilinear_interpolation(scale: int) -> None:
    x = torch.randn(1, 3, 6, 7, generator=torch.Generator().manual_seed(scale))
    inside = (..., slice(scale, -scale), slice(scale, -scale))  # at the border zeros come in
    expected = nn.functional.interpolate(x, scale_factor=scale, mode="bilinear")
    torch.testing.assert_close(Upsampling(3, scale)(x)[inside], expected[inside])


def test_layers_that_enlarge_by_a_whole_number_are_replaced() -> None:
    assert [scale_of((1, 2, 3, 4), (1, 2, *to)) for to in ((6, 8), (6, 12), (3, 4), (7, 9))] == [2, 0, 0, 0]
    assert [scale_of((1, 2, 2, 4), (1, 2, *to)) for to in ((4, 8), (6, 12), (4, 4), (2, 8))] == [2, 3, 0, 0]
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Upsample(scale_factor=2), nn.Flatten(), nn.Linear(128, 2))
    net = open_net(module, torch.zeros(2, 1, 6, 6))
    from types import SimpleNamespace

    from ablate.catalogue.model.transposed_conv import model

    model(net, SimpleNamespace(on=True))
    assert net.touched["transposed_conv"] == 1
    assert module(torch.zeros(2, 1, 6, 6)).shape == (2, 2)
