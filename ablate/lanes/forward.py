"""The forward pass of K lanes: layer by layer in batched operations, as one vmapped call, or one lane after another.

Which is fastest depends on the machine and the model: small layers are many times faster as one batched call, large
activations stay in a core's cache only one lane at a time; vmap takes whatever layers a model has. All compute each
lane by itself. Grouped convolutions are what a CPU does worse than one after another: there they run lane by lane.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from copy import copy, deepcopy
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ablate.kernels.compiled import compiled_code
from ablate.kernels.leave_vmap import channels_last
from ablate.kernels.memory_format import innermost
from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.stacked import stacked, vmapped
from ablate.lanes.parameters import LaneParameters
from ablate.seams.draws import stream_keys
from ablate.surgery.layers import RandomLayer
from ablate.surgery.net import Net
from ablate.surgery.switch import picks_of, set_picks
from ablate.tasks.user_code import repeatable

Weights = Mapping[str, Tensor]


class Forward(Protocol):
    """K models. `weights` are `[K, *shape]` by common name; buffers belong to the object."""

    kernel: str

    def __call__(self, weights: Weights, x: Tensor, keys: Tensor, training: bool) -> Tensor: ...
    def buffers(self) -> dict[str, Tensor]: ...
    def load_buffers(self, buffers: Mapping[str, Tensor]) -> None: ...
    def take(self, lanes: Tensor) -> None: ...
    def extend(self, other: Forward) -> None: ...
    def some(self, lanes: Tensor) -> Forward:
        """The models of some lanes, for evaluation: this object and its lanes stay as they are."""
        ...

    def branch_keys(self, lane: int) -> tuple[str, ...]:
        """The branches that a lane goes through, as far as it pays that lanes of the same ways are neighbours."""
        ...

    def own_names(self, lane: int) -> dict[str, str]:
        """A lane's parameters: own name -> common name."""
        ...

    def module_of(self, lane: int) -> nn.Module:
        """A copy of the lane's module with its buffers; the parameters' values are not set."""
        ...


class Loop:
    """One lane after another. Each lane's model holds only what that lane uses."""

    kernel = "loop"

    def __init__(
        self, nets: Sequence[Net], names: Sequence[dict[str, str]], *, reseed: bool, innermost: bool
    ) -> None:
        self.modules = [net.module for net in nets]
        self.names = list(names)
        self.reseed = reseed
        self.innermost = innermost

    def __call__(self, weights: Weights, x: Tensor, keys: Tensor, training: bool) -> Tensor:
        """`weights`: stacked, or the lanes' own `Leaves`, which spares taking the stack apart."""
        lanes = weights.lanes if isinstance(weights, LaneParameters) and weights.lanes else unstacked(weights)
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
            with repeatable(int(key) & 0x7FFFFFFF) if self.reseed else nullcontext():
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


