"""Values derived from a module, cached in the module."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)


def cached(module: M, name: str, make: Callable[[M], T]) -> T:
    """`make(module)`, computed once. A deep copy of the module holds a deep copy of it."""
    key = f"_ablate_{name}"
    if key not in module.__dict__:
        module.__dict__[key] = make(module)
    value: T = module.__dict__[key]
    return value
