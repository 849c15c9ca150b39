"""Loops over lanes that torch has no operation for, compiled for the processor at hand.

The extra `compiled` (llvmlite, which brings LLVM) makes machine code of them while a study runs: no compiler is needed on the
machine. `Code` writes a function, `machine` compiles it, one file each says what is computed. The kernel "compiled" uses
them; the other kernels never do, so that what they give does not hang on what is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any


@cache
def why_not() -> str:
    """Why nothing can be compiled here, in a few words; empty where it can."""
    if find_spec("llvmlite") is None:
        return "llvmlite is not installed (pip install 'ablate[compiled]')"
    from ablate.kernels.compiled.jit import multiplies_and_adds

    return "" if multiplies_and_adds() else "the processor has no fused multiply-add"


class _Use:
    known: dict[Any, Any] | None = None


@contextmanager
def compiled_code(known: dict[Any, Any] | None) -> Iterator[None]:
    """Within it layers may be run by compiled code, and keep in `known` what they work out for the lanes at hand; None: they may not.

    A backward pass does as its forward pass did."""
    before, _Use.known = _Use.known, known
    try:
        yield
    finally:
        _Use.known = before


def known() -> dict[Any, Any] | None:
    """What is known of the lanes at hand; None where compiled code is not used."""
    return _Use.known


def is_used() -> bool:
    return _Use.known is not None
