"""Depthwise separable convolutions against one full convolution with the product of both kernels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from model_cases import operated
from sweep import sweep
from torch import nn

from ablate.catalogue.model.depthwise_separable import DepthwiseSeparable, is_separable


@sweep("seed", range(100))
def test_equal_to_the_full_convolution_of_the_products(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    channels, outputs, size, batch = (int(torch.randint(2, 6, (), generator=generator)) for _ in range(4))
    stride, padding, dilation = 1 + seed % 2, seed % 3, 1 + seed % 2
    layer = nn.Conv2d(channels, outputs, 3, stride, padding, dilation, bias=seed % 5 > 0)
    mine = DepthwiseSeparable(layer, generator).double()
    x = torch.randn(batch, channels, size + 4, size + 5, generator=generator, dtype=torch.float64)
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    features = mine(one)
    depth, point = mine.depthwise.weight, mine.pointwise.weight
    kernel = torch.einsum("oi,ihw->oihw", point[:, :, 0, 0], depth[:, 0])
    expected = F.conv2d(two, kernel, mine.pointwise.bias, stride, padding, dilation)
    torch.testing.assert_close(features, expected)
    slope = torch.randn(features.shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad((features * slope).sum(), [one, depth, point])
    reference = torch.autograd.grad((expected * slope).sum(), [two, depth, point])
    for gradient, other in zip(gradients, reference, strict=True):
        torch.testing.assert_close(gradient, other)


def test_weights_are_drawn_as_torch_draws_them() -> None:
    layer = DepthwiseSeparable(nn.Conv2d(64, 64, 3), torch.Generator().manual_seed(0))
    for part, fan_in in ((layer.depthwise, 9), (layer.pointwise, 64)):
        bound = fan_in**-0.5
        assert part.weight.abs().max().item() == pytest.approx(bound, rel=0.02)
        assert part.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


def test_the_full_weights_are_gone() -> None:
    net = operated("depthwise_separable", "cnn")
    assert net.touched["depthwise_separable"] == 1  # the first convolution has one channel
    shapes = {spec.shape for spec in net.specs().values()}
    assert (6, 1, 3, 3) in shapes
    assert (6, 6, 1, 1) in shapes
    assert (6, 6, 3, 3) not in shapes
    assert all(spec.role == "weight" for spec in net.specs().values() if len(spec.shape) == 4)


def test_what_has_nothing_to_separate_is_left() -> None:
    for layer in (nn.Conv1d(2, 3, 3), nn.Conv1d(2, 3, 2), nn.Conv2d(2, 3, (1, 2))):
        assert is_separable(layer)
    for layer in (nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, groups=2), nn.Linear(4, 4)):
        assert not is_separable(layer)
