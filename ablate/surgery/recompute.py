"""Gradient checkpointing of one lane's model: a segment saves only its input and runs again in the backward pass.

Both runs do the same operations on the same numbers, so that results and gradients are equal bit for bit:

- buffers (running statistics) are changed by the first run alone; the second works on copies from before it;
- counter-based layers draw the same mask from the same key; torch's global generators are set back;
- the second run is under the autocast of the first.

`torch.utils.checkpoint` hooks saved tensors, which vmap forbids. Here a segment is one autograd function, `Segment`, which
kernels can apply to the tensors of several lanes as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ablate.seams.draws import Calls, calls_so_far, count_calls

Run = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""(a segment's parameters and buffers by name, its input) -> its output."""


class Recomputing(nn.Sequential):
    """An `nn.Sequential` cut into segments of `size` modules. Names and modules are those of the original."""

    size: int

    @classmethod
    def of(cls, sequence: nn.Sequential, size: int) -> Recomputing:
        """The same modules, recomputed in segments of `size`."""
        new = cls()
        new.__dict__.update(sequence.__dict__)
        new.size = size
        return new

    def segments(self) -> list[list[str]]:
        """The names of the modules of each segment."""
        names = list(self._modules)
        return [names[start : start + self.size] for start in range(0, len(names), self.size)]

    def forward(self, x: Tensor, only: Sequence[str] | None = None) -> Tensor:
        """Run all segments, recomputing each where a gradient is needed; or run the modules `only`, once."""
        if only is None and torch.is_grad_enabled():
            for names in self.segments():
                weights, buffers = self.tensors(names)
                x = Segment.apply(self.runner(names), buffers, tuple(weights), x, *weights.values())  # type: ignore[no-untyped-call]
            return x
        for name in self._modules if only is None else only:
            x = self.get_submodule(name)(x)
        return x

    def tensors(self, names: Sequence[str]) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The parameters and the buffers of the modules `names`."""
        layers = [(name, self.get_submodule(name)) for name in names]
        weights = {
            f"{name}.{local}": tensor
            for name, layer in layers
            for local, tensor in layer.named_parameters(remove_duplicate=False)
        }
        buffers = {
            f"{name}.{local}": tensor
            for name, layer in layers
            for local, tensor in layer.named_buffers(remove_duplicate=False)
        }
        return weights, buffers

    def runner(self, names: Sequence[str]) -> Run:
        """One run of the modules `names` with given tensors."""
        modules = [module for name in names for module in self.get_submodule(name).modules()]
        in_place = any(getattr(module, "inplace", False) for module in modules)

        def run(tensors: Mapping[str, Tensor], value: Tensor) -> Tensor:
            value = value.clone() if in_place else value
            output: Tensor = functional_call(self, dict(tensors), (value, names), tie_weights=False)
            return output

        return run


class Segment(torch.autograd.Function):
    """`run({**weights, **buffers}, x)`; run again, with gradients, in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, run: Run, buffers: Mapping[str, Tensor], names: tuple[str, ...], x: Tensor, *weights: Tensor
    ) -> Tensor:
        ctx.run, ctx.names = run, names
        ctx.around = Surroundings.now(x.device)
        ctx.buffers = {name: buffer.detach().clone() for name, buffer in buffers.items()}
        ctx.save_for_backward(x, *weights)
        return run({**dict(zip(names, weights, strict=True)), **buffers}, x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        again = torch.is_grad_enabled()  # double backward
        needed = ctx.needs_input_grad[3:]
        inputs = [
            tensor if again else tensor.detach().requires_grad_(need)
            for tensor, need in zip(ctx.saved_tensors, needed, strict=True)
        ]
        buffers = {name: buffer.clone() for name, buffer in ctx.buffers.items()}
        x, *weights = inputs
        with torch.enable_grad(), ctx.around.restored():
            output = ctx.run({**dict(zip(ctx.names, weights, strict=True)), **buffers}, x)
        inputs_needed = [tensor for tensor, need in zip(inputs, needed, strict=True) if need]
        gradients = iter(
            torch.autograd.grad(output, inputs_needed, gradient, create_graph=again, allow_unused=True)
        )
        return (None, None, None, *(next(gradients) if need else None for need in needed))


@dataclass(frozen=True)
class Surroundings:
    """The rest of the state that a run depends on: autocast, the states of torch's generators, and how often
    each layer that draws has been called."""

    device: torch.device
    autocast: bool
    dtype: torch.dtype
    generator: Tensor
    device_generator: Tensor | None
    calls: Calls | None

    @classmethod
    def now(cls, device: torch.device) -> Surroundings:
        """The present state."""
        kind = device.type
        return cls(
            device,
            torch.is_autocast_enabled(kind),
            torch.get_autocast_dtype(kind),
            torch.get_rng_state(),
            torch.cuda.get_rng_state(device) if kind == "cuda" else None,
            calls_so_far(),
        )

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Context with this state."""
        devices = [] if self.device_generator is None else [self.device]
        with (
            torch.random.fork_rng(devices=devices),
            torch.autocast(self.device.type, self.dtype, enabled=self.autocast, cache_enabled=False),
        ):
            torch.set_rng_state(self.generator)
            if self.device_generator is not None:
                torch.cuda.set_rng_state(self.device_generator, self.device)
            before = count_calls(self.calls and dict(self.calls))
            try:
                yield
            finally:
                count_calls(before)


def cut(module: nn.Module, size: int) -> tuple[nn.Module, int]:
    """(`module` with its outermost sequences recomputing, the number of segments).

    A sequence is an `nn.Sequential` of two modules or more. Subclasses, whose `forward` may
    differ, are left alone; a shorter one is searched for inner sequences. The module is
    changed in place, unless it is a sequence itself.
    """
    if is_sequence(module) and (len(module) > size or not any(map(is_sequence, module.children()))):
        new = Recomputing.of(module, size)
        return new, len(new.segments())
    total = 0
    for name, child in list(module.named_children()):
        changed, number = cut(child, size)
        if changed is not child:
            setattr(module, name, changed)
        total += number
    return module, total


def is_sequence(module: nn.Module) -> TypeGuard[nn.Sequential]:
    """Whether it is an `nn.Sequential` of two modules or more."""
    return type(module) is nn.Sequential and len(module) > 1
