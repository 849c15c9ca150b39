"""Values that the user's functions and objects hold, which no source text shows: arguments of a `partial`, closures, defaults, globals that a file was
read into, attributes of objects and layers."""

from __future__ import annotations

import copy
import dis
import inspect
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import suppress
from enum import Enum
from functools import partial
from hashlib import sha256
from pathlib import PurePath
from types import CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ablate.tasks.custom_metrics import is_torchmetric
from ablate.tasks.syntax import is_users

LARGE = 1 << 26
"""Bytes. A larger tensor or array is compared by its shape and type: it is data, which has a hash of its own."""
PLAIN = (type(None), bool, int, float, complex, str, bytes, range, torch.dtype, torch.device)
DEEPEST = 100
"""Steps from one value into the next."""
OWN_OF_MODULES = frozenset(vars(nn.Module()))
"""Attributes that every layer has."""


class HeldValues:
    """What `add` was given, as sorted text.

    callables: the functions and classes on the way, whose code counts. exact: floating-point tensors count by their values; if False by their
    shape, since what a layer computes when it is made differs in the last bits from one processor to another.
    """

    def __init__(self, *, exact: bool = True) -> None:
        self.exact = exact
        self.callables: list[Any] = []
        self._lines: list[str] = []
        self._seen: dict[int, Any] = {}  # keeps the objects: the id of one that is gone is given to another

    @property
    def lines(self) -> list[str]:
        """`where=value`, sorted."""
        return sorted(self._lines)

    def add(self, where: str, value: Any, depth: int = 0) -> None:
        """Note `value`, and what it holds, down to `DEEPEST` steps. where: the way to it."""
        if isinstance(value, PLAIN):
            self._lines.append(f"{where}={value!r}")
        elif isinstance(value, Enum | PurePath):  # a folder may be moved
            self._lines.append(f"{where}={value.name}")
        elif isinstance(value, Tensor):
            self._lines.append(f"{where}={self._tensor(value)}")
        elif isinstance(value, np.ndarray | np.generic):
            self._lines.append(f"{where}={_array(np.asarray(value))}")
        elif id(value) not in self._seen and depth < DEEPEST:
            self._seen[id(value)] = value
            for name, held in self._held(where, value):
                self.add(f"{where}.{name}", held, depth + 1)

    def _held(self, where: str, value: Any) -> Iterator[tuple[str, Any]]:
        """Notes what `value` is. Yields its parts by name."""
        if isinstance(value, partial):
            yield from {"function": value.func, "arguments": value.args, "keywords": value.keywords}.items()
        elif isinstance(value, MethodType):
            yield from {"function": value.__func__, "self": value.__self__}.items()
        elif isinstance(value, Mapping) and value is not os.environ:
            yield from ((_key(key), held) for key, held in value.items())
        elif isinstance(value, list | tuple):
            yield from ((str(place), held) for place, held in enumerate(value))
        elif isinstance(value, set | frozenset):
            self._lines.append(f"{where}={sorted(map(_key, value))}")
        elif isinstance(value, SimpleNamespace | Namespace):
            yield from vars(value).items()
        elif isinstance(value, FunctionType) or inspect.isclass(value):
            if not is_users(value):
                self._lines.append(f"{where}={value.__module__}.{value.__qualname__}")
            else:  # its module is named by the folder it stands in
                self._lines.append(f"{where}={value.__qualname__}")
                self.callables.append(value)
                yield from _of_function(value) if isinstance(value, FunctionType) else _of_class(value)
        elif isinstance(value, property | staticmethod | classmethod):
            yield "function", value.fget if isinstance(value, property) else value.__func__
        else:
            yield "class", type(value)
            value = _reset(value) if is_torchmetric(value) else value
            if isinstance(value, nn.Module):
                yield from value.state_dict().items()
                yield from layer_attributes(value)
            elif is_users(type(value)):
                yield from getattr(value, "__dict__", {}).items()
        if not inspect.isclass(value) and (wrapped := getattr(value, "__dict__", {}).get("__wrapped__")):
            yield "wrapped", wrapped  # of a decorator of a library, such as torch.no_grad or lru_cache

    def _tensor(self, value: Tensor) -> str:
        if is_lazy(value) or value.is_nested:
            return type(value).__qualname__
        form = f"{list(value.shape)} {value.dtype} {value.layout}"
        if value.layout != torch.strided or value.is_meta or value.is_quantized:
            return form
        if not self.exact and (value.is_floating_point() or value.is_complex()):
            return f"{form} {value.item():.6g}" if value.numel() == 1 else form
        if value.numel() * value.element_size() > LARGE:
            return form
        plain = value.detach().resolve_conj().resolve_neg().cpu().contiguous().flatten()
        return f"{form} {sha256(plain.view(torch.uint8).numpy().tobytes()).hexdigest()}"


def layer_attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Attributes of its layers, by name: all that a layer of the user sets itself, and the public ones of a library's."""
    for name, layer in module.named_modules():
        for key, value in vars(layer).items():
            if key not in OWN_OF_MODULES and (not key.startswith("_") or is_users(type(layer))):
                yield f"{name}.{key}", value


def _of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function of the user holds: defaults, its closure, and the globals that it names, modules apart."""
    yield "defaults", function.__defaults__
    yield "keywords", function.__kwdefaults__
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # not filled yet
            yield name, cell.cell_contents
    for name in sorted(_globals_named(function.__code__) & function.__globals__.keys()):
        if not isinstance(value := function.__globals__[name], ModuleType):
            yield name, value


def _of_class(kind: type) -> Iterator[tuple[str, Any]]:
    """What a class of the user holds: its bases, methods and other attributes, Python's own apart."""
    yield "bases", kind.__bases__
    for name, value in vars(kind).items():
        if isinstance(value, FunctionType | property | staticmethod | classmethod) or not name.startswith(
            "__"
        ):
            yield name, value


def _globals_named(code: CodeType) -> set[str]:
    """The names of globals in a function and in those within it."""
    own = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*(_globals_named(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def _reset(metric: Any) -> Any:
    """A copy of a torchmetrics object, without what it has seen."""
    fresh = copy.deepcopy(metric)
    fresh.reset()
    return fresh


def _array(value: np.ndarray[Any, Any]) -> str:
    form = f"{list(value.shape)} {value.dtype}"
    if value.dtype.hasobject or value.nbytes > LARGE:
        return form
    return f"{form} {sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"


def _key(value: Any) -> str:
    return repr(value) if isinstance(value, PLAIN) else type(value).__qualname__
