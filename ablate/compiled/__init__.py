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


@cache
def why_not() -> str:
    """Why nothing can be compiled here, in a few words; empty where it can."""
    if find_spec("llvmlite") is None:
        return "llvmlite is not installed (pip install 'ablate[compiled]')"
    from ablate.compiled.machine import multiplies_and_adds

    return "" if multiplies_and_adds() else "the processor has no fused multiply-add"


class _Use:
    on = False


@contextmanager
def compiled_code(on: bool) -> Iterator[None]:
    """Within it layers may (`on`) or may not be run by compiled code. A backward pass does as its forward pass did."""
    before, _Use.on = _Use.on, on
    try:
        yield
    finally:
        _Use.on = before


def is_used() -> bool:
    return _Use.on
