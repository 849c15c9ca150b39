"""The built-in tasks' models: small and plain, without norm layers and dropout, which are tricks."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def convnet(
    image: tuple[int, int, int], widths: tuple[int, ...], pools: int, outputs: int, *, stride: int = 1
) -> nn.Sequential:
    """3×3 convolutions with ReLU, a 2×2 max-pool after each of the first `pools`, and a linear head.

    `stride`: of the first convolution (2 halves the image at once).

    image: (C, H, W). Maps `[B, C, H, W]` to `[B, outputs]`. If two widths are equal and nothing is pooled
    between them, convolution and ReLU form a block that keeps its shape (which a skip connection needs).
    """
    channels, height, width = image
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(pairwise((channels, *widths))):
        step = stride if index == 0 else 1
        layers += [nn.Conv2d(before, after, kernel_size=3, stride=step, padding=1), nn.ReLU()]
        if index < pools:
            layers.append(nn.MaxPool2d(2))
    height, width = -(-height // stride) >> pools, -(-width // stride) >> pools
    features = widths[-1] * height * width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, outputs))


def perceptron(inputs: int, widths: tuple[int, ...], outputs: int) -> nn.Sequential:
    """Linear layers with ReLU between. Maps `[B, inputs]` to `[B, outputs]`."""
    layers: list[nn.Module] = []
    for before, after in pairwise((inputs, *widths)):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
