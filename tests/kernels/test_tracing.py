"""Models with a `forward` of their own on stacked tensors: what each lane's own module computes, the same bits in any
group, and no program for what a trace would get wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from kernel_lanes import assert_each_lane_is_its_own_module, assert_same_alone_and_among_others
from torch import Tensor, nn

from ablate.kernels.compiled import unavailable_reason, use_compiled
from ablate.kernels.memory_format import is_channels_last
from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.stacked import is_covered, stacked
from ablate.kernels.support import trace_matches
from ablate.kernels.tracing import program_of

LANES, EXAMPLES = 4, 20


def own(forward: Callable[..., Tensor], **layers: nn.Module | nn.Parameter) -> nn.Module:
    """A module with these layers and this `forward(self, x)`."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, layer in layers.items():
                setattr(self, name, layer)

    Own.forward = forward  # type: ignore[method-assign]
    return Own()


class Residual(nn.Module):
    """A small residual network, as people write them: blocks, functional pooling, `view` with the batch's size."""

    class Block(nn.Module):
        def __init__(self, before: int, after: int) -> None:
            super().__init__()
            self.first = nn.Conv2d(before, after, 3, padding=1)
            self.second = nn.Conv2d(after, after, 3, padding=1)
            self.short = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

        def forward(self, x: Tensor) -> Tensor:
            out = F.relu(self.first(x))
            out = self.second(out)
            out += self.short(x)
            return F.relu(out)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(self.Block(8, 8), self.Block(8, 16))
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor, scale: float = 0.5) -> Tensor:
        x = F.max_pool2d(self.blocks(self.stem(x)), 2)
        x = F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1)
        return self.head(x) * scale


class Attention(nn.Module):
    """Tokens [B, T, C]: projections in one, heads, softmax, a gain a channel, the mean over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.all = nn.Linear(8, 24)
        self.gain = nn.Parameter(torch.linspace(0.5, 1.5, 8))
        self.register_buffer("shift", torch.linspace(-1, 1, 8))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = self.all(x).chunk(3, dim=-1)
        q, k, v = (part.view(b, t, 2, 4).transpose(1, 2) for part in (q, k, v))
        weights = torch.softmax(q @ k.transpose(-2, -1) / 2.0, dim=-1)
        y = (weights @ v).transpose(1, 2).reshape(b, t, c)
        return self.head((x + y * self.gain - self.shift).mean(1))


def dense(self: nn.Module, x: Tensor) -> Tensor:
    first = self.one(x)
    second = self.two(torch.cat([x, first], dim=1))
    both = torch.stack([first, second], dim=1).flatten(1, 2)
    return both.permute(0, 2, 3, 1)[..., 0].unsqueeze(1).squeeze(1) / 3


def linear(self: nn.Module, x: Tensor) -> Tensor:
    y = torch.tanh(F.linear(x, self.own.weight * 2, self.own.bias))
    return -y[:, 1:4].contiguous()


def channels_turned_last(self: nn.Module, x: Tensor) -> Tensor:
    """A ConvNeXt block."""
    y = self.norm(self.one(x).permute(0, 2, 3, 1))
    return x + (self.gain * self.three(F.gelu(self.two(y)))).permute(0, 3, 1, 2)


def gated(self: nn.Module, x: Tensor) -> Tensor:
    """Elementwise functions: of tensors and numbers, with names, of one number a lane, of other dtypes."""
    y = torch.add(self.layer(x), x, alpha=2)
    scaled = y * (y.square().mean(1, keepdim=True) + 1e-5).rsqrt() * self.scale
    bounded = torch.clamp(scaled.clamp(min=-0.8), max=self.most)
    chosen = torch.where(self.on > 0, bounded, y) + torch.where(y > 0.5, y, 0.0) * (y.abs() + 1).sqrt()
    return F.pad(torch.maximum(chosen, -x) ** 2 / (1 + y**2), (1, 2))


def gated_modules() -> nn.Module:
    module = own(gated, layer=nn.Linear(6, 6), most=nn.Parameter(torch.rand(6)))
    module.register_buffer("on", torch.randint(2, ()).float())
    module.register_buffer("scale", torch.rand((), dtype=torch.float64))
    return module


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "residual": (Residual, (3, 8, 8)),
    "attention": (Attention, (5, 8)),
    "dense": (
        lambda: own(dense, one=nn.Conv2d(4, 4, 3, padding=1), two=nn.Conv2d(8, 4, 1)),
        (4, 4, 4),
    ),
    "channels turned last": (
        lambda: own(
            channels_turned_last,
            one=nn.Conv2d(8, 8, 3, padding=1, groups=8),
            norm=nn.LayerNorm(8),
            two=nn.Linear(8, 16),
            three=nn.Linear(16, 8),
            gain=nn.Parameter(torch.rand(8)),
        ),
        (8, 4, 4),
    ),
    "gated": (gated_modules, (6,)),
    "functional": (lambda: own(linear, own=nn.Linear(6, 5)), (6,)),
}


def modules(name: str, count: int) -> list[nn.Module]:
    several = []
    for lane in range(count):
        torch.manual_seed(lane)
        several.append(CASES[name][0]())
    return several


def inputs(name: str) -> Tensor:
    return torch.randn(LANES, EXAMPLES, *CASES[name][1], generator=torch.Generator().manual_seed(7))


@pytest.fixture(params=["batched", "compiled"])
def kernel(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "compiled" and (reason := unavailable_reason()):
        pytest.skip(reason)
    with use_compiled({} if request.param == "compiled" else None):
        yield


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("name", CASES)
def test_each_lane_is_its_own_module(name: str):
    several, x = modules(name, LANES), inputs(name)
    assert is_covered(several[0])
    assert not is_covered(several[0], traced=False)
    assert_each_lane_is_its_own_module(several, x)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("name", CASES)
def test_a_lane_is_the_same_alone_and_among_others(name: str):
    assert_same_alone_and_among_others(lambda: modules(name, LANES), inputs(name))


def test_a_copy_of_a_model_runs_by_the_same_program():
    (module,) = modules("residual", 1)
    program = program_of(module)
    again = deepcopy(module)
    assert program_of(again) is program
    x = inputs("residual")[0]
    assert trace_matches(again, x)


def test_maps_keep_their_channels_innermost():
    module = CASES["residual"][0]()
    seen = []
    module.head.register_forward_pre_hook(lambda *_: None)  # a hook makes the head a leaf that is vmapped
    inner = module.blocks
    state = {slot: torch.stack([t, t]) for slot, t in binding_of(inner).tensors().items()}
    before = binding_of(inner).put(state)
    try:
        x = torch.randn(2, 3, 6, 6, 8).permute(0, 1, 4, 2, 3)
        seen.append(stacked(inner, x))
    finally:
        binding_of(inner).put(before)
    assert is_channels_last(seen[0])


def on_values(self: nn.Module, x: Tensor) -> Tensor:
    return self.layer(x) if x.sum() > 0 else x


def counting(self: nn.Module, x: Tensor) -> Tensor:
    self.calls = getattr(self, "calls", 0) + 1
    return self.layer(x)


def in_place(self: nn.Module, x: Tensor) -> Tensor:
    y = self.layer(x)
    y.clamp_(0)
    return y


def two(self: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    return self.layer(x), x


def constant(self: nn.Module, x: Tensor) -> Tensor:
    return self.layer(x) + self.plain


class Bounded(torch.autograd.Function):
    """Its gradient differs from the derivative only where that is large, which no example may show."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def setup_context(ctx: object, inputs: object, output: object) -> None: ...

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return 2 * gradient.clamp(-1e3, 1e3)