class Stacked:
    """One module that holds what any lane of the group uses, on the lanes' stacked tensors.

    As one vmapped call, or layer by layer in batched operations: torch's alone ("batched"), or with code compiled for some layers ("compiled").
    """

    def __init__(
        self,
        nets: Sequence[Net],
        names: Sequence[dict[str, str]],
        kernel: str,
        *,
        innermost: bool,
    ) -> None:
        self.kernel = kernel
        self.innermost = innermost
        self.module = nets[0].module
        self.names = names[0]
        self.picks = picks_of([net.module for net in nets])
        self.random = random_layers(self.module)
        self.known: dict[bool, dict[Any, Any]] = {True: {}, False: {}}
        """What compiled code has worked out for these lanes, training and evaluating."""
        stacks = [dict(net.module.named_buffers()) for net in nets]
        self._buffers = {
            name: torch.stack([stack[name] for stack in stacks])
            for name in stacks[0]
            if name not in self.random
        }

    def __call__(self, weights: Weights, x: Tensor, keys: Tensor, training: bool) -> Tensor:
        self._serve(training)
        state = {own: weights[common] for common, own in self.names.items()}
        state |= self._buffers
        drawn = drawn_keys(self.random.values(), keys)
        state |= {name: drawn[stream] for name, stream in self.random.items()}
        binding = binding_of(self.module)
        before = binding.put(state)
        try:
            if self.kernel == "vmap":
                return vmapped(self.module, x, innermost=self.innermost)
            with compiled_code(self.known[training] if self.kernel == "compiled" else None):
                return stacked(self.module, innermost(x) if self.innermost else x)
        finally:
            binding.put(before)

    def _serve(self, training: bool) -> None:
        """Let the module, which other lanes use too, serve these."""
        if self.module.__dict__.get("_ablate_serves") is self.picks and self.module.training == training:
            return
        set_mode(self.module, training)
        for switches in self.picks.values():
            for switch in switches:
                set_mode(switch, training)
        set_picks(self.module, self.picks)
        self.module.__dict__["_ablate_serves"] = self.picks

    def buffers(self) -> dict[str, Tensor]:
        return self._buffers

    def load_buffers(self, buffers: Mapping[str, Tensor]) -> None:
        for name, value in buffers.items():
            self._buffers[name].copy_(value)

    def take(self, lanes: Tensor) -> None:
        self._buffers = {name: buffer[lanes] for name, buffer in self._buffers.items()}
        kept = lanes.tolist()
        self.picks = {path: [switches[i] for i in kept] for path, switches in self.picks.items()}
        self.known = {True: {}, False: {}}

    def some(self, lanes: Tensor) -> Forward:
        chosen = copy(self)
        chosen.take(lanes)
        return chosen

    def extend(self, other: Forward) -> None:
        assert isinstance(other, Stacked)
        self._buffers = {
            name: torch.cat([buffer, other._buffers[name]]) for name, buffer in self._buffers.items()
        }
        self.picks = {path: switches + other.picks[path] for path, switches in self.picks.items()}
        self.known = {True: {}, False: {}}

    def branch_keys(self, lane: int) -> tuple[str, ...]:
        if self.kernel == "compiled":  # goes lane by lane
            return ()
        return tuple(switches[lane].branch_key for switches in self.picks.values())

    def own_names(self, lane: int) -> dict[str, str]:
        return {own: common for common, own in self.names.items()}

    def module_of(self, lane: int) -> nn.Module:
        set_picks(self.module, None)
        self.module.__dict__.pop("_ablate_serves", None)
        module = deepcopy(self.module)
        for path, switches in self.picks.items():
            own = deepcopy(switches[lane])
            stands = module.get_submodule(path)
            for parent in list(module.modules()):
                for name, child in parent._modules.items():
                    if child is stands:
                        parent._modules[name] = own
        for name, buffer in self._buffers.items():
            module.get_buffer(name).copy_(buffer[lane])
        return module


def set_mode(module: nn.Module, training: bool) -> None:
    """Training or evaluation mode. Walking through a model's layers takes time, so only when it changes."""
    if module.training != training:
        module.train(training)


def random_layers(module: nn.Module) -> dict[str, int]:
    """The key buffers of the layers that draw: name -> the layer's stream."""
    found: dict[str, int] | None = module.__dict__.get("_ablate_random_layers")
    if found is None:
        found = {
            f"{path}.key" if path else "key": layer.stream
            for path, layer in module.named_modules()
            if isinstance(layer, RandomLayer)
        }
        module.__dict__["_ablate_random_layers"] = found
    return found


def drawn_keys(streams: Iterable[int], keys: Tensor) -> dict[int, Tensor]:
    """Stream -> the lanes' keys of the step (int32 `[K]`) hashed with it, for layers that draw from these."""
    numbers = tuple(dict.fromkeys(streams))
    if not numbers:
        return {}
    return dict(
        zip(numbers, stream_keys(keys, _streams(numbers, keys.device)[:, None]).unbind(0), strict=True)
    )


@lru_cache(maxsize=64)
def _streams(streams: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(streams, dtype=torch.int32, device=device)


def unstacked(weights: Weights) -> list[dict[str, Tensor]]:
    """Stacked weights as one mapping a lane."""
    columns = [tensor.unbind(0) for tensor in weights.values()]
    return [dict(zip(weights, row, strict=True)) for row in zip(*columns, strict=True)]


def forward_of(
    nets: Sequence[Net], names: Sequence[dict[str, str]], kernel: str, *, reseed: bool, innermost: bool
) -> Forward:
    """The kernel of that name over the lanes' models."""
    if kernel == "loop":
        return Loop(nets, names, reseed=reseed, innermost=innermost)
    return Stacked(nets, names, kernel, innermost=innermost)
