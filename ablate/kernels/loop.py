"""The kernel "loop": one lane after another, each with a model of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy, deepcopy

import torch
from torch import Tensor, nn

from ablate.kernels.leave_vmap import channels_last
from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.protocol import Forward, PerLane, Weights
from ablate.kernels.random_keys import drawn_keys, random_layers
from ablate.surgery.net import Net

Reseed = Callable[[int], AbstractContextManager[None]]
"""Seeds the global generators for the time of one lane's forward pass."""


class Loop:
    """One lane after another. Each lane's model holds only what that lane uses."""

    kernel = "loop"

    def __init__(
        self, nets: Sequence[Net], names: Sequence[dict[str, str]], *, reseed: Reseed | None, innermost: bool
    ) -> None:
        self.modules = [net.module for net in nets]
        self.names = list(names)
        self.reseed = reseed
        self.innermost = innermost

    def __call__(self, weights: Weights, x: Tensor, keys: Tensor, training: bool) -> Tensor:
        lanes = weights.per_lane if isinstance(weights, PerLane) and weights.per_lane else unstacked(weights)
        layers = [random_layers(module) if training else {} for module in self.modules]
        drawn = drawn_keys((stream for own in layers for stream in own.values()), keys)
        own_keys = [
            {name: drawn[stream][lane] for name, stream in own.items()} for lane, own in enumerate(layers)
        ]
        rows = zip(lanes, x.unbind(0), keys.unbind(0), own_keys, strict=True)
        return torch.stack([self._lane(lane, *row, training) for lane, row in enumerate(rows)])

    def _lane(
        self, lane: int, weights: Weights, x: Tensor, key: Tensor, drawn: dict[str, Tensor], training: bool
    ) -> Tensor:
        module, names = self.modules[lane], self.names[lane]
        set_mode(module, training)
        state = {own: weights[common] for common, own in names.items()} | drawn
        if self.innermost:
            x = channels_last(x)
        binding = binding_of(module)
        before = binding.put(state)
        try:
            with nullcontext() if self.reseed is None else self.reseed(int(key) & 0x7FFFFFFF):
                output: Tensor = module(x)
                return output
        finally:
            binding.put(before)

    def buffers(self) -> dict[str, Tensor]:
        return {
            f"{lane}/{name}": buffer[None]
            for lane, module in enumerate(self.modules)
            for name, buffer in module.named_buffers()
        }

    def load_buffers(self, buffers: Mapping[str, Tensor]) -> None:
        own = self.buffers()
        for name, value in buffers.items():
            own[name].copy_(value)

    def take(self, lanes: Tensor) -> None:
        self.modules = [self.modules[i] for i in lanes.tolist()]
        self.names = [self.names[i] for i in lanes.tolist()]

    def some(self, lanes: Tensor) -> Forward:
        chosen = copy(self)
        chosen.take(lanes)
        return chosen

    def extend(self, other: Forward) -> None:
        assert isinstance(other, Loop)
        self.modules += other.modules
        self.names += other.names

    def branch_keys(self, lane: int) -> tuple[str, ...]:
        return ()

    def own_names(self, lane: int) -> dict[str, str]:
        return {own: common for common, own in self.names[lane].items()}

    def module_of(self, lane: int) -> nn.Module:
        return deepcopy(self.modules[lane])


def unstacked(weights: Weights) -> list[dict[str, Tensor]]:
    """Stacked weights as one mapping a lane."""
    columns = [tensor.unbind(0) for tensor in weights.values()]
    return [dict(zip(weights, row, strict=True)) for row in zip(*columns, strict=True)]


def set_mode(module: nn.Module, training: bool) -> None:
    """Training or evaluation mode. Walking through a model's layers takes time, so only when it changes."""
    if module.training != training:
        module.train(training)
