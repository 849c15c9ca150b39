"""Networks that change later than in their first steps, by state in Python objects, by a gradient of their own, by their input's memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from networks_table import CLASSES, INPUTS, WIDTH, Net
from torch import Tensor, nn

LATE = 12
"""Training steps after which a schedule turns."""


class Temperature:
    """A schedule that an object holds, called in each step."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> float:
        self.calls += 1
        return 1.0 if self.calls < LATE else 0.3


def closure() -> Callable[[], float]:
    calls = 0

    def temperature() -> float:
        nonlocal calls
        calls += 1
        return 1.0 if calls < LATE else 0.3

    return temperature


class ScheduledObject(Net):
    def __init__(self, temperature: Callable[[], float]) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (self.temperature() if self.training else 0.3)


class ScheduledIterator(Net):
    def __init__(self) -> None:
        super().__init__()
        self.steps: Iterator[int] = itertools.count()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (0.3 if self.training and next(self.steps) > LATE else 1.0)


def hooked_by_closure() -> nn.Module:
    net, temperature = Net(), closure()
    net.register_forward_hook(
        lambda layer, given, output: output * temperature() if layer.training else output
    )
    return net


class Bounded(torch.autograd.Function):
    """Clips gradients that are larger than those of the first steps."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return 1.0 * x

    @staticmethod
    def setup_context(ctx: object, inputs: object, output: object) -> None: ...

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient.clamp(-0.3, 0.3)


class BoundedGradient(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(INPUTS, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(Bounded.apply(self.body(x))))


class HookedActivation(Net):
    """A hook on an activation in training, without a question whether it takes a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if self.training:
            y.register_hook(lambda gradient: gradient.clamp(-0.02, 0.02))
        return y


class ClippedWeights(Net):
    """A bound of the weights that they reach later, if at all."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.clamp_(-0.3, 0.3)
        return super().forward(x)


class Maps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(x)).mean((2, 3)))


class ByStrides(Maps):
    """Reads the memory of its input in the order in which it lies."""

    def forward(self, x: Tensor) -> Tensor:
        lines = torch.as_strided(x, (len(x), 4), (x.stride(0), 1))
        return super().forward(x) + self.head(lines)


class ByContiguity(Maps):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.is_contiguous() else 2 * x)


class FunctionalDropout(Maps):
    """Masks of maps from torch's generator, which fills them in the order of the memory."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.dropout(x, 0.3, self.training))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "scheduled_object": lambda: ScheduledObject(Temperature()),
    "scheduled_method": lambda: ScheduledObject(Temperature().__call__),
    "scheduled_closure": lambda: ScheduledObject(closure()),
    "scheduled_iterator": ScheduledIterator,
    "hooked_by_closure": hooked_by_closure,
    "bounded_gradient": BoundedGradient,
    "hooked_activation": HookedActivation,
    "clipped_weights": ClippedWeights,
}
IMAGES: dict[str, Callable[[], nn.Module]] = {
    "by_strides": ByStrides,
    "by_contiguity": ByContiguity,
    "functional_dropout_of_maps": FunctionalDropout,
}
