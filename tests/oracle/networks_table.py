"""Small networks for tables `[B, 12]` whose code does more than call layers: state, routing, shared and computed parameters."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

CLASSES, INPUTS, WIDTH = 3, 12, 8


def mlp(*inside: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(INPUTS, WIDTH), *inside, nn.Linear(WIDTH, CLASSES))


class Net(nn.Module):
    """Two layers and a rectifier; what others change."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(INPUTS, WIDTH), nn.Linear(WIDTH, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Frozen(Net):
    def __init__(self) -> None:
        super().__init__()
        self.body.requires_grad_(False)


class FrozenInTrain(Net):
    """Frozen by `train`, not when it is made."""

    def train(self, mode: bool = True) -> FrozenInTrain:
        super().train(mode)
        self.body.requires_grad_(False)
        return self


class FrozenLate(Net):
    """Frozen by `forward` from its sixth call on, and free again from the twelfth."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            self.body.requires_grad_(not 5 < self.calls < 12)
        return super().forward(x)


class WithoutGradient(Net):
    def features(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().features(x)


class Detached(Net):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x).detach()


class Unused(Net):
    def __init__(self) -> None:
        super().__init__()
        self.never = nn.Linear(3, 3)


class ZeroGradient(Net):
    """A parameter whose gradient is there and zero: it decays."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(WIDTH))

    def features(self, x: Tensor) -> Tensor:
        return super().features(x) + 0 * self.gain


class Experts(nn.Module):
    """A soft mixture of experts."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(INPUTS, 3)
        self.experts = nn.ModuleList(nn.Linear(INPUTS, CLASSES) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        share = self.gate(x).softmax(-1)
        return torch.stack([expert(x) for expert in self.experts], -1).mul(share[:, None]).sum(-1)


class TopExpert(Experts):
    """Each example goes to one expert; some experts have no example, and no gradient, in some steps."""

    def forward(self, x: Tensor) -> Tensor:
        share = self.gate(x).softmax(-1)
        best, which = share.max(-1)
        y = torch.zeros(len(x), CLASSES)
        for number, expert in enumerate(self.experts):
            rows = (which == number).nonzero().flatten()
            if len(rows):
                y = y.index_add(0, rows, expert(x[rows]) * best[rows, None])
        return y


class Routed(nn.Module):
    """A branch of a `ModuleDict` for the whole batch, chosen by the data."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({"low": nn.Linear(INPUTS, WIDTH), "high": nn.Linear(INPUTS, WIDTH)})
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        branch = "high" if x[:, 0].mean() > 0 else "low"
        return self.head(torch.relu(self.branches[branch](x)))


class Lora(nn.Linear):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__(inside, outside)
        self.weight.requires_grad_(False)
        self.a, self.b = nn.Parameter(0.3 * torch.randn(2, inside)), nn.Parameter(torch.zeros(outside, 2))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x @ self.a.T @ self.b.T


class Ternary(torch.autograd.Function):
    """A straight-through estimator."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x * 4) / 4

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class Reversed(torch.autograd.Function):
    """Gradient reversal, as domain-adversarial training has it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


class ReversedUnderVmap(torch.autograd.Function):
    """The same, written so that vmap takes it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None: ...

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


class Custom(Net):
    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function = function

    def features(self, x: Tensor) -> Tensor:
        return self.function.apply(super().features(x))  # type: ignore[no-any-return, no-untyped-call]


class Quantised(Net):
    """Fake quantisation of the weights and a running range of the activations, as in quantisation-aware training."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("range", torch.ones(()))

    def features(self, x: Tensor) -> Tensor:
        y = torch.relu(F.linear(x, Ternary.apply(self.body.weight), self.body.bias))  # type: ignore[no-untyped-call]
        if self.training:
            self.range.mul_(0.9).add_(0.1 * y.detach().abs().max())  # type: ignore[operator, union-attr]
        return torch.minimum(y, self.range)  # type: ignore[arg-type]


class RunningMean(Net):
    """A buffer that `forward` assigns."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(INPUTS))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return super().forward(x - self.mean)


class Counting(Net):
    """A Python number and a list that `forward` changes, and computes with."""

    def __init__(self) -> None:
        super().__init__()
        self.steps, self.seen = 0, [1.0]

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
            self.seen.append(1 / self.steps)
        return super().forward(x) * (1 + self.seen[-1])


class DataInitialised(Net):
    """ActNorm: scale and shift are set from the first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.shift, self.ready = nn.Parameter(torch.zeros(INPUTS)), False

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.ready:
            self.shift.data.copy_(-x.mean(0))
            self.ready = True
        return super().forward(x + self.shift)


class Teacher(Net):
    """An average of the body, that `forward` moves in place, beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = deepcopy(self.body).requires_grad_(False)

    def features(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                for mine, its in zip(self.teacher.parameters(), self.body.parameters(), strict=True):
                    mine.lerp_(its, 0.1)
        return super().features(x) + 0.1 * self.teacher(x)


class LateBuffer(Net):
    """A buffer that is None until `forward` assigns it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", None)

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x)
        if self.training:
            self.last = y.detach().mean(0)
        return self.head(y if self.last is None else y + self.last)


class EvalOfItsOwn(Net):
    """A batch norm that evaluates by the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH)

    def features(self, x: Tensor) -> Tensor:
        return self.norm(super().features(x))

    def eval(self) -> EvalOfItsOwn:
        super().eval()
        self.norm.train()
        return self


class Unfreezing(Net):
    """A body that is frozen in the first epoch, told by the calls of `train`."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs = 0
        self.body.requires_grad_(False)

    def train(self, mode: bool = True) -> Unfreezing:
        super().train(mode)
        self.epochs += mode
        self.body.requires_grad_(self.epochs > 1)
        return self


