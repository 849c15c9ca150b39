"""Smooth activations: right to float64 and as near to it as torch's own, the same bits wherever a number stands."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from compiled_cases import Guarded, run, vectors_of
from torch import Tensor
from torch.nn import functional

from ablate.kernels.compiled.activations import KINDS, activation

TORCH = {
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
INFINITE = float("inf")
SPECIAL = [
    INFINITE,
    -INFINITE,
    float("nan"),
    0.0,
    -0.0,
    1e-45,
    -1e-45,
    1e-39,
    1e30,
    -1e30,
    3e38,
    -3e38,
    200,
    -200,
]
kinds = pytest.mark.parametrize("kind", KINDS)


def mine(kind: str, x: Tensor, gradient: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The values and the gradient of x `[K, numbers]` (of one lane if it is `[numbers]`), between guards."""
    guarded, lanes = Guarded(), x.shape[0] if x.dim() == 2 else 1
    values, towards = guarded.put(x), guarded.put(torch.ones_like(x) if gradient is None else gradient)
    y, to_x = (guarded.put(torch.full_like(x, 7.0)) for _ in range(2))
    run(activation(kind, backward=False), (values, y), (lanes, x.numel() // lanes))
    run(activation(kind, backward=True), (values, towards, to_x), (lanes, x.numel() // lanes))
    guarded.check()
    return y, to_x


def torchs(kind: str, x: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    y = TORCH[kind](leaf)
    return y.detach(), torch.autograd.grad(y.sum(), leaf)[0]


def points() -> Tensor:
    torch.manual_seed(0)
    small = torch.logspace(-45, 2, 50_000)
    dense = [torch.linspace(-100, 100, 200_001), torch.linspace(-12, 12, 200_001)]
    return torch.cat([*dense, small, -small, torch.randn(50_000), 5 * torch.randn(50_000)])


def same(outputs: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    """To the last bit; what is no number is like any other."""
    bits = ((a.nan_to_num(99.0).view(torch.int32), b.nan_to_num(99.0).view(torch.int32)) for a, b in zip(outputs, right, strict=True))  # fmt: skip
    return all(torch.equal(a, b) for a, b in bits)


def relative(values: Tensor, right: Tensor) -> float:
    """Over the numbers that float32 has with all its digits."""
    all_digits = right.abs() > 2.0**-126
    return float(((values.double() - right).abs() / right.abs())[all_digits].max())


@kinds
def test_values_and_gradients_are_right_and_no_worse_than_torchs(kind: str) -> None:
    x = points()
    for ours, other, right in zip(mine(kind, x), torchs(kind, x), torchs(kind, x.double()), strict=True):
        size = right.abs().clamp_min(1)
        error, theirs = (float(((y.double() - right).abs() / size).max()) for y in (ours, other))
        assert error < 1.6e-7
        assert error < 2 * theirs + 2.0**-23


def test_digits_stay_where_values_are_small() -> None:
    x = points()
    assert relative(mine("tanh", x)[0], torchs("tanh", x.double())[0]) < 2.5e-7
    below = -x.abs().clamp(max=87)  # where no number of torch's formulas in float64 is next to 1
    assert relative(mine("sigmoid", below)[0], torch.sigmoid(below.double())) < 4e-7
    assert relative(mine("silu", below)[0], functional.silu(below.double())) < 4e-7
    for kind, factor, scale in (("sigmoid", 1, 1), ("tanh", 4, 2)):
        near = below.clamp(min=-87 / scale)
        share = torch.sigmoid(scale * near.double())
        for side in (near, -near):
            assert relative(mine(kind, side)[1], factor * share * (1 - share)) < 5e-7
    low = torch.linspace(-12.5, 0, 100_001)
    right = low.double() / 2 * torch.special.erfc(-low.double() / 2**0.5)
    assert relative(mine("gelu", low)[0], right) < 1.5e-5


@kinds
def test_the_ends(kind: str) -> None:
    outputs = mine(kind, torch.tensor(SPECIAL))
    y, to_x = (dict(zip(map(repr, SPECIAL), values.tolist(), strict=True)) for values in outputs)
    # x · share(x) as IEEE 754 has it: ∞ · 1 is ∞, −∞ · 0 is no number, though the limit is 0. (torch's own value at ∞ depends on the
    # processor.)
    if kind not in ("tanh", "sigmoid"):
        assert y["inf"] == float("inf")
        assert y["-inf"] != y["-inf"]
        assert to_x["inf"] != to_x["inf"], "share(x) + x · share'(x): ∞ · 0"
        assert to_x["-inf"] != to_x["-inf"]
    assert y["nan"] != y["nan"]
    assert to_x["nan"] != to_x["nan"]
    if kind in ("tanh", "sigmoid"):
        assert y["inf"] == 1
        assert y["-inf"] == (-1 if kind == "tanh" else 0)
        assert to_x["inf"] == to_x["-inf"] == 0
    # A large number is no infinity: the limits are reached. (torch's gradient of gelu_tanh is no number at ± 1e30.)
    for place, far in enumerate(SPECIAL[8:], 8):
        single = float(torch.tensor(far))
        above, under, slope = {"tanh": (1, -1, 0), "sigmoid": (1, 0, 0)}.get(
            kind, (single, 0, float(far > 0))
        )
        assert float(outputs[0][place]) == (above if far > 0 else under)
        assert float(outputs[1][place]) == slope
    # Around 0 tanh is x, the others of a sign half of it, rounded to even, or the half that sigmoid starts from.
    x = torch.tensor(SPECIAL[3:8])
    right = {"tanh": x, "sigmoid": torch.full_like(x, 0.5)}.get(kind, x / 2)
    assert same([outputs[0][3:8]], [right])
    assert (outputs[1][3:8] == {"tanh": 1, "sigmoid": 0.25}.get(kind, 0.5)).all()


@kinds
@pytest.mark.parametrize("numbers", [1, 7, 16, 33, 250])
def test_bits_hang_neither_on_the_width_of_vectors_nor_on_the_lane(kind: str, numbers: int) -> None:
    torch.manual_seed(numbers)
    x, gradient = 4 * torch.randn(3, numbers), torch.randn(3, numbers)
    at_widths = []
    for width in (8, 16):
        with vectors_of(width):
            at_widths.append(mine(kind, x, gradient))
            alone = [mine(kind, *lane) for lane in zip(x, gradient, strict=True)]
            assert same(at_widths[-1], [torch.stack(parts) for parts in zip(*alone, strict=True)])
    assert same(*at_widths)
    assert same([at_widths[0][1]], [mine(kind, x)[1] * gradient])


@kinds
def test_bits_do_not_hang_on_the_place(kind: str) -> None:
    torch.manual_seed(1)
    x = torch.cat([torch.tensor(SPECIAL), 4 * torch.randn(50), 40 * torch.randn(50)])
    with vectors_of(1):
        right = mine(kind, x)
    for width in (8, 16):
        with vectors_of(width):
            assert all(
                same(mine(kind, x[begin:end]), [values[begin:end] for values in right])
                for begin in range(17)
                for end in (len(x), len(x) - 5, begin + 9, begin + 19)
            )
