"""State in Python objects: what an attribute holds, and what a model's own code refers to outside of the model.

A schedule object, a closure with a counter, an iterator and a global number change from call to call as buffers do, but no state
dict has them, and those outside of the model are shared by all models.
"""

from __future__ import annotations

import io
import operator
import random
import sys
from collections import deque
from collections.abc import Iterator, MutableMapping, MutableSequence, MutableSet
from functools import partial
from inspect import unwrap
from itertools import chain
from types import BuiltinFunctionType, CodeType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ablate.lanes.write_only import write_only
from ablate.surgery.torch_layers import HOOKS

DEPTH = 3
"""Levels of containers, attributes and closures that are followed."""
CALLS = 3
"""Levels of functions called by functions that are followed."""
LIBRARIES = frozenset({"torch", "numpy", "ablate", "builtins", *sys.stdlib_module_names})
"""Packages whose code is not followed."""
ELSEWHERE = frozenset({"torch", "ablate", "logging", "threading", "io"})
"""Packages whose objects are not looked at, but for torch's tensors and generators."""

UNTOLD = object()
"""Stands for what cannot be looked at."""

Snapshot = dict[str, tuple[Any, ...]]
"""Contents by name, in a form that detects changes and replacements (`changed`)."""


def state_of(value: Any, depth: int = DEPTH) -> Iterator[Any]:
    """`value`, and what it holds: the items of a container, an object's attributes, a function's closure, an iterator's position."""
    yield value
    if isinstance(value, Tensor):
        yield value._version
        yield repr(sums(value))
    elif isinstance(value, np.ndarray):
        yield value.tobytes()
    elif isinstance(value, torch.Generator):
        yield value.get_state().numpy().tobytes()
    elif isinstance(value, np.random.Generator):
        yield repr(value.bit_generator.state)
    elif isinstance(value, np.random.RandomState):
        yield repr(value.get_state())
    elif isinstance(value, random.Random):
        yield repr(value.getstate())
    elif isinstance(value, Iterator) and not hasattr(value, "__dict__"):
        yield None if isinstance(value, io.IOBase) else _position(value)
    elif depth and not isinstance(value, type | nn.Module | ModuleType | BuiltinFunctionType):
        for name, one in _parts(value):
            yield name
            yield from state_of(one, depth - 1)


def sums(tensor: Tensor) -> list[float]:
    """The sum of a tensor's elements and of their absolute values: a write to `.data` does not show in its version."""
    values = tensor.detach()
    if values.layout != torch.strided or values.is_meta or values.is_quantized:
        return []
    values = values if values.is_complex() else values.double()  # booleans and bytes have no absolute value
    return [float(values.sum().abs()), float(values.abs().sum())]


def changed(before: Snapshot, after: Snapshot, *, possibly: bool = True) -> list[str]:
    """The names of the entries that differ; `possibly`: those too of which that cannot be told."""
    names = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, ()), after.get(name, ())
        untold = possibly and any(value is UNTOLD for value in new)
        if untold or len(old) != len(new) or not all(map(_same, old, new)):
            names.append(name)
    return names


