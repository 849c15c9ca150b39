"""Layers on stacked tensors: what each lane's own module computes, and the same bits whatever lanes are beside."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from kernel_lanes import assert_each_lane_is_its_own_module, assert_same_alone_and_among_others
from torch import Tensor, nn

from ablate.kernels.compiled import use_compiled
from ablate.kernels.lane_switches import LaneSwitches, use_switches
from ablate.kernels.memory_format import to_channels_last
from ablate.kernels.registry import stacked_rule
from ablate.kernels.stacked import is_covered, stacked
from ablate.kernels.vmapped import vmapped
from ablate.surgery.layers import Dropout, Site
from ablate.surgery.switch import Switch

Make = Callable[[], nn.Module]


@pytest.fixture(params=["batched", "compiled"], autouse=True)
def kernel(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test holds for torch's operators, and where compiled code takes what it can."""
    with use_compiled({} if request.param == "compiled" else None):
        yield


class Doubled(nn.Linear):
    """A layer of the user's that is a Linear by name only."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Loud(Dropout):
    """A layer of the user's below one of ablate's, with a `forward` of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * x


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.layer(x))


def hooked() -> nn.Module:
    layer = nn.Linear(6, 5)
    layer.register_forward_hook(lambda module, inputs, output: output + 1)
    return layer


def site(layer: nn.Module) -> nn.Module:
    placed = Site(layer, "place")
    placed.drop_bias(on=False)
    placed.before.append(nn.Identity())
    placed.after.append(nn.ReLU())
    return placed


CASES: dict[str, tuple[Make, tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 5), (6,)),
    "no bias": (lambda: nn.Linear(6, 1, bias=False), (6,)),
    "tokens": (lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)), (7, 6)),
    "subclass": (lambda: Doubled(6, 5), (6,)),
    "below dropout": (lambda: Loud(0.5, "loud"), (6,)),
    "block": (lambda: nn.Sequential(nn.Linear(6, 6), Block(), nn.Linear(6, 2)), (6,)),
    "hook": (hooked, (6,)),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(8, 8, 3, padding=1, groups=2),
            nn.ReLU6(), nn.Conv2d(8, 4, 1, bias=False), nn.Flatten(), nn.Linear(64, 3),
        ),
        (3, 8, 8),
    ),
    "same padding": (lambda: nn.Conv2d(3, 8, 3, padding="same"), (3, 6, 6)),
    "oblong, same": (lambda: nn.Conv2d(3, 8, (3, 5), padding="same"), (3, 6, 6)),
    "valid padding": (lambda: nn.Conv2d(3, 8, 3, padding="valid"), (3, 6, 6)),
    "reflected": (lambda: nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), (3, 6, 6)),
    "dilated": (lambda: nn.Conv2d(3, 8, 3, padding=2, dilation=2), (3, 6, 6)),
    "pools": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.MaxPool2d(2), nn.AvgPool2d(2, 1), nn.AdaptiveAvgPool2d(2),
            nn.AdaptiveMaxPool2d(1), nn.Flatten(1), nn.Identity(),
        ),
        (3, 8, 8),
    ),
    "flattened in part": (lambda: nn.Sequential(nn.Flatten(2), nn.Linear(16, 3), nn.Flatten(1, -1)), (3, 4, 4)),
    "flattened with the examples": (lambda: nn.Flatten(0, 1), (3, 4)),
    "site, linear": (lambda: site(nn.Linear(6, 5)), (6,)),
    "site, convolution": (lambda: site(nn.Conv2d(3, 8, 3, padding=1)), (3, 4, 4)),
    "site, 1-d": (lambda: site(nn.Conv1d(3, 8, 3, padding=1)), (3, 9)),
    "nested": (lambda: nn.Sequential(nn.Sequential(nn.Linear(6, 4), nn.ReLU()), nn.Sequential(nn.Linear(4, 2))), (6,)),
}  # fmt: skip


def modules(name: str, count: int) -> list[nn.Module]:
    several = []
    for lane in range(count):
        torch.manual_seed(lane)
        several.append(CASES[name][0]())
    return several


