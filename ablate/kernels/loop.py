"""The kernel "loop": one lane after another, each with its own model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ablate.kernels.leave_vmap import as_channels_last
from ablate.kernels.module_state import copied, fused_paths, set_mode
from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.protocol import Forward, Names, PerLane, Reseed, Weights
from ablate.kernels.random_keys import drawn_keys, random_layers
from ablate.seams.draws import count_calls
from ablate.surgery.net import Net


@dataclass(frozen=True)
class LoopKernel:
    """One lane after another: runs every model on every device."""

    name: str = "loop"

    def unavailable(self, device: torch.device) -> str:
        return ""

    def unsupported(self, model: nn.Module, x: Tensor) -> str:
        return ""

    def lower(
        self,
        nets: Sequence[Net],
        names: Names,
        *,
        channels_last: bool,
        reseed: Reseed | None,
        traceable: bool,
    ) -> Forward:
        return Loop(nets, names, reseed=reseed, channels_last=channels_last)


class Loop:
    """Each lane's model contains only what that lane uses.

    A model's parameters are its own `nn.Parameter`s, whose data are views of the stacked weights: hooks, `requires_grad_` and
    in-place writes to `.data` by the user's code act on what is trained.
    """

    kernel = "loop"

    def __init__(
        self, nets: Sequence[Net], names: Names, *, reseed: Reseed | None, channels_last: bool
    ) -> None:
        self.modules = [net.module for net in nets]
        self.names = list(names)
        self.reseed = reseed
        self.channels_last = channels_last
        # Whether torch's fused paths would use the layers as they are.
        self.fused = [not net.touched for net in nets]

    def __call__(self, weights: Weights, x: Tensor, keys: Tensor, training: bool) -> Tensor:
        if isinstance(weights, PerLane) and weights.per_lane:
            return self._forward([{}] * len(self.modules), x, keys, training)
        if any(tensor.requires_grad for tensor in weights.values()):
            return self._forward(unstacked(weights), x, keys, training)
        before = [[parameter.data for parameter in module.parameters()] for module in self.modules]
        try:
            self.attach(weights)
            return self._forward([{}] * len(self.modules), x, keys, training)
        finally:
            for module, data in zip(self.modules, before, strict=True):
                for parameter, row in zip(module.parameters(), data, strict=True):
                    parameter.data = row

    def _forward(self, lanes: Sequence[Weights], x: Tensor, keys: Tensor, training: bool) -> Tensor:
        """`lanes`: for each, tensors that replace the module's own parameters."""
        layers = [random_layers(module) for module in self.modules]  # some may draw in evaluation too
        drawn = drawn_keys((stream for streams in layers for stream in streams.values()), keys)
        own_keys = [
            {name: drawn[stream][lane] for name, stream in streams.items()}
            for lane, streams in enumerate(layers)
        ]
        rows = zip(lanes, x.unbind(0), keys.unbind(0), own_keys, strict=True)
        untouched, outputs = x._version, []
        for lane, (own, row, key, drawn_key) in enumerate(rows):
            # Autograd counts the writes to all lanes' inputs together: after one, the rest write to copies.
            given = row if x._version == untouched else row.clone()
            outputs.append(self._lane(lane, own, given, key, drawn_key, training))
        return torch.stack(outputs)

    def _lane(
        self, lane: int, weights: Weights, x: Tensor, key: Tensor, drawn: dict[str, Tensor], training: bool
    ) -> Tensor:
        module = self.modules[lane]
        set_mode(module, training)
        state = {name: weights[common] for common, name in self.names[lane].items()} if weights else {}
        if x.requires_grad:
            # A model may write to its input in place, which autograd forbids on a view of all lanes' inputs.
            x = x.clone()
        if self.channels_last:
            x = as_channels_last(x)
        binding = binding_of(module)
        binding.put(
            drawn
        )  # not removed afterwards: the backward pass may repeat a part (activation checkpointing)
        before, calls = binding.put(state), count_calls({})
        try:
            seeded = nullcontext() if self.reseed is None else self.reseed(int(key) & 0x7FFFFFFF)
            with seeded, fused_paths(training or self.fused[lane]):
                output: Tensor = module(x)
                return output
        finally:
            count_calls(calls)
            binding.put(before)

    def attach(self, weights: Weights) -> list[dict[str, Tensor]]:
        parameters: list[dict[str, Tensor]] = []
        for lane, (module, names) in enumerate(zip(self.modules, self.names, strict=True)):
            parameters_of_lane: dict[str, Tensor] = {}
            for common, name in names.items():
                parameters_of_lane[common] = module.get_parameter(name)
                parameters_of_lane[common].data = weights[common][lane].detach()
            parameters.append(parameters_of_lane)
        return parameters

    def collect(self, weights: Weights) -> None:
        for lane, (module, names) in enumerate(zip(self.modules, self.names, strict=True)):
            for common, name in names.items():
                parameter, row = module.get_parameter(name), weights[common][lane]
                if parameter.data_ptr() != row.data_ptr():
                    parameter.data = row.copy_(parameter.detach())

    def frozen(self) -> frozenset[str]:
        by_lane = [
            {common for common, name in names.items() if not module.get_parameter(name).requires_grad}
            for module, names in zip(self.modules, self.names, strict=True)
        ]
        return frozenset(set.intersection(*by_lane)) if by_lane else frozenset()

    def buffers(self) -> dict[str, Tensor]:
        return {
            f"{lane}/{name}": buffer[None]
            for lane, module in enumerate(self.modules)
            for name, buffer in module.named_buffers()
        }

    def load_buffers(self, buffers: Mapping[str, Tensor]) -> None:
        for name, value in buffers.items():
            lane, _, path = name.partition("/")
            owner, _, local = path.rpartition(".")
            owned = self.modules[int(lane)].get_submodule(owner)._buffers
            before = owned.get(local)
            if before is not None and before.shape == value.shape[1:]:
                before.copy_(value[0])
            else:  # a buffer that `forward` has assigned
                owned[local] = value[0].clone()

    def take(self, lanes: Tensor) -> None:
        self.modules = [self.modules[i] for i in lanes.tolist()]
        self.names = [self.names[i] for i in lanes.tolist()]
        self.fused = [self.fused[i] for i in lanes.tolist()]

    def some(self, lanes: Tensor) -> Forward:
        chosen = copy(self)
        chosen.take(lanes)
        return chosen

    def extend(self, other: Forward) -> None:
        assert isinstance(other, Loop)
        self.modules += other.modules
        self.names += other.names
        self.fused += other.fused

    def branch_keys(self, lane: int) -> tuple[str, ...]:
        return ()

    def own_names(self, lane: int) -> dict[str, str]:
        return {name: common for common, name in self.names[lane].items()}

    def module_of(self, lane: int) -> nn.Module:
        module = copied(self.modules[lane])
        for name in random_layers(module):
            module.get_buffer(name).zero_()
        return module


def unstacked(weights: Weights) -> list[dict[str, Tensor]]:
    """Stacked weights as one mapping per lane."""
    columns = [tensor.unbind(0) for tensor in weights.values()]
    return [dict(zip(weights, row, strict=True)) for row in zip(*columns, strict=True)]
