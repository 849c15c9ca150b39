"""Put the code of a changed source into the functions of a module that is already imported.

Whoever holds a function of the module (a test's `from … import f`, a table of ports, a compiled closure) then runs the changed code, which loading the
module again would not do. Functions keep their identity, globals and closures; code and defaults are exchanged. Classes keep theirs, too.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
from types import FunctionType, ModuleType
from typing import Any


class _Source(importlib.abc.SourceLoader):
    """Runs a text under the name and path of a module."""

    def __init__(self, path: str, text: str) -> None:
        self.path, self.text = path, text

    def get_filename(self, fullname: str) -> str:
        return self.path

    def get_data(self, path: str) -> bytes:
        return self.text.encode()


def transplant(module: ModuleType, text: str) -> None:
    """Exchange the code of every function and method that `module` defines for that in `text`, a whole changed source of it.

    Raises whatever running the changed source raises.
    """
    path = str(module.__file__)
    spec = importlib.util.spec_from_loader(module.__name__, _Source(path, text), origin=path)
    assert spec is not None
    assert spec.loader is not None
    changed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(changed)
    for name, new in vars(changed).items():
        if getattr(new, "__module__", None) == module.__name__:
            _exchange(getattr(module, name), new)


def _exchange(old: Any, new: Any) -> None:
    if isinstance(old, FunctionType):
        if hasattr(old, "__wrapped__"):
            _exchange(old.__wrapped__, new.__wrapped__)
        else:
            old.__code__, old.__defaults__, old.__kwdefaults__ = (
                new.__code__,
                new.__defaults__,
                new.__kwdefaults__,
            )
    elif hasattr(old, "__wrapped__"):  # a function behind functools.cache
        _exchange(old.__wrapped__, new.__wrapped__)
    elif isinstance(old, staticmethod | classmethod):
        _exchange(old.__func__, new.__func__)
    elif isinstance(old, property):
        _exchange(old.fget, new.fget)
    elif isinstance(old, type):
        for name, value in vars(new).items():
            if isinstance(value, FunctionType | staticmethod | classmethod | property):
                _exchange(vars(old)[name], value)
            elif type(value) in (int, float):
                setattr(old, name, value)