def inputs(name: str, lanes: int, examples: int = 20) -> Tensor:
    return torch.randn(lanes, examples, *CASES[name][1], generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("name", CASES)
def test_each_lane_is_its_own_module(name: str):
    assert_each_lane_is_its_own_module(modules(name, 3), inputs(name, 3))


@pytest.mark.parametrize("name", CASES)
def test_a_lane_is_the_same_alone_and_among_others(name: str):
    assert_same_alone_and_among_others(lambda: modules(name, 4), inputs(name, 4))


class OfOne(nn.Module):
    """A branch with a number of its own lane's, and none of torch's."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


@pytest.mark.parametrize("shape", [(64,), (5,), (16, 4, 4)])
@pytest.mark.parametrize("make", [nn.LeakyReLU, nn.ELU, OfOne])
def test_lanes_of_one_branch_keep_their_own_numbers(
    make: Callable[[float], nn.Module], shape: tuple[int, ...]
):
    """A trick may give each lane's branch a number of its own: neighbours are then not the same layer."""
    numbers = [0.1, 0.1, 0.5, 0.0, 0.3]
    switches = []
    for lane, number in enumerate(numbers):
        switch = Switch(nn.Tanh())
        switch.add("own", make(number), on=lane != 3)
        switch.add("other", nn.GELU(), on=False)
        switches.append(switch)
    x = torch.randn(5, 20, *shape, generator=torch.Generator().manual_seed(1))
    x = to_channels_last(x) if x.ndim == 5 else x
    x.requires_grad_()
    with use_switches(LaneSwitches({switches[0]: switches})):
        y = stacked(switches[0], x)
    (to_x,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    for lane, switch in enumerate(switches):
        value = x[lane].detach().requires_grad_()
        expected = switch.chosen(value)
        torch.testing.assert_close(y[lane], expected)
        torch.testing.assert_close(to_x[lane], torch.autograd.grad(expected.square().sum(), value)[0])
    (again,) = torch.autograd.grad(to_x.sum(), x)
    lane = switches[0].chosen(value := x[0].detach().requires_grad_())
    (first,) = torch.autograd.grad(lane.square().sum(), value, create_graph=True)
    torch.testing.assert_close(again[0], torch.autograd.grad(first.sum(), value)[0])


@pytest.mark.parametrize("shape", [(16, 4, 4), (5, 3, 3), (64,), (5,)])
@pytest.mark.parametrize("kind", [nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.ReLU])
@pytest.mark.parametrize("other", [nn.Hardswish, nn.Mish, nn.ELU])
def test_an_activation_is_the_same_beside_one_of_another_kind(
    shape: tuple[int, ...], kind: type[nn.Module], other: type[nn.Module]
):
    """Alone it is written in place of its lanes, beside one that has no such form it is not."""
    draw = torch.Generator().manual_seed(1)
    x, slope = (torch.randn(3, 20, *shape, generator=draw) for _ in "xy")

    def of(lanes: list[int]) -> tuple[Tensor, Tensor]:
        switches = [Switch(other()) for _ in lanes]
        for switch, lane in zip(switches, lanes, strict=True):
            switch.add("own", kind(), on=lane != 1)
        values = to_channels_last(x[lanes]) if x.ndim == 5 else x[lanes]
        with use_switches(LaneSwitches({switches[0]: switches})):
            y = stacked(switches[0], values.requires_grad_())
        return y, torch.autograd.grad(y, values, slope[lanes])[0]

    together = of([0, 1, 2])
    for lane in range(3):
        for mine, theirs in zip(of([lane]), together, strict=True):
            assert torch.equal(mine[0], theirs[lane])


class Called(nn.Module):
    """An activation that `forward` calls as a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    "function",
    [
        torch.sigmoid, torch.tanh, torch.exp, torch.log1p, F.gelu, F.silu, F.mish, F.softplus, F.elu, Tensor.sigmoid, torch.sinh, torch.atanh,
        lambda x: torch.logaddexp(x, 1 - x),
        lambda x: F.softplus(x[..., :5]),  # numbers with gaps between them
        lambda x: torch.cat([torch.sigmoid(x.transpose(0, 1)[..., 2:]), x.transpose(0, 1)], -1),
    ],
)  # fmt: skip
def test_a_function_under_vmap_is_rounded_as_alone(function: Callable[[Tensor], Tensor]):
    """84 numbers a lane: where a lane ends in the middle of a vector, torch would compute some of them another way."""
    x = (0.9 * torch.rand(5, 3, 4, 7, generator=torch.Generator().manual_seed(1))).requires_grad_()
    y = vmapped(Called(function), x)
    slope = torch.randn(y.shape[1:], generator=torch.Generator().manual_seed(2))
    (to_x,) = torch.autograd.grad((y * slope).sum(), x)
    for lane in range(5):
        value = x[lane : lane + 1].detach().requires_grad_()
        alone = vmapped(Called(function), value)
        assert torch.equal(alone[0], y[lane])
        assert torch.equal(torch.autograd.grad((alone * slope).sum(), value)[0][0], to_x[lane])


def test_what_is_covered():
    covered = {name for name, (make, _) in CASES.items() if is_covered(make())}
    assert covered == CASES.keys() - {"hook"}
    by_rules = {name for name, (make, _) in CASES.items() if is_covered(make(), traced=False)}
    assert by_rules == CASES.keys() - {"subclass", "below dropout", "block", "hook"}
    assert stacked_rule(Dropout(0.5, "own")) is not None
