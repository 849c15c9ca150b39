"""ACNet's folded kernel against three convolutions, outputs and gradients."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from model_cases import operated

from ablate.catalogue.model.acnet import folded


def test_the_folded_kernel_is_the_sum_of_three_convolutions() -> None:
    for case in range(100):
        rng, generator = random.Random(case), torch.Generator().manual_seed(case)
        o, i, k = rng.randint(1, 4), rng.randint(1, 4), rng.choice((3, 5))
        stride, half = rng.randint(1, 2), k // 2
        shapes = ((o, i, k, k), (o, i, 1, k), (o, i, k, 1), (2, i, 8, 9))
        leaves = [
            torch.randn(*s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes
        ]
        square, horizontal, vertical, x = leaves
        one = F.conv2d(x, folded(square, horizontal, vertical), stride=stride, padding=half)
        three = (
            F.conv2d(x, square, stride=stride, padding=half)
            + F.conv2d(x, horizontal, stride=stride, padding=(0, half))
            + F.conv2d(x, vertical, stride=stride, padding=(half, 0))
        )
        torch.testing.assert_close(one, three)
        slope = torch.randn(one.shape, generator=generator, dtype=torch.float64)
        for a, b in zip(torch.autograd.grad((one * slope).sum(), leaves), torch.autograd.grad((three * slope).sum(), leaves), strict=True):  # fmt: skip
            torch.testing.assert_close(a, b)


def test_it_acts_on_square_kernels() -> None:
    assert operated("acnet", "cnn").touched["acnet"] == 2