class Clamped(Net):
    """Weights that `forward` clamps in place."""

    def features(self, x: Tensor) -> Tensor:
        self.body.weight.data.clamp_(-0.2, 0.2)
        return super().features(x)


class WritesInput(Net):
    def forward(self, x: Tensor) -> Tensor:
        x[:, 0] = 0
        return super().forward(x.sub_(0.5))


class Views(Net):
    def features(self, x: Tensor) -> Tensor:
        y = self.body(x)
        half = y[:, : WIDTH // 2]
        half.mul_(2.0)
        return torch.relu(y)


class SharedDropout(Net):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.features(self.drop(x))))


class FunctionalDropout(Net):
    def features(self, x: Tensor) -> Tensor:
        return F.dropout(super().features(x), 0.3, self.training)


class Variational(nn.Module):
    """A classifier on a drawn code."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.spread, self.head = nn.Linear(INPUTS, 4), nn.Linear(INPUTS, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.mean(x)
        return self.head(
            mean + torch.randn_like(mean) * torch.exp(0.5 * self.spread(x)) if self.training else mean
        )


class AlwaysDropout(nn.Dropout):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, training=True)


class SharedLayer(Net):
    def __init__(self) -> None:
        super().__init__()
        self.loop = nn.Linear(WIDTH, WIDTH)
        self.again = self.loop

    def features(self, x: Tensor) -> Tensor:
        y = super().features(x)
        for layer in (self.loop, self.again, self.loop):
            y = y + torch.tanh(layer(y))
        return y


class TiedAutoencoder(Net):
    def forward(self, x: Tensor) -> Tensor:
        code = self.features(x)
        return self.head(torch.relu(self.body(F.linear(code, self.body.weight.t()))))


class ReadsWeight(Net):
    def features(self, x: Tensor) -> Tensor:
        return torch.relu(
            F.linear(x, self.body.weight / self.body.weight.norm(dim=1, keepdim=True), self.body.bias)
        )


class Symmetric(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.triu() + x.triu(1).transpose(-1, -2)


def parametrised() -> nn.Module:
    middle = nn.Linear(WIDTH, WIDTH)
    parametrize.register_parametrization(middle, "weight", Symmetric())
    return mlp(nn.Tanh(), middle, nn.ReLU())


def weight_normed() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(
            nn.utils.weight_norm(nn.Linear(INPUTS, WIDTH)), nn.ReLU(), nn.Linear(WIDTH, CLASSES)
        )


def halve(parameter: Tensor) -> None:
    assert parameter.grad is not None
    parameter.grad.mul_(0.5)


def with_hook(register: Callable[[Net], object]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        net = Net()
        register(net)
        return net

    return make


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": Net,
    "mlp_sequence": lambda: mlp(nn.ReLU()),
    "batch_norm": lambda: mlp(nn.BatchNorm1d(WIDTH), nn.ReLU()),
    "batch_norm_without_gain": lambda: mlp(nn.BatchNorm1d(WIDTH, affine=False), nn.GELU()),
    "dropout": lambda: mlp(nn.ReLU(), nn.Dropout(0.3)),
    "alpha_dropout": lambda: mlp(nn.SELU(), nn.AlphaDropout(0.2)),
    "frozen": Frozen,
    "frozen_in_train": FrozenInTrain,
    "frozen_late": FrozenLate,
    "without_gradient": WithoutGradient,
    "detached": Detached,
    "unused": Unused,
    "zero_gradient": ZeroGradient,
    "experts": Experts,
    "top_expert": TopExpert,
    "routed": Routed,
    "lora": lambda: nn.Sequential(Lora(INPUTS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES)),
    "straight_through": lambda: Custom(Ternary),
    "reversed": lambda: Custom(Reversed),
    "reversed_under_vmap": lambda: Custom(ReversedUnderVmap),
    "quantised": Quantised,
    "running_mean": RunningMean,
    "counting": Counting,
    "data_initialised": DataInitialised,
    "clamped": Clamped,
    "teacher": Teacher,
    "late_buffer": LateBuffer,
    "eval_of_its_own": EvalOfItsOwn,
    "unfreezing": Unfreezing,
    "writes_input": WritesInput,
    "views": Views,
    "shared_dropout": SharedDropout,
    "functional_dropout": FunctionalDropout,
    "variational": Variational,
    "always_dropout": lambda: mlp(nn.ReLU(), AlwaysDropout(0.3)),
    "shared_layer": SharedLayer,
    "tied_autoencoder": TiedAutoencoder,
    "reads_weight": ReadsWeight,
    "parametrised": parametrised,
    "weight_norm": weight_normed,
    "weight_norm_parametrised": lambda: mlp(nn.ReLU(), parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH)), nn.ReLU()),
    "spectral_norm": lambda: mlp(nn.ReLU(), parametrizations.spectral_norm(nn.Linear(WIDTH, WIDTH)), nn.ReLU()),
    "forward_hook": with_hook(lambda net: net.body.register_forward_hook(lambda layer, inputs, output: 2 * output)),
    "backward_hook": with_hook(lambda net: net.head.register_full_backward_hook(lambda layer, into, out: tuple(2 * g if g is not None else g for g in into))),
    "accumulation_hook": with_hook(lambda net: net.body.weight.register_post_accumulate_grad_hook(halve)),
    "parameter_hook": with_hook(lambda net: net.body.weight.register_hook(lambda gradient: gradient.clamp(-0.01, 0.01))),
}  # fmt: skip