def own_gradient(self: nn.Module, x: Tensor) -> Tensor:
    return Bounded.apply(self.layer(x))


def without_gradient(self: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = self.layer(x)
    return self.layer(y)


REFUSED = {
    f.__name__: f for f in (on_values, counting, in_place, two, constant, own_gradient, without_gradient)
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_trace_would_get_wrong_has_no_program(name: str):
    module = own(REFUSED[name], layer=nn.Linear(6, 6))
    module.plain = torch.ones(6)
    assert program_of(module) is None
    assert not is_covered(module)
    assert not hasattr(module, "calls"), "tracing leaves the module as it was"


def seen_again(self: nn.Module, x: Tensor) -> Tensor:
    y = self.layer(x)
    z = y
    z += x
    return y * z


def arange(self: nn.Module, x: Tensor) -> Tensor:
    return self.layer(x) * torch.arange(6)


def arange_of_it(self: nn.Module, x: Tensor) -> Tensor:
    return self.layer(x) * torch.arange(x.shape[1])


@pytest.mark.parametrize("forward", [arange, arange_of_it])
def test_what_is_made_of_sizes_is_the_same_in_every_lane(forward):
    module = own(forward, layer=nn.Linear(6, 6))
    assert program_of(module) is not None
    assert trace_matches(module, torch.randn(2, 6))


def moved_by_its_statistics(self: nn.Module, x: Tensor) -> Tensor:
    return self.layer(x) + torch.arange(6) * self.norm.running_mean.exp()


def test_what_is_made_of_buffers_is_each_lanes_own():
    several = []
    for lane in range(LANES):
        torch.manual_seed(lane)
        several.append(own(moved_by_its_statistics, layer=nn.Linear(6, 6), norm=nn.BatchNorm1d(6)))
        nn.init.normal_(several[-1].norm.running_mean)
        several[-1].norm.weight = several[-1].norm.bias = None
    assert program_of(several[0]) is not None
    assert_each_lane_is_its_own_module(several, torch.randn(LANES, EXAMPLES, 6))


def by_chance(self: nn.Module, x: Tensor) -> Tensor:
    return self.layer(x) if random.random() < 0.5 else 2 * self.layer(x)


def summed_as(self: nn.Module, x: Tensor) -> Tensor:
    return x * self.layer(x).sum(1, keepdim=True, dtype=torch.float32)


@pytest.mark.parametrize("forward", [summed_as, seen_again])
def test_what_cannot_run_on_lanes_is_found_by_trying(forward):
    module = own(forward, layer=nn.Linear(6, 6))
    assert program_of(module) is not None
    assert not trace_matches(module, torch.randn(2, 6))


def test_a_trace_that_computes_something_else_is_found_by_trying():
    module = own(by_chance, layer=nn.Linear(6, 6))
    random.seed(1)
    x = torch.randn(2, 6)
    assert not all(trace_matches(module, x) for _ in range(20))


@pytest.mark.parametrize("name", CASES)
def test_trying_changes_nothing(name: str):
    (module,) = modules(name, 1)
    norm = nn.Sequential(module, nn.Flatten(), nn.LazyBatchNorm1d())
    x = inputs(name)[0]
    norm(x)
    before = {key: tensor.clone() for key, tensor in norm.state_dict().items()}
    norm.eval()
    assert trace_matches(norm, x)
    assert not norm.training
    for own_name, tensor in norm.state_dict().items():
        assert torch.equal(tensor, before[own_name])


def test_training_and_evaluation_have_programs_of_their_own():
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        return self.layer(x) if self.training else self.layer(x) * 2

    module = own(forward, layer=nn.Linear(6, 6))
    assert trace_matches(module, torch.randn(3, 6))
    assert module.train() is module
    trained, evaluated = program_of(module), program_of(module.eval())
    assert len(trained.graph.nodes) < len(evaluated.graph.nodes)
