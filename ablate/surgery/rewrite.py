"""Rewrite the `forward` of a block from its trace (torch.fx, every submodule a leaf). The block keeps its class (as a base), its submodules and their names."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from inspect import getattr_static
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, fx, nn

from ablate.surgery.torch_layers import is_hooked

GATE, DROPPED, FUNCTION, DROPOUT = "residual_", "dropped_branch_", "activation_function_", "dropout_function_"
"""Beginnings of the names of the layers that surgery adds to a block whose `forward` it rewrites."""
UNTRACEABLE = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RuntimeError, TypeError, ValueError)  # fmt: skip
"""What a `forward` may raise when it is called with an fx proxy: fx's TraceError is a ValueError."""


_APPLY = getattr_static(torch.autograd.Function, "apply").__func__.__code__


class StrictTracer(fx.Tracer):
    """Every submodule is a leaf. Raises TypeError for what a graph would lose: `torch.no_grad` and autocast, the backward pass of an autograd
    function, and a layer that is called with other tensors than its own (`torch.func.functional_call`)."""

    def trace(self, root: nn.Module, concrete_args: dict[str, Any] | None = None) -> fx.Graph:  # type: ignore[override]
        """The graph of `root`; the modes and tensors of now are those that it may be traced with."""
        self._modes = _modes()
        self._tensors = {layer: _tensors_of(layer) for layer in root.modules()}
        return super().trace(root, concrete_args)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Every submodule is."""
        return True

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A node for the call of a submodule, if that holds its own tensors."""
        if any(_tensors_of(layer) != self._tensors.get(layer) for layer in m.modules()):
            raise TypeError("a trace does not record a call with other tensors")
        return super().call_module(m, forward, args, kwargs)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """A node, if it is reached as the graph would run it."""
        if _modes() != self._modes:
            raise TypeError("a trace does not record torch.no_grad or autocast")
        if _in_custom_function():
            raise TypeError("a trace does not record the backward pass of an autograd function")
        return super().create_node(*args, **kwargs)


def _modes() -> tuple[bool, ...]:
    return torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")


def _tensors_of(layer: nn.Module) -> dict[str, int]:
    tables = (layer._parameters, layer._buffers)
    return {name: id(tensor) for table in tables for name, tensor in table.items()}


def _in_custom_function() -> bool:
    """Whether the caller runs within an `autograd.Function`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is _APPLY:
            return True
        frame = frame.f_back
    return False


def calls_any(block: nn.Module, functions: Collection[str]) -> bool:
    """Whether a method that is not torch's, of the class of `block`, names one of `functions`: if not, it need not be traced for them."""
    own = (kind for kind in type(block).__mro__ if not kind.__module__.startswith("torch."))
    codes = (getattr(method, "__code__", None) for kind in own for method in vars(kind).values())
    return any(not set(functions).isdisjoint(_names_in(code)) for code in codes if code is not None)


def _names_in(code: CodeType) -> Iterator[str]:
    """The names that a code object and the functions within it use."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def graph_of(
    block: nn.Module, ignored: Callable[..., None] = lambda graph, *, training: None
) -> fx.Graph | None:
    """What `forward` does, the same in training and evaluation. None if tracing fails, or if `forward` changes the block or its tensors.

    `ignored(graph, training=…)` takes out of the trace of one mode what may differ between them.
    """
    if type(block).__module__.startswith("torch.") or is_hooked(block):
        return None
    mode, codes, graph = block.training, set(), None
    with _untouched(block) as changed:
        try:
            for training in (True, False):
                block.training = training
                graph = StrictTracer().trace(block)
                ignored(graph, training=training)
                codes.add(graph.python_code("self").src)
        except UNTRACEABLE:
            return None
        finally:
            block.training = mode
        if changed():
            return None
    return graph if len(codes) == 1 else None


@contextmanager
def _untouched(block: nn.Module) -> Iterator[Callable[[], bool]]:
    """Context: `block` holds copies of its tensors, and has its own and its attributes back afterwards, as have the random generators. Gives whether any of
    these changed."""
    layers = list(block.modules())
    attributes = [(vars(layer), dict(vars(layer))) for layer in layers]
    tables = [(table, dict(table)) for layer in layers for table in (layer._parameters, layer._buffers)]
    copies: dict[int, Tensor] = {}
    for table, own in tables:
        for name, tensor in own.items():
            if tensor is not None:
                table[name] = copies.setdefault(id(tensor), _copy(tensor))  # type: ignore[assignment]
    versions = [copy._version for copy in copies.values()]
    draws = random.getstate(), torch.get_rng_state()

    def changed() -> bool:
        return (
            random.getstate() != draws[0]
            or not torch.equal(torch.get_rng_state(), draws[1])
            or [copy._version for copy in copies.values()] != versions
            or any(_differ(now, before) for now, before in attributes)
            or any(
                table.keys() != own.keys()
                or any(
                    tensor is not None and table[name] is not copies[id(tensor)]
                    for name, tensor in own.items()
                )
                for table, own in tables
            )
        )

    try:
        yield changed
    finally:
        for now, before in (*attributes, *tables):
            now.clear()
            now.update(before)
        random.setstate(draws[0])
        torch.set_rng_state(draws[1])


def _copy(tensor: Tensor) -> Tensor:
    copy = tensor.detach().clone()
    return nn.Parameter(copy, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy


def _differ(now: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    return now.keys() != before.keys() or any(now[name] is not value for name, value in before.items())


def set_forward(block: nn.Module, graph: fx.Graph, layers: Mapping[str, nn.Module]) -> None:
    """Add `layers` to `block` and replace its `forward` by `graph`."""
    holder = nn.Module()
    holder.__dict__.update({**vars(block), "_modules": {**block._modules, **layers}})
    written = type(fx.GraphModule(holder, graph)).forward
    block._modules.update(layers)
    block.__class__ = type(type(block).__name__, (type(block),), {"forward": written})
