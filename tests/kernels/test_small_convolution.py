"""Small convolutions of several lanes: right to float64, the same bits in any group, channels innermost."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ablate.kernels import small_convolution
from ablate.kernels.memory_format import is_innermost
from ablate.kernels.small_convolution import algorithm_for, convolution

# Largest error over largest value, measured against float64: oneDNN's is about 5e-7 for these sizes, and a
# transform to 36 points and back loses a few times that.
TOLERANCE = 1e-5
WAYS = ("patches", "winograd")


def match_grad_layout(x: Tensor) -> Tensor:
    return x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def inputs(
    algorithm: str,
    lanes: int,
    examples: int,
    into: int,
    out: int,
    kernel: int,
    stride: int,
    padding: int,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor, tuple[int, int], tuple[int, int]]:
    draw = torch.Generator().manual_seed(seed)
    if algorithm == "winograd":
        kernel, stride = 3, 1
        height, width = (
            int(torch.randint(3 - 2 * padding, 7 - 2 * padding, (), generator=draw)) for _ in "hw"
        )
        height, width = max(height, 1), max(width, 1)
    else:
        height, width = (kernel + int(torch.randint(0, 6, (), generator=draw)) for _ in "hw")
    x = match_grad_layout(torch.randn(lanes, examples, into, height, width, generator=draw))
    weight = torch.randn(lanes, out, into, kernel, kernel, generator=draw)
    return x, weight, torch.randn(lanes, out, generator=draw), (stride, stride), (padding, padding)


def reference(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    rows = zip(x, weight, [None] * len(x) if bias is None else bias, strict=True)
    return torch.stack([torch.conv2d(a, w, b, stride, padding) for a, w, b in rows])


def with_gradients(call, x: Tensor, weight: Tensor, bias: Tensor | None, seed: int) -> list[Tensor]:
    leaves = [t.detach().clone().requires_grad_() for t in (x, weight, bias) if t is not None]
    y = call(*leaves, *[None] * (3 - len(leaves)))
    draw = torch.Generator().manual_seed(seed)
    gradient = torch.randn(y.shape, generator=draw).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, leaves, gradient)]


def error(found: Tensor, right: Tensor) -> float:
    return float((found - right).abs().max() / right.abs().max().clamp_min(1e-3))


CASES = {
    "algorithm": st.sampled_from(WAYS),
    "examples": st.integers(1, 40),
    "into": st.integers(1, 20),
    "out": st.integers(1, 20),
    "kernel": st.integers(1, 4),
    "stride": st.integers(1, 3),
    "padding": st.integers(0, 2),
    "seed": st.integers(0, 10**6),
}


@settings(max_examples=100, deadline=None)
@given(lanes=st.integers(1, 3), biased=st.booleans(), **CASES)
def test_equals_float64(algorithm, lanes, examples, into, out, kernel, stride, padding, seed, biased):
    x, weight, bias, strides, paddings = inputs(
        algorithm, lanes, examples, into, out, kernel, stride, padding, seed
    )
    bias = bias if biased else None
    found = with_gradients(lambda *t: convolution(algorithm, *t, strides, paddings), x, weight, bias, seed)
    wide = (None if t is None else t.double() for t in (x, weight, bias))
    right = with_gradients(lambda *t: reference(*t, strides, paddings), *wide, seed)
    for a, b in zip(found, right, strict=True):
        assert a.shape == b.shape
        assert error(a, b) <= TOLERANCE


@pytest.mark.parametrize(
    ("algorithm", "into", "side", "stride"), [("patches", 1, 8, 2), ("winograd", 16, 4, 1)]
)
def test_error_is_near_that_of_onednn(algorithm, into, side, stride):
    """The layers of the digits network: root mean square error of value and gradients at most 8 times oneDNN's."""
    draw = torch.Generator().manual_seed(0)
    x = match_grad_layout(torch.randn(4, 64, into, side, side, generator=draw))
    weight, bias = torch.randn(4, 16, into, 3, 3, generator=draw), torch.randn(4, 16, generator=draw)
    rest = ((stride, stride), (1, 1))
    found = with_gradients(lambda *t: convolution(algorithm, *t, *rest), x, weight, bias, 1)
    plain = with_gradients(lambda *t: reference(*t, *rest), x, weight, bias, 1)
    right = with_gradients(lambda *t: reference(*t, *rest), x.double(), weight.double(), bias.double(), 1)
    for a, b, c in zip(found, plain, right, strict=True):
        assert (a - c).square().mean().sqrt() <= 8 * (b - c).square().mean().sqrt()


@settings(max_examples=100, deadline=None)
@given(
    first=st.integers(0, 7),
    count=st.sampled_from([1, 2, 3]),
    cache=st.sampled_from([1, 2**15, 2**20]),
    **CASES,
)
def test_a_lane_is_the_same_in_any_group(
    algorithm, examples, into, out, kernel, stride, padding, seed, first, count, cache
):
    """Ten lanes, two or more of them together at a time, against one to three of them in one piece."""
    x, weight, bias, *rest = inputs(algorithm, 10, examples, into, out, kernel, stride, padding, seed)
    gradient = torch.randn(convolution(algorithm, x, weight, bias, *rest).shape)

    def results(lanes: slice) -> list[Tensor]:
        leaves = [t[lanes].detach().requires_grad_() for t in (x, weight, bias)]
        y = convolution(algorithm, *leaves, *rest)
        return [y.detach(), *torch.autograd.grad(y, leaves, match_grad_layout(gradient[lanes]))]

    part = slice(first, first + count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_convolution, "IN_CACHE", cache)
        all_ten = results(slice(None))
    for whole, group in zip(all_ten, results(part), strict=True):
        assert torch.equal(whole[part], group)


