"""ACNet's folded kernel against three convolutions, outputs and gradients."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from model_cases import operated
from torch import nn

from ablate.catalogue.model.acnet import drawn, folded, is_square


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


def test_kernels_are_drawn_as_torch_draws_those_of_a_convolution() -> None:
    kernels = drawn((400, 5, 1, 3), torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    reference = nn.Conv2d(5, 400, (1, 3)).weight.detach()
    assert kernels.shape == reference.shape
    for of in (torch.max, torch.min, torch.std):
        torch.testing.assert_close(of(kernels), of(reference), rtol=0.02, atol=0)
    assert kernels.mean().abs() < 0.02


@pytest.mark.parametrize("on", [True, False])
def test_the_gate_decides(on: bool) -> None:
    for _, site in operated("acnet", "cnn", on=on).sites():
        for transform in site.weight_transforms:
            weight = site.layer.weight
            both = folded(weight, transform.horizontal, transform.vertical)
            assert torch.equal(transform(weight), both if on else weight)
            assert torch.equal(both, weight) != on


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ((3, 3), True),
        ((5, 5), True),
        ((3, 5), False),
        ((5, 3), False),
        ((1, 1), False),
        ((4, 4), False),
        ((3,), False),
    ],
)
def test_only_square_kernels_of_an_odd_size(kernel: tuple[int, ...], expected: bool) -> None:
    assert is_square(torch.zeros(4, 2, *kernel)) == expected


def test_it_acts_on_square_kernels() -> None:
    assert operated("acnet", "cnn").touched["acnet"] == 2
