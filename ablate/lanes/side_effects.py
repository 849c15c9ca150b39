"""Side effects of a model's forward pass: state, hooks, random numbers, writes to its input.

Lanes on stacked tensors share one module, and a trace runs Python once: such a model's lanes run one at a time instead, each with
its own module, as in a plain torch loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ablate.kernels.module_state import begin
from ablate.lanes.python_state import Snapshot, changed, outside, state_of, sums
from ablate.surgery.layer_types import CHANNEL_DROPOUTS
from ablate.surgery.torch_layers import HOOKS
from ablate.tasks.user_code import UserCode, draws, repeatable

OWN = frozenset({"_parameters", "_buffers", "_modules", "training", *HOOKS})


@dataclass(frozen=True)
class SideEffects:
    """`solo`: why lanes must run one at a time; empty if they need not. `writes_input`: it changes its input batch.
    `resumable`: all of its state is in parameters and buffers. `outside`: whether it changes what its code refers to outside of it."""

    solo: str
    writes_input: bool
    resumable: bool
    outside: bool = False


def side_effects(module: nn.Module, x: Tensor) -> SideEffects:
    """Run a fresh `module` on `x` `[B, …]`, in training and evaluation mode, and detect what has changed. The module cannot be used afterwards.

    What its code refers to outside of it is looked at in second passes: the first may fill a cache.
    """
    why = hooks_of(module)
    writes = False
    changed_names: list[str] = []
    with repeatable():
        before = snapshot(module)
        for training in (True, False):
            begin(module, training)
            names = changed(before, snapshot(module))
            why = why or (f"{'train' if training else 'eval'}() changes '{names[0]}'" if names else "")
            changed_names += names
            before, modes, inputs = snapshot(module), modes_of(module), x.clone()
            with torch.set_grad_enabled(training):
                module(inputs)
            writes = writes or not torch.equal(inputs, x)
            after = snapshot(module)
            names = changed(before, after)
            why = why or (f"forward changes '{names[0]}'" if names else "")
            why = why or ("" if modes_of(module) == modes else "forward changes the mode of a layer")
            changed_names += names
            before = after
        elsewhere = outside(module)
        run_both_modes(module, x)
        around = changed(elsewhere, outside(module))
        why = why or (f"forward changes {around[0]}" if around else "")
        changed_names += around
    return SideEffects(
        why, writes, set(changed_names) <= {name for name, _ in module.named_buffers()}, bool(around)
    )


def run_both_modes(module: nn.Module, x: Tensor) -> None:
    """A pass of `module` on a copy of `x` in training, and one in evaluation."""
    for training in (True, False):
        begin(module, training)
        with torch.set_grad_enabled(training):
            module(x.clone())


def repeated_in_backward(module: nn.Module, x: Tensor) -> frozenset[str]:
    """Paths of the dropout and attention layers that a fresh `module`, trained on `x` `[B, …]`, calls several times in a forward pass and
    again in the backward pass (activation checkpointing). The module cannot be used afterwards.

    Such a layer must draw from torch's generator, whose state `torch.utils.checkpoint` restores: the index of a call
    does not tell which one is being repeated.
    """
    kinds = (nn.Dropout, *CHANNEL_DROPOUTS, nn.MultiheadAttention)
    dropouts = {path: layer for path, layer in module.named_modules() if type(layer) in kinds}
    calls = dict.fromkeys(dropouts, 0)
    if not dropouts:
        return frozenset()

    def count(path: str) -> Callable[[nn.Module, Any], None]:
        def hook(layer: nn.Module, inputs: Any) -> None:
            calls[path] += 1

        return hook

    for path, layer in dropouts.items():
        layer.register_forward_pre_hook(count(path))
    with repeatable(), UserCode("the model's forward or backward pass"):
        begin(module, True)
        outputs = module(x.clone())
        forward = dict(calls)
        torch.autograd.backward([leaf.sum() for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.requires_grad])  # fmt: skip
    return frozenset(path for path in dropouts if 1 < forward[path] < calls[path])


def uses_global_rng(module: nn.Module, x: Tensor) -> bool:
    """Whether a forward pass, in training or evaluation mode, uses a global generator: torch's, Python's or NumPy's."""
    return draws(lambda: run_both_modes(module, x))


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


def snapshot(module: nn.Module) -> Snapshot:
    """The contents of the layers by path and name, in a form that detects changes and replacements."""
    contents: Snapshot = {}
    for path, layer in module.named_modules():
        prefix = f"{path}." if path else ""
        for name, value in vars(layer).items():
            if name not in OWN and not name.startswith("_ablate"):
                contents[prefix + name] = tuple(state_of(value))
        for hooks in HOOKS:
            contents[prefix + hooks] = tuple(state_of(dict(getattr(layer, hooks))))[1:]
        for name, parameter in layer._parameters.items():
            if parameter is not None:
                contents[prefix + name] = (
                    parameter,
                    parameter.requires_grad,
                    parameter._version,
                    repr(sums(parameter)),
                )
        for name, buffer in layer._buffers.items():
            contents[prefix + name] = (buffer,)
    return contents
