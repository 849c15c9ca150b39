"""Functions over lanes for which torch has no operator, compiled for this processor while a study runs.

llvmlite (the extra `compiled`), which contains LLVM, generates the machine code: no compiler needs to be installed. `ir_builder` builds a
function in LLVM's intermediate language, `jit` compiles it, `code_cache` caches it on disk; each other file generates one kind of
function. Only the kernel "compiled" uses them, so that the results of the other kernels do not depend on installed packages.

Why not numba: the layers of the digits network in numba 0.68.1 (`@njit(cache=True, fastmath={"contract"})`, plain loops, sizes as compile-time
constants) reached 30 % (3×3 convolution, 1 to 16 channels), 4 % (16 to 16 channels, direct against Winograd here), 43 % (batch norm), 42 %
(linear, 256 to 10) and 8 % (GELU) of this package's throughput. Getting all functions took numba 14.8 and 16.5 s with an empty disk cache
and 0.9 and 1.2 s with a filled one, this package 1.0 and 1.2 s, and 0.25 and 0.29 s. (16 lanes, batch 64, forward and backward; CPU
time on one core of an Intel Xeon with AVX-512; medians of n = 10 rounds in turn, start-up n = 2; details: bench/results/kernels.md.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any


@cache
def unavailable_reason() -> str:
    """Why compilation is unavailable on this machine, in a few words; empty if it is available."""
    if find_spec("llvmlite") is None:
        return "llvmlite is not installed (pip install 'ablate[compiled]')"
    from ablate.kernels.compiled.jit import has_fma

    return "" if has_fma() else "the processor has no fused multiply-add"


class _Active:
    cache: dict[Any, Any] | None = None


@contextmanager
def use_compiled(cache: dict[Any, Any] | None) -> Iterator[None]:
    """Context: layers may run compiled code and cache values derived from the present lanes in `cache`; None: they may not.

    A backward pass uses the setting of its forward pass.
    """
    before, _Active.cache = _Active.cache, cache
    try:
        yield
    finally:
        _Active.cache = before


def op_cache() -> dict[Any, Any] | None:
    """The values derived from the present lanes; None if compiled code is not used."""
    return _Active.cache


def is_enabled() -> bool:
    """Whether layers may run by compiled code in this context."""
    return _Active.cache is not None
