"""The forward pass of K lanes: one vmapped call, or one lane after another.

Which is faster depends on the machine and the model: under vmap, convolutions become grouped convolutions,
which on a CPU are slower than a loop; small linear layers become one batched product, which is many times
faster. Both compute each lane by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy, deepcopy
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ablate.surgery.layers import RandomLayer
from ablate.surgery.net import Net

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
        columns = {name: tensor.unbind(0) for name, tensor in weights.items()}
        outputs = []
        for lane, (module, names, own) in enumerate(zip(self.modules, self.names, x.unbind(0), strict=True)):
            set_mode(module, training)
            state = {
                slot: columns[common][lane] for common, own in names.items() for slot in slots(module)[own]
            }
            if training:
                for path in random_keys(module):
                    state[path] = keys[lane]
            if self.innermost:
                own = channels_last(own)
            with torch.random.fork_rng(devices=[], enabled=self.reseed):
                if self.reseed:
                    torch.manual_seed(int(keys[lane]) & 0x7FFFFFFF)
                outputs.append(functional_call(module, state, (own,), tie_weights=False))
        return torch.stack(outputs)

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

    def own_names(self, lane: int) -> dict[str, str]:
        return {own: common for common, own in self.names[lane].items()}

    def module_of(self, lane: int) -> nn.Module:
        return deepcopy(self.modules[lane])


class Vmap:
    """One vmapped call of a single module that holds what any lane of the group uses."""

    kernel = "vmap"

    def __init__(self, nets: Sequence[Net], names: Sequence[dict[str, str]]) -> None:
        self.module = nets[0].module
        self.names = names[0]
        self.random = random_keys(self.module)
        stacks = [dict(net.module.named_buffers()) for net in nets]
        self._buffers = {
            name: torch.stack([stack[name] for stack in stacks])
            for name in stacks[0]
            if name not in self.random
        }

    def __call__(self, weights: Weights, x: Tensor, keys: Tensor, training: bool) -> Tensor:
        set_mode(self.module, training)
        if len(x) == 1:
            return self._single(weights, x, keys)
        return self._call(weights, x, keys, self._buffers)

    def _single(self, weights: Weights, x: Tensor, keys: Tensor) -> Tensor:
        """A lane alone, beside a copy of itself that is thrown away.

        A batched product of one matrix is handed to another routine (for a single column a matrix-vector
        product) that adds up in another order; of two or more, each is what it is among a hundred.
        """

        def twice(tensor: Tensor) -> Tensor:
            return torch.cat([tensor, tensor.detach()])

        buffers = {name: twice(buffer) for name, buffer in self._buffers.items()}
        pair = {name: twice(weight) for name, weight in weights.items()}
        outputs = self._call(pair, twice(x), twice(keys), buffers)
        for name, buffer in self._buffers.items():
            buffer.copy_(buffers[name][:1])
        return outputs[:1]

    def _call(self, weights: Weights, x: Tensor, keys: Tensor, buffers: Mapping[str, Tensor]) -> Tensor:
        known = slots(self.module)
        state = {slot: weights[common] for common, own in self.names.items() for slot in known[own]}
        state |= buffers
        state |= dict.fromkeys(self.random, keys)

        def one(own: dict[str, Tensor], value: Tensor) -> Tensor:
            output: Tensor = functional_call(self.module, own, (value,), tie_weights=False)
            return output

        outputs: Tensor = vmap(one, randomness="error")(state, x)
        return outputs

    def buffers(self) -> dict[str, Tensor]:
        return self._buffers

    def load_buffers(self, buffers: Mapping[str, Tensor]) -> None:
        for name, value in buffers.items():
            self._buffers[name].copy_(value)

    def take(self, lanes: Tensor) -> None:
        self._buffers = {name: buffer[lanes] for name, buffer in self._buffers.items()}

    def some(self, lanes: Tensor) -> Forward:
        chosen = copy(self)
        chosen.take(lanes)
        return chosen

    def extend(self, other: Forward) -> None:
        assert isinstance(other, Vmap)
        self._buffers = {
            name: torch.cat([buffer, other._buffers[name]]) for name, buffer in self._buffers.items()
        }

    def own_names(self, lane: int) -> dict[str, str]:
        return {own: common for common, own in self.names.items()}

    def module_of(self, lane: int) -> nn.Module:
        module = deepcopy(self.module)
        for name, buffer in self._buffers.items():
            module.get_buffer(name).copy_(buffer[lane])
        return module


def set_mode(module: nn.Module, training: bool) -> None:
    """Training or evaluation mode. Walking through a model's layers takes time, so only when it changes."""
    if module.training != training:
        module.train(training)


def random_keys(module: nn.Module) -> list[str]:
    """Names of the key buffers of the layers that draw."""
    found: list[str] | None = module.__dict__.get("_ablate_random_keys")
    if found is None:
        found = [
            f"{path}.key" if path else "key"
            for path, layer in module.named_modules()
            if isinstance(layer, RandomLayer)
        ]
        module.__dict__["_ablate_random_keys"] = found
    return found


def slots(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """Parameter -> every place in the module that holds it: more than one where layers share a parameter.

    A layer that the module holds under two names is one place; swapping it twice would not swap it back.
    """
    found: dict[str, tuple[str, ...]] | None = module.__dict__.get("_ablate_slots")
    if found is None:
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        found = dict.fromkeys(names.values(), ())
        for path, layer in module.named_modules():
            for name, parameter in layer.named_parameters(recurse=False):
                own = names[id(parameter)]
                found[own] = (*found[own], f"{path}.{name}" if path else name)
        module.__dict__["_ablate_slots"] = found
    return found


def channels_last(x: Tensor) -> Tensor:
    """`[B, C, H, W]` with the channels innermost in memory; the same numbers."""
    if x.shape[1] == 1:  # torch takes such a tensor for both layouts, and later layers would fall back
        return x.reshape(len(x), *x.shape[2:], 1).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)


def forward_of(
    nets: Sequence[Net], names: Sequence[dict[str, str]], kernel: str, *, reseed: bool, innermost: bool
) -> Forward:
    """The kernel of that name over the lanes' models."""
    if kernel == "vmap":
        return Vmap(nets, names)
    return Loop(nets, names, reseed=reseed, innermost=innermost)
