"""Rows of a table through code that uses torch's rarer rules: promotion of dtypes, statistics of other kinds, calls that go round `__call__`,
gradients through a part of an expression, indices, containers, settings that change while training."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from networks_tokens import INPUTS, Layers, tokens
from torch import Tensor, nn
from torch.func import functional_call

CLASSES, WIDTH = 3, 16


def with_head(run: Callable[..., Tensor], **layers: nn.Module | nn.Parameter) -> Layers:
    """`run` between a linear layer `first` and a linear layer `head`."""
    return Layers(run, **{"first": nn.Linear(INPUTS, WIDTH), "head": nn.Linear(WIDTH, CLASSES)} | layers)


def double_scale() -> nn.Module:
    """A number in float64, as NumPy gives it: beside a float32 tensor it does not count."""
    model = with_head(lambda self, x: self.head(torch.relu(self.first(x)) * self.scale))
    model.register_buffer("scale", torch.tensor(0.7, dtype=torch.float64))
    return model


def gain() -> nn.Module:
    """A gain and a shift a channel, bare parameters; a temperature, a bare number."""

    def run(self: nn.Module, x: Tensor) -> Tensor:
        y = F.relu(self.first(x)) * self.gain + self.shift
        return self.head(y) * self.temperature.clamp(max=3.0).exp()

    return with_head(
        run,
        gain=nn.Parameter(torch.rand(WIDTH)),
        shift=nn.Parameter(torch.randn(WIDTH)),
        temperature=nn.Parameter(torch.tensor(0.3)),
    )


def gain_of_tokens() -> nn.Module:
    """The same between tokens: LayerScale and a residual addition."""

    def run(self: nn.Module, x: Tensor) -> Tensor:
        t = self.first(tokens(x))
        t = t + self.gain * F.gelu(self.second(t))
        return self.head(t.mean(1))

    return with_head(
        run, first=nn.Linear(3, WIDTH), second=nn.Linear(WIDTH, WIDTH), gain=nn.Parameter(torch.rand(WIDTH))
    )


def set_items() -> nn.Module:
    """Elements and columns are overwritten."""

    def run(self: nn.Module, x: Tensor) -> Tensor:
        y = self.first(x)
        y[:, 0] = 0.5
        y[:, 1:3] += y[:, 3:5].detach()
        return self.head(torch.relu(y))

    return with_head(run)


def bypassed_call() -> nn.Module:
    """Layers by their `forward`, not by a call: hooks and whatever stands there are passed by."""
    return with_head(lambda self, x: self.head.forward(torch.tanh(self.first.forward(x))))


def detached_weight() -> nn.Module:
    """One of two uses of a weight takes no gradient."""

    def run(self: nn.Module, x: Tensor) -> Tensor:
        y = F.linear(x, self.first.weight.detach(), self.first.bias)
        return self.head(torch.relu(self.first(x)) + torch.sigmoid(y))

    return with_head(run)


def without_grad_inside() -> nn.Module:
    """A part under `no_grad`, whose norm moves its statistics all the same."""

    def run(self: nn.Module, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.norm(self.first(x))
        return self.head(torch.relu(y))

    return with_head(run, norm=nn.BatchNorm1d(WIDTH))


class Scheduled(nn.Module):
    """The probability of a dropout rises with the calls of `forward`."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.drop, self.head = (
            nn.Linear(INPUTS, WIDTH),
            nn.Dropout(0.1),
            nn.Linear(WIDTH, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.drop.p = min(0.5, self.drop.p + 0.02)
        return self.head(self.drop(torch.relu(self.first(x))))


class Instance(nn.Module):
    """`forward` is an attribute of the instance."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(INPUTS, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.head.forward = lambda y: 2 * nn.Linear.forward(self.head, y)  # type: ignore[method-assign]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.first(x)))


def functional() -> nn.Module:
    """A layer called with other weights by `torch.func.functional_call`."""

    def run(self: nn.Module, x: Tensor) -> Tensor:
        halved = {name: 0.5 * tensor for name, tensor in self.first.named_parameters()}
        return self.head(torch.relu(functional_call(self.first, halved, (x,))))

    return with_head(run)


def one_module_two_names() -> nn.Module:
    layer = nn.Linear(INPUTS, INPUTS)
    return Layers(
        lambda self, x: self.head(torch.relu(self.b(torch.relu(self.a(x))))),
        a=layer, b=layer, head=nn.Linear(INPUTS, CLASSES),
    )  # fmt: skip


def sorted_and_gathered() -> nn.Module:
    """The largest activations, gathered; sorted; counted by class."""

    def run(self: nn.Module, x: Tensor) -> Tensor:
        y = self.first(x)
        top, index = y.topk(4, dim=1)
        spread = torch.zeros_like(y).scatter_add(1, index, top)
        return self.head(spread + y.sort(dim=1).values.cumsum(1) / WIDTH + F.one_hot(index[:, 0], WIDTH))

    return with_head(run)


def einsum() -> nn.Module:
    def run(self: nn.Module, x: Tensor) -> Tensor:
        t = self.first(tokens(x))
        scores = torch.einsum("btc,bsc->bts", t, t) / WIDTH
        return self.head(torch.einsum("bts,bsc->btc", scores.softmax(-1), t).amax(dim=1))

    return with_head(run, first=nn.Linear(3, WIDTH))


def standardised_by_hand() -> nn.Module:
    """Norms written out: by the batch with `var`, and by the example with `std`."""

    def run(self: nn.Module, x: Tensor) -> Tensor:
        y = self.first(x)
        y = (y - y.mean(0)) / (y.var(0, unbiased=False) + 1e-5) ** 0.5
        return self.head((y - y.mean(1, keepdim=True)) / y.std(1, keepdim=True).clamp_min(1e-3))

    return with_head(run)


def masked_fill() -> nn.Module:
    """Choices by values: `masked_fill`, `where` with one number, a boolean index."""

    def run(self: nn.Module, x: Tensor) -> Tensor:
        y = self.first(x).masked_fill(x[:, :1] > 0, 0.1)
        kept = torch.where(y > 0, y, 0.01 * y)
        return self.head(kept * (kept.abs() < 2) + (kept >= 2))

    return with_head(run)


def powers() -> nn.Module:
    """Powers, remainders, roundings."""

    def run(self: nn.Module, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.head(
            y.square().add(1).rsqrt() * y + y**3 / 9 + (y.abs() + 0.1).pow(0.5) + y.remainder(1.0)
        )

    return with_head(run)


class Toggled(nn.Module):
    """Two parts, trained in turn, as alternating minimisation does: the other one gets no gradient at all."""

    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = (
            nn.Linear(INPUTS, WIDTH),
            nn.Linear(INPUTS, WIDTH),
            nn.Linear(WIDTH, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
        return self.head(torch.relu(self.a(x) if self.calls % 2 else self.b(x)))


class MovedBuffer(nn.Module):
    """A buffer of integers that is indexed and moved on, as a ring of recent means."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(INPUTS, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.register_buffer("ring", torch.zeros(4, WIDTH))
        self.register_buffer("at", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        if self.training:
            self.ring[self.at % 4] = y.detach().mean(0)
            self.at += 1
        return self.head(torch.relu(y - self.ring.mean(0)))


class ByEpoch(Scheduled):
    """The probability of a dropout falls with the calls of `train`."""

    epochs = 0

    def train(self, mode: bool = True) -> ByEpoch:
        super().train(mode)
        if mode:
            self.epochs += 1
            self.drop.p = 0.4 / self.epochs
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(torch.relu(self.first(x))))


class FrozenByCount(nn.Module):
    """A norm that a counting buffer puts into evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.head = (
            nn.Linear(INPUTS, WIDTH),
            nn.BatchNorm1d(WIDTH),
            nn.Linear(WIDTH, CLASSES),
        )
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.count += 1
            if self.count > 12:
                self.norm.eval()
        return self.head(torch.relu(self.norm(self.first(x))))


class Unregistered(nn.Module):
    """A layer in a tuple: no optimizer knows it, and every seed draws it anew."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(INPUTS, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.extra = (nn.Linear(WIDTH, WIDTH),)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.extra[0](torch.relu(self.first(x)))))


class Masked(nn.Module):
    """Called with keywords, one of which is a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, y: Tensor, *, scale: float, mask: Tensor) -> Tensor:
        return torch.where(mask, self.layer(y) * scale, y)


def keywords() -> nn.Module:
    return with_head(
        lambda self, x: self.head(self.body(self.first(x), scale=0.5, mask=x[:, :1] > 0)), body=Masked()
    )


class DoubledNorm(nn.BatchNorm1d):
    """A subclass of torch's norm with another result."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class LeakyRelu(nn.ReLU):
    """A subclass of torch's activation that computes another one."""

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, 0.3)


