"""Models with one fault each."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from bench.faults.data import perceptron

Make = Callable[[], nn.Module]


def altered(change: Callable[[nn.Sequential], object], inputs: int = 64, outputs: int = 10) -> Make:
    """The perceptron after `change` to its fresh weights."""

    def make() -> nn.Module:
        module = perceptron(inputs, outputs)
        with torch.no_grad():
            change(module)
        return module

    return make


class Wrapped(nn.Module):
    """The perceptron inside a forward pass `call(body, x, extra)` of one's own."""

    def __init__(self, call: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.extra, self.call = perceptron(64, 10), nn.Parameter(torch.zeros(1)), call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.body, x, self.extra)


def wrapped(call: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> Make:
    return lambda: Wrapped(call)


class Cut(nn.Module):
    """A perceptron whose layer below the head is handed on by `cut`; a layer more where it is not used."""

    def __init__(self, cut: Callable[[Tensor], Tensor], *, unused: bool = False) -> None:
        super().__init__()
        self.below, self.head, self.cut = nn.Linear(64, 32), nn.Linear(32, 10), cut
        self.spare = nn.Linear(32, 32) if unused else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.cut(self.below(x)))
        return outputs


def deep(layers: int, activation: Make, gain: float | None = None, width: int = 32) -> Make:
    """`layers` hidden layers; `gain`: times He's deviation, else torch's own initialisation."""

    def make() -> nn.Module:
        sizes = [64, *[width] * layers]
        linear = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        for layer in linear if gain is not None else []:
            nn.init.normal_(layer.weight, std=gain * (2 / layer.in_features) ** 0.5)
        return nn.Sequential(
            *(part for layer in linear for part in (layer, activation())), nn.Linear(width, 10)
        )

    return make


def dead(*layers: int) -> Callable[[nn.Sequential], None]:
    """All units of those layers are off for every input."""

    def change(module: nn.Sequential) -> None:
        for layer in layers:
            module[layer].bias.fill_(-1000)  # type: ignore[operator]

    return change


def nearly_dead(module: nn.Sequential) -> None:
    """Thirty of 32 units of the second layer are off."""
    module[2].bias[:30] = -1000  # type: ignore[index]


def filled(value: float) -> Callable[[nn.Sequential], None]:
    def change(module: nn.Sequential) -> None:
        for parameter in module.parameters():
            parameter.fill_(value)

    return change


def scaled_head(factor: float) -> Callable[[nn.Sequential], None]:
    def change(module: nn.Sequential) -> None:
        module[-1].weight.mul_(factor)  # type: ignore[operator]

    return change


def constant_head(module: nn.Sequential) -> None:
    module[-1].weight.fill_(0.5)  # type: ignore[operator]
    module[-1].bias.zero_()  # type: ignore[operator]


def one_weight(value: float) -> Callable[[nn.Sequential], None]:
    def change(module: nn.Sequential) -> None:
        module[2].weight[3, 4] = value  # type: ignore[index]

    return change


class Exploding(nn.Module):
    """A recurrent layer whose state grows by half at each of 60 steps; no saturation."""

    def __init__(self, growth: float = 1.5) -> None:
        super().__init__()
        self.into, self.recur, self.head = nn.Linear(4, 24), nn.Linear(24, 24, bias=False), nn.Linear(24, 3)
        with torch.no_grad():
            self.recur.weight.copy_(growth * torch.linalg.qr(torch.randn(24, 24))[0])

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), 24)
        for step in x.unbind(1):
            state = self.recur(state) + self.into(step)
        outputs: Tensor = self.head(state)
        return outputs


class WrongAxis(nn.Module):
    """A recurrent layer that takes the examples for time."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRU(4, 24, batch_first=False), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.cell(x)[0].amax(1))
        return outputs


class Reshaped(nn.Module):
    """The last two axes are exchanged by a reshape of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.body = perceptron(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.body(x.t().reshape(-1, 64))
        return outputs


class Frozen(nn.Module):
    """A batch norm whose statistics are as at initialisation, since it is in evaluation mode in training too."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.head = nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Linear(32, 10)

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.norm(self.layer(x)).relu())
        return outputs


class Noisy(nn.Module):
    """Dropout that is never switched off."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.body, self.head, self.share = nn.Linear(64, 64), nn.Linear(64, 10), share

    def forward(self, x: Tensor) -> Tensor:
        hidden = nn.functional.dropout(self.body(x).relu(), self.share, training=True)
        outputs: Tensor = self.head(hidden)
        return outputs


def batch_normalised(momentum: float) -> Make:
    return lambda: nn.Sequential(
        nn.Linear(64, 32), nn.BatchNorm1d(32, momentum=momentum), nn.ReLU(), nn.Linear(32, 10)
    )


def dropped(share: float, times: int = 1) -> Make:
    """Dropout behind each of `times` hidden layers."""

    def make() -> nn.Module:
        sizes = [64, *[64] * times]
        layers = [
            part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU(), nn.Dropout(share))
        ]
        return nn.Sequential(*layers, nn.Linear(64, 10))

    return make
