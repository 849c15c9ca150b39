"""Small networks for tables `[B, 12]` that use what torch allows and few people write: hooks of every kind, recomputation, gradients
inside `forward`, parameters that other code computes or holds, state in unusual places."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from networks_table import CLASSES, INPUTS, WIDTH, Net, mlp, with_hook
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint, checkpoint_sequential


class Recomputed(Net):
    """A body whose activations are computed again in the backward pass, with dropout in it."""

    def __init__(self, *, dropout: float = 0.0, reentrant: bool = False) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Dropout(dropout))
        self.reentrant = reentrant

    def features(self, x: Tensor) -> Tensor:
        y = super().features(x)
        if not self.training:
            return self.inner(y)
        hidden: Tensor = checkpoint(self.inner, y, use_reentrant=self.reentrant)
        return hidden


class RecomputedSegments(Net):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.GELU())

    def features(self, x: Tensor) -> Tensor:
        hidden: Tensor = checkpoint_sequential(self.inner, 2, super().features(x), use_reentrant=False)
        return hidden


class GradientInside(Net):
    """The gradient of an energy, taken in `forward`."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(torch.tanh(self.body(x)).sum(), x, create_graph=True)
        return self.head(self.features(x + 0.1 * slope))


class JacobianInside(Net):
    """The same by `torch.func`."""

    def forward(self, x: Tensor) -> Tensor:
        slope = torch.func.vmap(torch.func.grad(lambda row: torch.tanh(self.body(row)).sum()))(x)
        return self.head(self.features(x + 0.1 * slope))


class TensorHook(Net):
    """A hook on an activation."""

    def features(self, x: Tensor) -> Tensor:
        y = super().features(x)
        if y.requires_grad:
            y.register_hook(lambda gradient: gradient.clamp(-0.002, 0.002))
        return y


class HeldInList(Net):
    """Parameters that the module holds in a list too, and reads there."""

    def __init__(self) -> None:
        super().__init__()
        self.held = [self.body.weight, self.head.weight]

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.relu(F.linear(x, self.held[0], self.body.bias)), self.held[1], self.head.bias)


