"""Pooled and flattened maps: torch's numbers to the last bit (means: right to float64), nothing written beside what is theirs,
the same bits with vectors of any width and for a lane alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from compiled_cases import Guarded, run, vectors_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from ablate.kernels.compiled import flatten, pooling
from ablate.kernels.compiled.jit import Function

WIDTHS = (8, 16)
INFINITE, NAN = float("inf"), float("nan")
KINDS = ("random", "ties", "constant", "infinite", "nan")


def results(
    make: Callable[[], Function], inputs: Sequence[Tensor], result: Tensor, counts: tuple[int, int]
) -> Tensor:
    """What the function gives into a tensor like `result`, between guards, at both widths, together and lane by lane."""
    outputs = []
    for width in WIDTHS:
        with vectors_of(width):
            function = make()
        for some in (slice(None), *(slice(lane, lane + 1) for lane in range(counts[0]))):
            guarded = Guarded()
            operands = [guarded.put(tensor[some]) for tensor in inputs]
            # Whatever is not written stays 7, and is found.
            out = guarded.put(torch.full_like(result[some], 7.0))
            run(function, (*operands, out), (len(out), counts[1]))
            guarded.check()
            for after, before in zip(operands, inputs, strict=True):
                assert same_bits(after, before[some]), "what is read stays"
            outputs.append((some, out))
    whole = outputs[0][1]
    for some, out in outputs:
        assert same_bits(out, whole[some])
    return whole


def same_bits(one: Tensor, other: Tensor) -> bool:
    """NaN is NaN, whatever its bits."""
    kept = [torch.where(tensor.isnan(), torch.full_like(tensor, NAN), tensor) for tensor in (one, other)]
    return torch.equal(*(tensor.contiguous().view(torch.int32) for tensor in kept))


def maps(kind: str, shape: tuple[int, ...]) -> Tensor:
    x = torch.randn(shape)
    if kind == "ties":
        x = torch.randint(0, 3, shape) * torch.tensor(-0.5)
        return torch.where((x == 0) & (torch.rand(shape) < 0.5), x.abs(), x)
    if kind == "constant":
        return torch.ones(shape) * torch.randn(shape[-1])
    if kind in ("infinite", "nan"):
        special = -INFINITE if kind == "infinite" else NAN
        x[torch.rand(shape) < 0.5] = special
        x[torch.rand(shape) < 0.1] = INFINITE
    if kind == "infinite":
        x[-1] = -INFINITE
    return x


@settings(max_examples=10, deadline=None)
@given(
    lanes=st.integers(1, 3), examples=st.integers(1, 3), channels=st.integers(1, 20) | st.sampled_from([24, 32, 48]),
    window=st.tuples(*[st.integers(1, 4)] * 2), more=st.tuples(*[st.integers(0, 7)] * 2), kind=st.sampled_from(KINDS),
    seed=st.integers(0, 10**6),
)  # fmt: skip
@example(lanes=2, examples=3, channels=16, window=(2, 2), more=(6, 6), kind="random", seed=0)
@example(lanes=2, examples=2, channels=8, window=(2, 3), more=(5, 4), kind="ties", seed=1)
@example(lanes=1, examples=2, channels=16, window=(2, 2), more=(1, 1), kind="constant", seed=2)
@example(lanes=3, examples=1, channels=5, window=(3, 2), more=(0, 3), kind="infinite", seed=3)
@example(lanes=2, examples=2, channels=16, window=(2, 2), more=(3, 0), kind="nan", seed=4)
def test_the_largest_is_torchs(
    lanes: int, examples: int, channels: int, window: tuple[int, int], more: tuple[int, int], kind: str, seed: int
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    sides = (window[0] + more[0], window[1] + more[1])
    x = maps(kind, (lanes, examples, *sides, channels))
    leaf = x.clone().requires_grad_()
    right = functional.max_pool2d(leaf.flatten(0, 1).movedim(-1, 1), window)
    right = right.movedim(1, -1).unflatten(0, (lanes, examples)).contiguous()
    gradient = torch.randn(right.shape)
    (right_back,) = torch.autograd.grad(right, leaf, gradient)

    def make(backward: bool) -> Callable[[], Function]:
        return lambda: pooling.max_pool(window, sides, channels, backward=backward)

    assert same_bits(results(make(False), [x], right.detach(), (lanes, examples)), right.detach())
    assert same_bits(results(make(True), [gradient, x], x, (lanes, examples)), right_back)


@pytest.mark.parametrize(
    ("numbers", "taken"),
    [
        ([1.0, 3.0, 2.0, 3.0], 1),
        ([2.0, 2.0, 2.0, 2.0], 0),
        ([-INFINITE] * 4, 0),
        ([-0.0, 0.0, 0.0, -0.0], 0),
        ([5.0, NAN, 9.0, 1.0], 1),
        ([NAN, 1.0, NAN, INFINITE], 2),
    ],
)
@pytest.mark.parametrize("channels", [1, 16])
def test_one_place_of_a_window_gets_its_gradient(numbers: list[float], taken: int, channels: int) -> None:
    x = torch.tensor(numbers).view(1, 1, 2, 2, 1).repeat(1, 1, 1, 1, channels)
    gradient = torch.randn(1, 1, 1, 1, channels)
    y = results(lambda: pooling.max_pool((2, 2), (2, 2), channels, backward=False), [x], gradient, (1, 1))
    assert same_bits(y, x.flatten(2, 3)[:, :, taken].view_as(y))
    back = results(
        lambda: pooling.max_pool((2, 2), (2, 2), channels, backward=True), [gradient, x], x, (1, 1)
    )
    expected = torch.zeros(4, channels)
    expected[taken] = gradient.flatten()
    assert same_bits(back.view(4, channels), expected)


@settings(max_examples=8, deadline=None)
@given(
    lanes=st.integers(1, 3), examples=st.integers(1, 4), channels=st.integers(1, 20) | st.sampled_from([24, 32, 48]),
    height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_means_are_right_to_float64(
    lanes: int, examples: int, channels: int, height: int, width: int, seed: int
) -> None:
    torch.manual_seed(seed)
    x = torch.randn(lanes, examples, height, width, channels) + 1
    leaf = x.double().requires_grad_()
    right = functional.adaptive_avg_pool2d(leaf.flatten(0, 1).movedim(-1, 1), 1)
    right = right.movedim(1, -1).unflatten(0, (lanes, examples))
    gradient = torch.randn(right.shape)
    (right_back,) = torch.autograd.grad(right, leaf, gradient.double())

    y = results(
        lambda: pooling.global_mean(height * width, channels, backward=False),
        [x],
        gradient,
        (lanes, examples),
    )
    back = results(
        lambda: pooling.global_mean(height * width, channels, backward=True), [gradient], x, (lanes, examples)
    )
    # A sum of n numbers in parts is off by at most about n / 4 + 4 roundings of what their sizes sum to.
    assert (y - right.detach()).abs().max() <= 2**-24 * 24 * x.abs().mean((2, 3)).max()
    assert torch.equal(back, right_back.float()), "one division, rounded once"


SIDES = st.integers(1, 40) | st.sampled_from([48, 49, 64])


@settings(max_examples=10, deadline=None)
@given(
    lanes=st.integers(1, 3),
    examples=st.integers(1, 3),
    places=SIDES,
    channels=SIDES,
    seed=st.integers(0, 10**6),
)
@example(lanes=2, examples=3, places=4, channels=128, seed=0)
@example(lanes=2, examples=3, places=64, channels=16, seed=0)
@example(lanes=2, examples=1, places=15, channels=17, seed=0)
def test_flattened_maps_are_torchs_and_come_back(
    lanes: int, examples: int, places: int, channels: int, seed: int
) -> None:
    torch.manual_seed(seed)
    x = maps("nan", (lanes, examples, places, channels))
    first = torch.nn.Flatten()(x.flatten(0, 1).movedim(-1, 1)).view(lanes, examples, channels, places)
    y = results(lambda: flatten.transposed(places, channels, backward=False), [x], first, (lanes, examples))
    assert same_bits(y, first)
    assert same_bits(
        results(lambda: flatten.transposed(places, channels, backward=True), [y], x, (lanes, examples)), x
    )
