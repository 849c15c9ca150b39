"""Networks on tables whose tensors share memory or are of other types: complex numbers, bfloat16, double, slices of one tensor."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from networks_table import INPUTS
from torch import Tensor, nn

WIDTH = 16


class Two(nn.Module):
    """Two layers around `middle`."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.head = (
            nn.Linear(INPUTS, WIDTH),
            nn.Linear(WIDTH, WIDTH),
            nn.Linear(WIDTH, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.middle(F.relu(self.first(x)))))

    def middle(self, h: Tensor) -> Tensor:
        return self.inner(h)


class ComplexPairs(Two):
    """Complex weights held as pairs of real numbers, as a Fourier neural operator has them."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs = nn.Parameter(torch.randn(WIDTH // 2 + 1, WIDTH, 2) / WIDTH)

    def middle(self, h: Tensor) -> Tensor:
        mixed = torch.einsum("bi,io->bo", torch.fft.rfft(h), torch.view_as_complex(self.pairs))
        return torch.fft.irfft(mixed, n=WIDTH)


class Rotary(Two):
    """A complex buffer that turns pairs of features."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("phases", torch.polar(torch.ones(WIDTH // 2), torch.arange(WIDTH / 2)))

    def middle(self, h: Tensor) -> Tensor:
        pairs = torch.view_as_complex(self.inner(h).unflatten(1, (-1, 2))) * self.phases
        return torch.view_as_real(pairs).flatten(1)


class HalfInside(Two):
    """Weights cast to bfloat16 for one product."""

    def middle(self, h: Tensor) -> Tensor:
        half = torch.bfloat16
        return F.linear(h.to(half), self.inner.weight.to(half), self.inner.bias.to(half)).float()


class AutocastInside(Two):
    def middle(self, h: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.inner(h).float()


class DoubleBuffer(Two):
    """A running mean in double precision."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(WIDTH, dtype=torch.float64))

    def middle(self, h: Tensor) -> Tensor:
        if self.training:
            self.center.mul_(0.9).add_(h.detach().double().mean(0), alpha=0.1)
        return self.inner(h - self.center.float())


class Slices(Two):
    """Two parameters that are halves of one tensor."""

    def __init__(self) -> None:
        super().__init__()
        both = torch.randn(2 * WIDTH, WIDTH) / WIDTH
        self.value, self.gate = nn.Parameter(both[:WIDTH]), nn.Parameter(both[WIDTH:])

    def middle(self, h: Tensor) -> Tensor:
        return self.inner((h @ self.value.t()) * torch.sigmoid(h @ self.gate.t()))


class Named(Two):
    """Parameters in a ParameterDict and a ParameterList that was given plain tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.by_name = nn.ParameterDict(
            {"scale": nn.Parameter(torch.ones(WIDTH)), "shift": torch.zeros(WIDTH)}
        )
        self.by_number = nn.ParameterList([torch.randn(WIDTH) / WIDTH for _ in range(3)])

    def middle(self, h: Tensor) -> Tensor:
        h = self.inner(h) * self.by_name["scale"] + self.by_name["shift"]
        return sum((F.relu(h + shift) for shift in self.by_number), h)


class SharedStatistics(Two):
    """Two batch norms with one running mean."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.BatchNorm1d(WIDTH), nn.BatchNorm1d(WIDTH)
        self.other.running_mean = self.one.running_mean

    def middle(self, h: Tensor) -> Tensor:
        return self.one(self.inner(h)) + self.other(h)


class BufferInBuffer(Two):
    """A buffer that is another view of a buffer that forward changes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(WIDTH))
        self.register_buffer("square", self.center.view(4, 4))

    def middle(self, h: Tensor) -> Tensor:
        if self.training:
            self.center.mul_(0.9).add_(h.detach().mean(0))
        return self.inner(h) * self.square.flatten()


class UntrackedLater(Two):
    """A batch norm that no longer tracks its statistics, but evaluates by those that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH)
        self.norm.track_running_stats = False

    def middle(self, h: Tensor) -> Tensor:
        return self.norm(self.inner(h))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "complex_pairs": ComplexPairs,
    "rotary": Rotary,
    "half_inside": HalfInside,
    "autocast_inside": AutocastInside,
    "double_buffer": DoubleBuffer,
    "slices": Slices,
    "parameters_by_name": Named,
    "shared_statistics": SharedStatistics,
    "buffer_in_buffer": BufferInBuffer,
    "untracked_later": UntrackedLater,
}
