"""Products of matrices by lane: right to float64, the same bits in any group, gradients of gradients, autocast."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ablate.kernels.batched_matmul import LARGE, NARROW, affine

TOLERANCE = 3e-5  # of the largest value: sums of up to 300 float32 numbers in any order
# Few and many outputs, few and many inputs, a layer whose gradient autograd would transpose, and one row.
LAYERS = (
    (7, 300, 3),
    (40, 6, 64),
    (40, 64, 64),
    (20, 5, 4),
    (33, 70, NARROW - 1),
    (1, 9, 2),
    (17, LARGE // 32, 32),
)


def layer(rows: int, into: int, out: int, lanes: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shapes = ((lanes, rows, into), (lanes, out, into), (lanes, out), (lanes, rows, out))
    x, weight, bias, gradient = (torch.randn(shape, generator=draw) for shape in shapes)
    return x, weight, bias, gradient


def through(call, x: Tensor, weight: Tensor, bias: Tensor | None, gradient: Tensor) -> list[Tensor]:
    leaves = [t.detach().clone().requires_grad_() for t in (x, weight, bias) if t is not None]
    y = call(*leaves, *[None] * (3 - len(leaves)))
    return [y.detach(), *torch.autograd.grad(y, leaves, gradient)]


def by_lane(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    rows = zip(x, weight, [None] * len(x) if bias is None else bias, strict=True)
    return torch.stack([torch.nn.functional.linear(*row) for row in rows])


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 70), into=st.integers(1, 90), out=st.integers(1, 70), lanes=st.integers(1, 4),
    bias=st.booleans(), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_values_and_gradients_are_those_of_float64(rows, into, out, lanes, bias, seed):
    x, weight, b, gradient = layer(rows, into, out, lanes, seed)
    results = through(affine, x, weight, b if bias else None, gradient)
    wide = through(by_lane, x.double(), weight.double(), b.double() if bias else None, gradient.double())
    assert results[0].is_contiguous()
    for ours, right in zip(results, wide, strict=True):
        assert ours.shape == right.shape
        assert float((ours - right).abs().max()) <= TOLERANCE * float(right.abs().max().clamp_min(1.0))


@pytest.mark.parametrize("sizes", LAYERS)
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_lane_has_the_same_bits_alone_and_among_others(sizes, with_bias, dtype):
    x, weight, bias, gradient = (tensor.to(dtype) for tensor in layer(*sizes, lanes=6, seed=3))
    b = bias if with_bias else None
    every = through(affine, x, weight, b, gradient)
    for lanes in (slice(2, 3), slice(1, 4), slice(5, 6)):
        alone = through(affine, x[lanes], weight[lanes], None if b is None else b[lanes], gradient[lanes])
        for ours, whole in zip(alone, every, strict=True):
            assert torch.equal(ours, whole[lanes])


@pytest.mark.parametrize("sizes", [(3, 5, 2), (4, 20, 3), (3, 4, 20), (2, 70, 60)])
def test_gradients_have_gradients(sizes):
    x, weight, bias, _ = (t.double() for t in layer(*sizes, lanes=2, seed=1))
    leaves = [t.requires_grad_() for t in (x, weight, bias)]
    large = sizes[1] * sizes[2] > 100  # projected on random directions instead of one input at a time
    assert torch.autograd.gradgradcheck(affine, leaves, fast_mode=large)


def test_dimensions_between_examples_and_features_are_kept():
    x, weight, bias, _ = layer(12, 8, 3, lanes=2, seed=0)
    y = affine(x.view(2, 3, 4, 8), weight, bias)
    assert torch.equal(y, affine(x, weight, bias).view(2, 3, 4, 3))


@pytest.mark.parametrize("out", [3, 40])
def test_autocast_multiplies_in_its_type_and_gives_float32_gradients(out):
    x, weight, bias, gradient = layer(20, 30, out, lanes=3, seed=2)
    leaves = [t.requires_grad_() for t in (x, weight, bias)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = affine(*leaves)
    assert y.dtype == torch.bfloat16
    for slope, leaf in zip(torch.autograd.grad(y, leaves, gradient.bfloat16()), leaves, strict=True):
        assert (slope.dtype, slope.shape) == (torch.float32, leaf.shape)