class InPlaceFunction(torch.autograd.Function):
    """Doubles its input in place and says so."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        return x.mul_(2)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        return 3 * gradient


def in_place_function() -> nn.Module:
    return with_head(lambda self, x: self.head(torch.relu(InPlaceFunction.apply(self.first(x) + 0))))


def ensemble_of_heads() -> nn.Module:
    """Heads in a ModuleList, of which one is frozen, averaged with trained shares."""

    def run(self: nn.Module, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        shares = self.shares.softmax(0)
        return sum(shares[number] * head(y) for number, head in enumerate(self.heads))

    heads = nn.ModuleList(nn.Linear(WIDTH, CLASSES) for _ in range(3))
    heads[1].requires_grad_(False)
    return with_head(run, head=nn.Identity(), heads=heads, shares=nn.Parameter(torch.zeros(3)))


def norms_of_other_kinds() -> nn.Module:
    """Cumulative statistics, none, no parameters, a norm over two dimensions, one without shift."""

    def run(self: nn.Module, x: Tensor) -> Tensor:
        y = self.none(self.cumulative(self.first(x)))
        return self.head(self.plain(y) + self.both(y.view(-1, 4, 4)).flatten(1) + self.rms(y))

    return with_head(
        run,
        cumulative=nn.BatchNorm1d(WIDTH, momentum=None),
        none=nn.BatchNorm1d(WIDTH, track_running_stats=False),
        plain=nn.LayerNorm(WIDTH, elementwise_affine=False),
        both=nn.LayerNorm((4, 4), bias=False),
        rms=nn.RMSNorm(WIDTH),
    )


def bilinear() -> nn.Module:
    return with_head(
        lambda self, x: self.head(self.pair(torch.tanh(self.first(x)), x)),
        pair=nn.Bilinear(WIDTH, INPUTS, WIDTH),
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "double_scale": double_scale,
    "gain": gain,
    "gain_of_tokens": gain_of_tokens,
    "set_items": set_items,
    "bypassed_call": bypassed_call,
    "detached_weight": detached_weight,
    "without_grad_inside": without_grad_inside,
    "scheduled_dropout": Scheduled,
    "forward_of_the_instance": Instance,
    "functional_call": functional,
    "one_module_two_names": one_module_two_names,
    "sorted_and_gathered": sorted_and_gathered,
    "einsum": einsum,
    "standardised_by_hand": standardised_by_hand,
    "masked_fill": masked_fill,
    "powers": powers,
    "trained_in_turn": Toggled,
    "ring_of_means": MovedBuffer,
    "in_place_function": in_place_function,
    "heads_of_which_one_is_frozen": ensemble_of_heads,
    "dropout_by_epoch": ByEpoch,
    "norm_frozen_by_a_count": FrozenByCount,
    "unregistered_layer": Unregistered,
    "keywords": keywords,
    "subclasses": lambda: nn.Sequential(
        nn.Linear(INPUTS, WIDTH), DoubledNorm(WIDTH), LeakyRelu(), nn.Linear(WIDTH, CLASSES)
    ),
    "norms_of_other_kinds": norms_of_other_kinds,
    "bilinear": bilinear,
}
