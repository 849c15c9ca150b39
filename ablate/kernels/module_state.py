"""The state of the user's modules that kernels manage: the mode, torch's fused paths, copies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import Error, deepcopy
from typing import Any

import torch
from torch import nn

from ablate.surgery.readers import tensors_of

UNCOPYABLE = (TypeError, NotImplementedError, Error)
"""Exceptions of `deepcopy` for objects that exist once."""


def set_mode(module: nn.Module, training: bool) -> None:
    """Set training or evaluation mode through the methods `train` and `eval` of the user's class; called when the mode changes."""
    if module.__dict__.get("_ablate_mode") is not training:
        begin(module, training)
        module.__dict__["_ablate_mode"] = training


def begin(module: nn.Module, training: bool) -> None:
    """Call what a training loop calls before it trains or evaluates."""
    if training:
        module.train()
    else:
        module.eval()


@contextmanager
def fused_paths(allowed: bool) -> Iterator[None]:
    """Unless `allowed`, disable the fused evaluation pass of torch's attention layers: it reads the weights of their sublayers, and so
    bypasses whatever replaced these."""
    before = torch.backends.mha.get_fastpath_enabled()
    if allowed or not before:
        yield
        return
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def tied(module: nn.Module) -> list[list[str]]:
    """The groups of names under which `module` holds one parameter."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [group for group in names.values() if len(group) > 1]


def tie(module: nn.Module, groups: Iterable[Sequence[str]]) -> None:
    """Tie the parameters of each group of names: all become that of the first name."""
    for first, *others in groups:
        parameter = module.get_parameter(first)
        for name in others:
            owner, _, attribute = name.rpartition(".")
            module.get_submodule(owner)._parameters[attribute] = parameter


def copied(module: nn.Module) -> nn.Module:
    """A copy that shares no tensor with `module`. Tensors of a graph that its layers hold (activations, the weight that
    `weight_norm` has computed) are copied as plain ones; what cannot be copied (a generator, a lock, an open file) is shared."""
    memo: dict[int, Any] = {}
    for layer in module.modules():
        for value in vars(layer).values():
            for tensor in tensors_of(value):
                if not tensor.is_leaf:
                    memo[id(tensor)] = tensor.detach().clone()
    try:
        duplicate = deepcopy(module, dict(memo))
    except UNCOPYABLE:
        for layer in module.modules():
            memo |= {id(value): value for value in vars(layer).values() if not _is_copyable(value, memo)}
        duplicate = deepcopy(module, memo)
    for layer in duplicate.modules():
        layer.__dict__.pop("_ablate_mode", None)
    return duplicate


def _is_copyable(value: Any, memo: dict[int, Any]) -> bool:
    if isinstance(value, nn.Module | dict):  # the layers themselves, and torch's own tables of a layer
        return True
    try:
        deepcopy(value, dict(memo))
    except UNCOPYABLE:
        return False
    return True
