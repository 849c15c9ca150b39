"""Weights of random shapes, and equal values and gradients of what is made of them."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn


def random_weight(seed: int, *, matrices: bool = True) -> Tensor:
    """A convolution's weight or (every third) a matrix, float64."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    shape = [rng.randint(2, 6), rng.randint(2, 6)]
    if not matrices or seed % 3:
        shape += [rng.randint(1, 3)] * 2
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    return weight * 10 ** rng.uniform(-1, 1) + rng.uniform(-1, 1)


def assert_same_weight(one: nn.Module, reference: Callable[[Tensor], Tensor], weight: Tensor) -> None:
    """Equal values, and equal gradients in the weight of a random function of them."""
    leaves = [weight.clone().requires_grad_() for _ in range(2)]
    weights = [make(leaf) for make, leaf in zip((one, reference), leaves, strict=True)]
    torch.testing.assert_close(weights[0], weights[1])
    slope = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = [
        torch.autograd.grad((y * slope).sum(), leaf)[0] for y, leaf in zip(weights, leaves, strict=True)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-9)
