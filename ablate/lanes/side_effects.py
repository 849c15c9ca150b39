"""Side effects of a model's forward pass: state, hooks, random numbers, writes to its input.

Lanes on stacked tensors share one module, and a trace runs Python once: such a model's lanes run one at a time instead, each with
its own module, as in a plain torch loop.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ablate.kernels.module_state import begin
from ablate.surgery.torch_layers import HOOKS
from ablate.tasks.user_code import UsersCode, repeatable

OWN = frozenset({"_parameters", "_buffers", "_modules", "training", *HOOKS})
CONTAINERS = (list, dict, set, deque)


@dataclass(frozen=True)
class SideEffects:
    """`solo`: why lanes must run one at a time; empty if they need not. `writes_input`: it changes its input batch.
    `resumable`: all of its state is in parameters and buffers."""

    solo: str
    writes_input: bool
    resumable: bool


def side_effects(module: nn.Module, x: Tensor) -> SideEffects:
    """Run a fresh `module` on `x` `[B, …]`, in training and evaluation mode, and detect what has changed. The module cannot be used afterwards."""
    why = hooks_of(module)
    writes = False
    kept: list[str] = []
    with repeatable():
        before = snapshot(module)
        for training in (True, False):
            begin(module, training)
            names = changed(before, snapshot(module))
            why = why or (f"{'train' if training else 'eval'}() changes '{names[0]}'" if names else "")
            kept += names
            before, modes, given = snapshot(module), modes_of(module), x.clone()
            with torch.set_grad_enabled(training):
                module(given)
            writes = writes or not torch.equal(given, x)
            after = snapshot(module)
            names = changed(before, after)
            why = why or (f"forward changes '{names[0]}'" if names else "")
            why = why or ("" if modes_of(module) == modes else "forward changes the mode of a layer")
            kept += names
            before = after
    return SideEffects(why, writes, set(kept) <= {name for name, _ in module.named_buffers()})


def repeated_in_backward(module: nn.Module, x: Tensor) -> frozenset[str]:
    """Paths of the dropout layers that a fresh `module`, trained on `x` `[B, …]`, calls several times in a forward pass and
    again in the backward pass (activation checkpointing). The module cannot be used afterwards.

    Such a layer must draw from torch's generator, whose state `torch.utils.checkpoint` restores: the index of a call
    does not tell which one is being repeated.
    """
    dropouts = {path: layer for path, layer in module.named_modules() if type(layer) is nn.Dropout}
    calls = dict.fromkeys(dropouts, 0)
    if not dropouts:
        return frozenset()

    def count(path: str) -> Callable[[nn.Module, Any], None]:
        def hook(layer: nn.Module, given: Any) -> None:
            calls[path] += 1

        return hook

    for path, layer in dropouts.items():
        layer.register_forward_pre_hook(count(path))
    with repeatable(), UsersCode("the model's forward or backward pass"):
        begin(module, True)
        outputs = module(x.clone())
        forward = dict(calls)
        torch.autograd.backward([leaf.sum() for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.requires_grad])  # fmt: skip
    return frozenset(path for path in dropouts if 1 < forward[path] < calls[path])


def uses_global_rng(module: nn.Module, x: Tensor) -> bool:
    """Whether a forward pass, in training or evaluation mode, uses a global generator: torch's, Python's or NumPy's."""
    with repeatable(), torch.no_grad():
        before = generators()
        for training in (True, False):
            begin(module, training)
            module(x.clone())
        return generators() != before


def hooks_of(module: nn.Module) -> str:
    """Why hooks prevent stacking of lanes: the first layer or parameter with a hook; empty if there is none."""
    for path, layer in module.named_modules():
        if any(getattr(layer, hooks, None) for hooks in HOOKS):
            return f"'{path or type(layer).__name__}' has hooks"
    for name, parameter in module.named_parameters():
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            return f"'{name}' has hooks"
    return ""


def modes_of(module: nn.Module) -> list[bool]:
    """The mode (training or evaluation) of every layer."""
    return [layer.training for layer in module.modules()]


Snapshot = dict[str, tuple[Any, ...]]


def snapshot(module: nn.Module) -> Snapshot:
    """The contents of the layers by path and name, in a form that detects changes and replacements."""
    contents: Snapshot = {}
    for path, layer in module.named_modules():
        prefix = f"{path}." if path else ""
        for name, value in vars(layer).items():
            if name not in OWN and not name.startswith("_ablate"):
                contents[prefix + name] = tuple(_state_of(value))
        for name, parameter in layer._parameters.items():
            if parameter is not None:
                contents[prefix + name] = (
                    parameter,
                    parameter.requires_grad,
                    parameter._version,
                    repr(_sums(parameter)),
                )
        for name, buffer in layer._buffers.items():
            contents[prefix + name] = (buffer,)
    return contents


def _sums(parameter: Tensor) -> list[float]:
    values = parameter.detach()
    return [values.sum().item(), values.abs().sum().item()]


def _state_of(value: Any, depth: int = 3) -> Iterator[Any]:
    """`value`, and its contents if it is a container or an object with attributes."""
    yield value
    if isinstance(value, Tensor):
        yield value._version
    elif isinstance(value, np.ndarray):
        yield value.tobytes()
    elif isinstance(value, torch.Generator):
        yield value.get_state().numpy().tobytes()
    elif isinstance(value, np.random.Generator):
        yield repr(value.bit_generator.state)
    elif isinstance(value, random.Random):
        yield repr(value.getstate())
    elif depth and isinstance(value, CONTAINERS):
        inner = [*value, *value.values()] if isinstance(value, dict) else list(value)
        for one in inner:
            yield from _state_of(one, depth - 1)
    elif (
        depth
        and hasattr(value, "__dict__")
        and not isinstance(value, type | nn.Module)
        and not callable(value)
    ):
        for name, one in vars(value).items():
            yield name
            yield from _state_of(one, depth - 1)


def changed(before: Snapshot, after: Snapshot) -> list[str]:
    """The names of the entries that differ."""
    names = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, ()), after.get(name, ())
        if len(old) != len(new) or not all(map(_same, old, new)):
            names.append(name)
    return names


def _same(old: Any, new: Any) -> bool:
    return old is new or (
        type(old) is type(new) and isinstance(old, int | float | str | bytes | torch.Size) and old == new
    )


def generators() -> tuple[Any, ...]:
    """The states of the global generators."""
    _, words, *rest = np.random.get_state(legacy=True)
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), np.asarray(words).tobytes(), rest
