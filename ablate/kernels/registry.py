"""Lowering rules by layer type: how the layers of K lanes run at once.

A rule is keyed by the exact type of a layer, because a subclass may compute something else. There are three kinds, and a layer
needs none of them: without a rule it runs under vmap, which is correct but slower.

| kind | registered with | the layer's parameters and buffers are | used by |
|---|---|---|---|
| stacked | `register_stacked` | the lanes' stacked ones, `[K, …]` | batched, compiled |
| compiled | `register_compiled` | the lanes' stacked ones, when the op is called | compiled |
| vmapped | `register_vmapped` | under vmap | vmap, and layers that batched and compiled have no rule for |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from ablate.kernels.compiled_op import LayerOp
from ablate.surgery.torch_layers import is_hooked

F = TypeVar("F", bound=Callable[..., Any])
Eager = Callable[[Tensor], Tensor]
"""A layer of K lanes by torch's operators."""


def _always(layer: nn.Module, *inputs: Tensor) -> bool:
    return True


@dataclass(frozen=True)
class StackedRule:
    """`run(layer, *inputs)`: inputs `[K, B, …]` -> `[K, B, …]`, each lane rounded as if alone.

    `fits(layer, *inputs)`: whether `run` supports such inputs; otherwise they are vmapped. Depends on one lane's sizes only.
    `tensors_only`: all settings in which lanes of this type may differ are tensors of the layer, so that lanes which
    picked such a branch of a Switch can share a call.
    """

    run: Callable[..., Tensor]
    fits: Callable[..., bool] = _always
    tensors_only: bool = False


CompiledRule = Callable[[Any, Eager], list[LayerOp]]
"""(layer, the layer by torch's operators) -> the layer as a sequence of ops, which compiled code may run."""
VmappedRule = Callable[..., Tensor]
"""(layer, *inputs) -> output, in place of `forward`, on tensors under vmap."""

STACKED: dict[type[nn.Module], StackedRule] = {}
COMPILED: dict[type[nn.Module], CompiledRule] = {}
VMAPPED: dict[type[nn.Module], VmappedRule] = {}


def register_stacked(
    *kinds: type[nn.Module], fits: Callable[..., bool] = _always, tensors_only: bool = False
) -> Callable[[F], F]:
    """Register the decorated function as the stacked rule of these layer types."""

    def register(run: F) -> F:
        STACKED.update(dict.fromkeys(kinds, StackedRule(run, fits, tensors_only)))
        return run

    return register


def register_compiled(*kinds: type[nn.Module]) -> Callable[[F], F]:
    """Register the decorated function as the compiled rule of these layer types."""

    def register(make: F) -> F:
        COMPILED.update(dict.fromkeys(kinds, make))
        return make

    return register


def register_vmapped(*kinds: type[nn.Module]) -> Callable[[F], F]:
    """Register the decorated function as what runs in place of these layers' `forward` under vmap."""

    def register(run: F) -> F:
        VMAPPED.update(dict.fromkeys(kinds, run))
        return run

    return register


def stacked_rule(module: nn.Module) -> StackedRule | None:
    """The rule of a layer's type; None also for a module with hooks, which only a call of the module runs."""
    return None if is_hooked(module) else STACKED.get(type(module))
