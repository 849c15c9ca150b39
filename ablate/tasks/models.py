"""The built-in tasks' models: small and plain, without norm layers and dropout, which are tricks."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


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


class EmbeddedPerceptron(nn.Module):
    """Linear layers with ReLU between, on numbers and on an embedding of each category.

    inputs: numbers of an example. levels: ids of each category, of which 0 is unknown: its vector is zero. widths: of the hidden layers.
    Embeddings have fastai's width, round(1.6 · levels^0.56), at most 600, and its standard deviation of 0.01.
    """

    def __init__(self, inputs: int, levels: tuple[int, ...], widths: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        sizes = [min(600, round(1.6 * count**0.56)) for count in levels]
        embeddings = [
            nn.Embedding(count, size, padding_idx=0) for count, size in zip(levels, sizes, strict=True)
        ]
        with torch.no_grad():
            for embedding in embeddings:
                nn.init.normal_(embedding.weight, std=0.01)
                embedding.weight[0] = 0.0
        self.embeddings = nn.ModuleList(embeddings)
        self.layers = perceptron(inputs + sum(sizes), widths, outputs)

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """`numbers` float `[B, inputs]`, `categories` int64 `[B, len(levels)]` -> `[B, outputs]`."""
        vectors = [embedding(categories[:, place]) for place, embedding in enumerate(self.embeddings)]
        outputs: Tensor = self.layers(torch.cat([numbers, *vectors], dim=1))
        return outputs