class HeldInClosure(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        body = nn.Linear(INPUTS, WIDTH)
        self.body, self.head = body, nn.Linear(WIDTH, CLASSES)
        self.run = lambda x: torch.relu(body(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.run(x))


class Lists(nn.Module):
    """Parameters in a ParameterList and a ParameterDict, of no dimensions, of none and of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ParameterList(
            [nn.Parameter(0.3 * torch.randn(INPUTS, WIDTH)), nn.Parameter(torch.zeros(WIDTH))]
        )
        self.named = nn.ParameterDict({"scale": nn.Parameter(torch.ones(())), "none": nn.Parameter(torch.zeros(0, 3)), "one": nn.Parameter(torch.zeros(1))})  # fmt: skip
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(x @ self.layers[0] + self.layers[1])
        return self.head(y * self.named["scale"] + self.named["one"])


class Transposed(Net):
    """A parameter whose numbers do not lie in the order of its dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.middle = nn.Parameter((0.3 * torch.randn(WIDTH + 1, WIDTH)).t())

    def features(self, x: Tensor) -> Tensor:
        y = super().features(x)
        return torch.relu(y @ self.middle)[:, :WIDTH]


class OwnGenerator(Net):
    """Noise from a generator of the module's own."""

    def __init__(self) -> None:
        super().__init__()
        self.draw = torch.Generator().manual_seed(5)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = x + 0.5 * torch.randn(x.shape, generator=self.draw)
        return super().forward(x)


class FixedNoise(Net):
    """Seeds torch's generator at every call."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            return super().forward(x + 0.5 * torch.randn(INPUTS))


class Progress(Net):
    """An integer buffer counts steps, and what is computed depends on it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64), persistent=False)

    def features(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps += 1  # type: ignore[operator, has-type]
        return super().features(x) * torch.clamp(self.steps / 10, max=1.0)


class FirstStepFlag(Net):
    """A boolean buffer that the first step sets."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ready", torch.tensor(False))
        self.register_buffer("shift", torch.zeros(INPUTS))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.shift.copy_(torch.where(self.ready, self.shift, x.mean(0)))  # type: ignore[operator, arg-type]
            self.ready.fill_(True)  # type: ignore[operator]
        return super().forward(x - self.shift)  # type: ignore[operator]


class ArrayState(Net):
    """State in a NumPy array that `forward` changes in place."""

    def __init__(self) -> None:
        super().__init__()
        self.count = torch.zeros(1).numpy()

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.count += 1
        return super().forward(x) / (1 + float(self.count[0]))


class ToggledInside(Net):
    """`requires_grad` is switched off and on again within one call: the layer trains by its second use only."""

    def forward(self, x: Tensor) -> Tensor:
        self.body.requires_grad_(False)
        first = self.features(x)
        self.body.requires_grad_(True)
        return self.head(first + self.features(x))


class InferenceTeacher(Net):
    """Targets of a frozen part, computed without autograd's bookkeeping."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = nn.Linear(INPUTS, WIDTH).requires_grad_(False)

    def features(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            hint = self.teacher(x)
        return super().features(x) + 0.1 * hint.clone()


class InPlaceChain(Net):
    def features(self, x: Tensor) -> Tensor:
        y = self.body(x)
        y += 1
        y[:, ::2] *= 0.5
        return 2 * F.relu(y, inplace=True)


class AliasedInPlace(Net):
    """An in-place activation on a value that is used again: what is added is the rectified one."""

    def features(self, x: Tensor) -> Tensor:
        y = self.body(x)
        z = F.relu(y * 1.0, inplace=True)
        w = y + 0.0
        v = w
        w += z
        return v + z


class SharedNorm(Net):
    """One batch norm called twice a step: its statistics move twice."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.again = nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, WIDTH)

    def features(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.again(torch.relu(self.norm(self.body(x))))))


class SpreadTying(nn.Module):
    """One weight in three layers, a parameter by two names, a layer by two paths."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(INPUTS, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        for layer in self.layers[1:]:
            layer.weight = self.layers[0].weight
        self.gain = nn.Parameter(torch.ones(WIDTH))
        self.same = self.gain
        self.norm = nn.LayerNorm(WIDTH)
        self.norm.weight = self.gain
        self.also = nn.Sequential(self.norm, nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        for layer in self.layers:
            y = y + self.also(layer(y)) * self.same
        return self.head(self.norm(y))


class Gated(nn.Module):
    """Layers that a list of names, a `getattr` and keyword arguments find."""

    def __init__(self) -> None:
        super().__init__()
        for number in range(3):
            setattr(self, f"fc{number}", nn.Linear(INPUTS if not number else WIDTH, WIDTH))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        for number in range(3):
            x = F.silu(getattr(self, f"fc{number}")(input=x)) * scale
        return self.head(x)


class EarlyExit(Net):
    """Stops when the batch is easy: control flow on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.more = nn.Linear(WIDTH, WIDTH)

    def features(self, x: Tensor) -> Tensor:
        y = super().features(x)
        while y.norm() < 8:
            y = y + torch.relu(self.more(y)) + 0.3
        return y


class DoubledGradient(torch.autograd.Function):
    """Saves for its backward pass; differs from the derivative by a factor and a clip."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.t()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return gradient @ weight, 2 * (gradient.t() @ x).clamp(-0.05, 0.05)


class CustomLinear(Net):
    def features(self, x: Tensor) -> Tensor:
        products: Tensor = DoubledGradient.apply(x, self.body.weight)  # type: ignore[no-untyped-call]
        return torch.relu(products + self.body.bias)


class SparseWords(nn.Module):
    """An embedding with sparse gradients, of which some rows are used."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(20, WIDTH, **settings), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.words((x[:, :4] * 3).long() % 20).sum(1)))


class Spectrum(Net):
    """Complex numbers in between, none as parameters."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(torch.fft.ifft(torch.fft.fft(x) * torch.exp(torch.tensor(0.3j))).real)


class DoubleInside(Net):
    """A part computed in float64."""

    def features(self, x: Tensor) -> Tensor:
        return torch.relu(F.linear(x.double(), self.body.weight.double(), self.body.bias.double())).float()


class TrainOfItsOwn(Net):
    """`train` is overridden to stay in evaluation mode for good: dropout never draws."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def train(self, mode: bool = True) -> TrainOfItsOwn:
        super().train(mode)
        self.drop.eval()
        return self

    def features(self, x: Tensor) -> Tensor:
        return self.drop(super().features(x))


class ModeInside(Net):
    """`forward` sets the mode of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH)

    def features(self, x: Tensor) -> Tensor:
        self.norm.eval()
        return self.norm(super().features(x))


class NewLayerInside(Net):
    """A layer that `forward` makes in its first call; no optimizer knows it, so it never trains."""

    def __init__(self) -> None:
        super().__init__()
        self.extra: nn.Module | None = None

    def features(self, x: Tensor) -> Tensor:
        y = super().features(x)
        if self.extra is None:
            self.extra = nn.Identity()
        return self.extra(y)


class Called(nn.Linear):
    """A subclass that overrides `__call__`."""

    def __call__(self, x: Tensor) -> Tensor:
        outputs: Tensor = super().__call__(x)
        return torch.relu(outputs)


class Extended(nn.LayerNorm):
    """A subclass that passes another number on."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 0.5


def old_spectral_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mlp(nn.ReLU(), nn.utils.spectral_norm(nn.Linear(WIDTH, WIDTH)), nn.ReLU())


def pruned() -> nn.Module:
    net = Net()
    prune.l1_unstructured(net.body, "weight", amount=0.4)
    return net


def orthogonal() -> nn.Module:
    return mlp(nn.Tanh(), parametrizations.orthogonal(nn.Linear(WIDTH, WIDTH)), nn.ReLU())


def chained_parametrizations() -> nn.Module:
    middle = nn.Linear(WIDTH, WIDTH)
    parametrize.register_parametrization(middle, "weight", nn.Tanh())
    parametrize.register_parametrization(middle, "weight", nn.Hardtanh(-0.3, 0.3))
    return mlp(nn.ReLU(), middle, nn.ReLU())


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "recomputed": Recomputed,
    "recomputed_reentrant": lambda: Recomputed(reentrant=True),
    "recomputed_dropout": lambda: Recomputed(dropout=0.4),
    "recomputed_segments": RecomputedSegments,
    "gradient_inside": GradientInside,
    "jacobian_inside": JacobianInside,
    "tensor_hook": TensorHook,
    "held_in_list": HeldInList,
    "held_in_closure": HeldInClosure,
    "parameter_lists": Lists,
    "transposed_parameter": Transposed,
    "own_generator": OwnGenerator,
    "fixed_noise": FixedNoise,
    "progress": Progress,
    "first_step_flag": FirstStepFlag,
    "array_state": ArrayState,
    "toggled_inside": ToggledInside,
    "inference_teacher": InferenceTeacher,
    "in_place_chain": InPlaceChain,
    "aliased_in_place": AliasedInPlace,
    "shared_norm": SharedNorm,
    "spread_tying": SpreadTying,
    "by_getattr": Gated,
    "early_exit": EarlyExit,
    "custom_linear": CustomLinear,
    "renormed_embedding": lambda: SparseWords(max_norm=1.0),
    "scaled_by_frequency": lambda: SparseWords(scale_grad_by_freq=True),
    "spectrum": Spectrum,
    "double_inside": DoubleInside,
    "train_of_its_own": TrainOfItsOwn,
    "mode_inside": ModeInside,
    "new_layer_inside": NewLayerInside,
    "own_call": lambda: nn.Sequential(Called(INPUTS, WIDTH), nn.Linear(WIDTH, CLASSES)),
    "extended_norm": lambda: mlp(Extended(WIDTH), nn.ReLU()),
    "old_spectral_norm": old_spectral_norm,
    "pruned": pruned,
    "orthogonal": orthogonal,
    "chained_parametrizations": chained_parametrizations,
    "data_parallel": lambda: nn.DataParallel(Net()),
    "no_dropout": lambda: mlp(nn.ReLU(), nn.Dropout(0.0)),
    "all_dropped": lambda: mlp(nn.ReLU(), nn.Dropout(1.0)),
    "dropout_1d": lambda: mlp(nn.ReLU(), nn.Dropout1d(0.3)),
    "feature_alpha_dropout": lambda: mlp(nn.SELU(), nn.FeatureAlphaDropout(0.3)),
    "dropout_in_place": lambda: mlp(nn.Dropout(0.3, inplace=True), nn.ReLU(inplace=True)),
    "random_rectifier": lambda: mlp(nn.RReLU(), nn.Softplus()),
    "forward_pre_hook": with_hook(lambda net: net.body.register_forward_pre_hook(lambda layer, given: (given[0] * 0.5,))),
    "hook_on_the_whole": with_hook(lambda net: net.register_forward_hook(lambda layer, given, output: output * 2)),
    "pre_hook_with_kwargs": with_hook(lambda net: net.head.register_forward_pre_hook(lambda layer, args, kwargs: ((args[0] + 1,), kwargs), with_kwargs=True)),
    "backward_pre_hook": with_hook(lambda net: net.head.register_full_backward_pre_hook(lambda layer, gradient: (gradient[0] * 3,))),
}  # fmt: skip
