"""Deformable convolution against loops over outputs and taps in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from model_cases import operated
from sweep import sweep
from torch import nn

from ablate.catalogue.model.deformable_conv import DeformableConv, is_deformable


def at(x: np.ndarray, row: float, column: float) -> np.ndarray:
    """Bilinear value of `[C, H, W]` at a place, zero outside."""
    total = np.zeros(len(x))
    top, left = int(np.floor(row)), int(np.floor(column))
    for i, j in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= i < x.shape[1] and 0 <= j < x.shape[2]:
            total += (1 - abs(row - i)) * (1 - abs(column - j)) * x[:, i, j]
    return total


def by_hand(layer: DeformableConv, x: torch.Tensor, stride: int, padding: int, dilation: int) -> np.ndarray:
    shift, weight = layer.offsets(x).detach().numpy(), layer.layer.weight.detach().numpy()
    bias = np.zeros(len(weight)) if layer.layer.bias is None else layer.layer.bias.detach().numpy()
    batch, _, height, width = shift.shape
    y = np.zeros((batch, len(weight), height, width))
    for b, i, j in np.ndindex(batch, height, width):
        y[b, :, i, j] = bias
        for n, (u, v) in enumerate(np.ndindex(weight.shape[2:])):
            row = i * stride - padding + u * dilation + shift[b, 2 * n, i, j]
            column = j * stride - padding + v * dilation + shift[b, 2 * n + 1, i, j]
            y[b, :, i, j] += weight[:, :, u, v] @ at(x[b].numpy(), row, column)
    return y


@sweep("seed", range(100))
def test_equal_to_loops(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    stride, padding, dilation = 1 + seed % 2, seed % 3, 1 + seed % 2
    kernel = (3, 2) if seed % 4 == 3 else (3, 3)
    torch.manual_seed(seed)
    plain = nn.Conv2d(1 + seed % 3, 2, kernel, stride, padding, dilation, bias=seed % 5 > 0)
    layer = DeformableConv(plain).double()
    x = torch.randn(2, 1 + seed % 3, 5, 6, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(layer(x), plain(x))  # offsets begin at zero
    for parameter in (layer.offset_weight, layer.offset_bias):
        parameter.data.normal_(generator=generator)
    torch.testing.assert_close(layer(x), torch.from_numpy(by_hand(layer, x, stride, padding, dilation)))
    if seed in (0, 5):
        inputs = [x[:1, :, :3, :4].clone().requires_grad_(), *layer.parameters()]
        assert torch.autograd.gradcheck(lambda value, *rest: layer(value), inputs, eps=1e-7, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("padding", ["same", "valid", (1, 2), (2, 0)])
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 2), ((4, 2), 1), ((2, 3), (1, 2))])
def test_paddings_by_name_and_in_either_direction(
    padding: str | tuple[int, int], kernel: int | tuple[int, int], dilation: int | tuple[int, int]
) -> None:
    """Before the offsets are learnt, with one output; an even kernel has more padding on one side."""
    plain = nn.Conv2d(2, 1, kernel, padding=padding, dilation=dilation).double()
    x = torch.randn(2, 2, 6, 7, dtype=torch.float64)
    torch.testing.assert_close(DeformableConv(plain).double()(x), plain(x))


def test_it_takes_the_weights_over() -> None:
    net = operated("deformable_conv", "cnn")
    assert net.touched["deformable_conv"] == 2
    roles = {spec.shape: spec.role for spec in net.specs().values()}
    assert roles[6, 1, 3, 3] == "weight"
    for channels, kernel in ((1, 3), (2, (1, 2))):
        assert is_deformable(nn.Conv2d(2, channels, kernel))
    assert not is_deformable(nn.Conv2d(2, 2, 1))
    assert not is_deformable(nn.Conv2d(2, 2, 3, groups=2))
    assert not is_deformable(nn.Linear(2, 2))
    assert not is_deformable(nn.Conv2d(2, 2, 3, padding_mode="circular"))
