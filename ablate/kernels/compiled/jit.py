"""Just-in-time compilation by LLVM for the processor that this process runs on."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir


@dataclass(frozen=True)
class Function:
    """A compiled function. It takes `pointers` addresses (0: null), then `counts` integers.

    `entry`: the address of a variant that takes all arguments in one row of int64. `code`: the object file it was loaded from.
    """

    run: Callable[..., None]
    entry: int
    code: bytes
    pointers: int
    counts: int

    def __call__(self, *arguments: int) -> None:
        self.run(*arguments)


@dataclass(frozen=True)
class TargetCPU:
    """The processor: LLVM's target machine, its name and features, and the code loaded so far, which is kept for the life of the process."""

    target: Any
    name: str
    features: dict[str, bool]
    engines: list[Any] = field(default_factory=list)


@cache
def target_cpu() -> TargetCPU:
    """The processor of this machine; cached."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    target = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3, jit=True
    )
    return TargetCPU(target, llvm.get_host_cpu_name(), dict(features))


def has_fma() -> bool:
    """Whether the processor has a fused multiply-add instruction; without it, every `fma` would be a function call."""
    return bool(target_cpu().features.get("fma")) or platform.machine().lower() in ("aarch64", "arm64")


def simd_width() -> int:
    """float32 elements that the code processes at a time: an AVX-512 register, or two narrower ones."""
    has = target_cpu().features
    return 16 if has.get("avx512f") else 8


def compile_module(module: ir.Module, pointers: int, counts: int) -> Function:
    """Compile `module`'s functions `run` and `entry`. No optimisation passes are run: the builder already emits vector code."""
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    return load_object(target_cpu().target.emit_object(parsed), pointers, counts)


def load_object(code: bytes, pointers: int, counts: int) -> Function:
    """The functions of an object file that `compile_module` made, in this process or an earlier one."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_cpu().target)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    target_cpu().engines.append(engine)
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * pointers, *[ctypes.c_int64] * counts)
    run, entry = (engine.get_function_address(name) for name in ("run", "entry"))
    return Function(kind(run), entry, code, pointers, counts)