@pytest.mark.parametrize("count", range(1, 12))
@pytest.mark.parametrize("cache", [1, 20, 40, 1000])
def test_no_lane_is_taken_alone(monkeypatch, count, cache):
    monkeypatch.setattr(small_convolution, "IN_CACHE", cache)
    parts = small_convolution._parts(count, 10)
    assert [i for p in parts for i in range(p.start, p.stop)] == list(range(count))
    assert all(p.stop - p.start >= min(2, count) for p in parts)


@pytest.mark.parametrize("algorithm", WAYS)
@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_layout(algorithm, lanes):
    x, weight, bias, *rest = inputs(algorithm, lanes, 8, 5, 7, 3, 1, 1, 0)
    x.requires_grad_()
    for innermost in (x, x.contiguous()):
        y = convolution(algorithm, innermost, weight, bias, *rest)
        assert is_innermost(y)
        assert y.permute(0, 1, 3, 4, 2).is_contiguous()
    (to_x,) = torch.autograd.grad(y, [x], torch.randn(y.shape))
    assert torch.equal(
        convolution(algorithm, x.contiguous(), weight, bias, *rest),
        convolution(algorithm, x, weight, bias, *rest),
    )
    assert to_x.shape == x.shape


@pytest.mark.parametrize("algorithm", WAYS)
def test_gradient_of_the_gradient(algorithm):
    x, weight, bias, *rest = inputs(algorithm, 2, 8, 5, 7, 3, 1, 1, 0)

    def twice(call, *leaves: Tensor) -> list[Tensor]:
        leaves = tuple(leaf.detach().clone().requires_grad_() for leaf in leaves)
        first = torch.autograd.grad(call(*leaves, *rest).tanh().sum(), leaves, create_graph=True)
        return [
            t.detach() for t in (*first, *torch.autograd.grad(sum(f.square().sum() for f in first), leaves))
        ]

    found = twice(lambda *t: convolution(algorithm, *t), x, weight, bias)
    right = twice(reference, x.double(), weight.double(), bias.double())
    for a, b in zip(found, right, strict=True):
        assert error(a, b) <= 10 * TOLERANCE


@pytest.mark.parametrize("algorithm", WAYS)
@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2), (1, 2)])
def test_only_the_gradients_asked_for(algorithm, wanted):
    x, weight, bias, *rest = inputs(algorithm, 2, 8, 5, 7, 3, 1, 1, 0)
    everything = [t.requires_grad_() for t in (x, weight, bias)]
    all_three = torch.autograd.grad(convolution(algorithm, *everything, *rest).sum(), everything)
    some = [t.detach().requires_grad_(i in wanted) for i, t in enumerate(everything)]
    found = torch.autograd.grad(convolution(algorithm, *some, *rest).sum(), [some[i] for i in wanted])
    for i, gradient in zip(wanted, found, strict=True):
        assert torch.equal(gradient, all_three[i])


def named(lanes: int, examples: int, into: int, out: int, side: int, stride: int = 1, **rest) -> str:
    x = torch.empty(lanes, examples, into, side, side, dtype=rest.get("dtype", torch.float32))
    weight = torch.empty(lanes, out, into // rest.get("groups", 1), 3, 3, dtype=x.dtype)
    return algorithm_for(
        x, weight, (stride, stride), (1, 1), (rest.get("dilation", 1),) * 2, rest.get("groups", 1)
    )


@pytest.mark.parametrize("lanes", [1, 2, 10])
def test_way_of(lanes):
    assert named(lanes, 64, 1, 16, 8, 2) == "patches"
    assert named(lanes, 64, 16, 16, 4) == "winograd"
    assert named(lanes, 256, 16, 16, 4) == "winograd"
    assert named(lanes, 64, 64, 64, 4) == "winograd"
    assert named(lanes, 64, 8, 16, 4) == "winograd"
    assert named(lanes, 256, 8, 16, 4) == ""  # a transform costs more memory traffic than it saves products
    assert named(lanes, 64, 16, 16, 3) == "winograd"
    assert named(lanes, 256, 16, 16, 3) == ""
    assert named(lanes, 64, 64, 64, 3) == ""
    assert named(lanes, 64, 16, 16, 8) == ""
    assert named(lanes, 64, 16, 16, 8, 2) == ""
    assert named(lanes, 64, 3, 32, 28) == ""
    assert named(lanes, 0, 16, 16, 4) == ""


def test_way_of_declines_what_it_cannot_run():
    assert named(2, 64, 16, 16, 4, groups=2) == ""
    assert named(2, 64, 16, 16, 4, dilation=2) == ""
    assert named(2, 64, 16, 16, 4, dtype=torch.bfloat16) == ""
    assert named(2, 64, 1, 16, 8, 2, dtype=torch.float64) == ""