def _same(old: Any, new: Any) -> bool:
    plain = int | float | complex | str | bytes | torch.Size
    return old is new or (type(old) is type(new) and isinstance(old, plain) and old == new)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a container, a function or an object, by name."""
    if isinstance(value, dict):
        for number, (key, one) in enumerate(value.items()):
            yield f"key {number}", key
            yield f"value {number}", one
    elif isinstance(value, list | tuple | set | frozenset | deque):
        yield from ((str(number), one) for number, one in enumerate(value))
    elif isinstance(value, partial):
        yield from (("function", value.func), ("arguments", value.args), ("keywords", value.keywords))
    elif isinstance(value, MethodType):
        yield "object", value.__self__
        yield "function", value.__func__
    elif isinstance(value, FunctionType):
        yield from _closure(value)
    if isinstance(value, bytearray):
        yield "bytes", bytes(value)
    yield from getattr(value, "__dict__", {}).items()
    for kind in type(value).__mro__:
        own = vars(kind).get("__slots__", ())
        for name in (own,) if isinstance(own, str) else own:
            if name != "__dict__" and hasattr(value, name):
                yield name, getattr(value, name)


def _closure(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # an empty cell
            continue


def _position(iterator: Iterator[Any]) -> object:
    """The position of an iterator."""
    if isinstance(iterator, GeneratorType):
        frame = iterator.gi_frame
        return None if frame is None else f"{frame.f_lasti} {frame.f_locals!r}"
    if hasattr(iterator, "__length_hint__"):
        return operator.length_hint(iterator)
    return repr(iterator) if type(iterator).__name__ in ("count", "repeat") else UNTOLD


def outside(module: nn.Module, *, logs: bool = True) -> Snapshot:
    """What the methods and hooks of the user's layers refer to outside of `module`: globals, closures, attributes of classes.

    `logs`: with containers that a function adds to and never reads.
    """
    return _Outside(module, logs).contents


class _Outside:
    """The walk of `outside` through the user's classes and functions."""

    def __init__(self, module: nn.Module, logs: bool) -> None:
        self.logs = logs
        self.contents: Snapshot = {}
        self.seen: set[int] = {id(layer) for layer in module.modules()}
        for layer in module.modules():
            for kind in type(layer).__mro__:
                self._class(kind, CALLS)
            for hook in chain.from_iterable(getattr(layer, hooks).values() for hooks in HOOKS):
                self._value("a hook", hook, (), CALLS)
            for value in vars(layer).values():
                if isinstance(value, FunctionType | MethodType):
                    self._value("a function", value, (), CALLS)
                elif callable(value):
                    self._class(type(value), CALLS)

    def _first(self, value: Any) -> bool:
        new = id(value) not in self.seen
        self.seen.add(id(value))
        return new

    def _class(self, kind: type, depth: int) -> None:
        if not _users(kind) or not self._first(kind):
            return
        for name, value in vars(kind).items():
            code = value.__func__ if isinstance(value, staticmethod | classmethod) else value
            code = code.fget if isinstance(code, property) else code
            if isinstance(code, FunctionType | type):
                self._value(name, code, (), depth)
            elif not name.startswith("__"):
                self.contents[f"'{name}' of {kind.__qualname__}"] = tuple(state_of(value))

    def _function(self, function: FunctionType, depth: int) -> None:
        function = unwrap(function)
        if not depth or not _users(function) or not self._first(function):
            return
        names, place = _names(function.__code__), f" in {function.__qualname__}"
        referred = {name: function.__globals__[name] for name in names if name in function.__globals__}
        referred |= dict(_closure(function))
        passed_over = frozenset() if self.logs else write_only(function)
        for name, value in referred.items():
            if name not in passed_over or not isinstance(
                value, MutableSequence | MutableSet | MutableMapping
            ):
                self._value(f"'{name}'{place}", value, names, depth - 1)

    def _value(self, name: str, value: Any, names: tuple[str, ...], depth: int) -> None:
        """`names`: those in the code that refers to `value`."""
        if isinstance(value, MethodType):
            self._value(name, value.__func__, names, depth)
            value = value.__self__
        if isinstance(value, FunctionType):
            self._function(value, depth)
        elif isinstance(value, type):
            self._class(value, depth)
        elif isinstance(value, ModuleType):
            if _users(value):
                for own in names:
                    if own in vars(value):
                        self._value(f"'{own}' of {name}", vars(value)[own], names, depth)
        elif isinstance(value, nn.Module):
            if self._first(value):
                tensors = {**dict(value.named_parameters()), **dict(value.named_buffers())}
                self.contents[name] = tuple(state_of(tensors, 1))[1:]  # but for the mapping itself
        elif not _is_elsewhere(value):
            self.contents[name] = tuple(state_of(value))
            self._class(type(value), depth)


def _names(code: CodeType) -> tuple[str, ...]:
    """The names that code refers to, those of functions within it included."""
    inner = (_names(one) for one in code.co_consts if isinstance(one, CodeType))
    return tuple(dict.fromkeys(chain(code.co_names, *inner)))


def _users(code: Any) -> bool:
    """Whether a class, a function or a module is not a library's."""
    name = code.__name__ if isinstance(code, ModuleType) else getattr(code, "__module__", None) or ""
    return name.partition(".")[0] not in LIBRARIES


def _is_elsewhere(value: Any) -> bool:
    """Whether an object's state is none of the model's: loggers, files, the global generators (which are seeded)."""
    if isinstance(value, Tensor | torch.Generator | random.Random):
        return value is torch.default_generator or value is random.choice.__self__  # type: ignore[attr-defined]
    return type(value).__module__.partition(".")[0] in ELSEWHERE
