"""LLVM's code generator for the processor that this process runs on."""

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
    """Machine code. Takes addresses (0: not given), then counts; at `entry` the same code finds all of them in one row of int64.

    `code`: the object file that it was loaded from.
    """

    run: Callable[..., None]
    entry: int
    code: bytes
    pointers: int
    counts: int

    def __call__(self, *arguments: int) -> None:
        self.run(*arguments)


@dataclass(frozen=True)
class Machine:
    """The processor: its code generator, its name and features, and the code made so far, which lives as long as the process."""

    target: Any
    name: str
    features: dict[str, bool]
    made: list[Any] = field(default_factory=list)


@cache
def machine() -> Machine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    target = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3, jit=True
    )
    return Machine(target, llvm.get_host_cpu_name(), dict(features))


def multiplies_and_adds() -> bool:
    """Whether the processor rounds x·y + z once, in one instruction: without it, the code would call a function for each."""
    return bool(machine().features.get("fma")) or platform.machine().lower() in ("aarch64", "arm64")


def floats() -> int:
    """float32 numbers in a vector register; of narrow ones two together."""
    has = machine().features
    return 16 if has.get("avx512f") else 8


def compiled(module: ir.Module, pointers: int, counts: int) -> Function:
    """`module`'s function `run` as machine code, and its `entry`. No passes are run over it: `Code` writes what they would make of it."""
    found = llvm.parse_assembly(str(module))
    found.verify()
    return loaded(machine().target.emit_object(found), pointers, counts)


def loaded(code: bytes, pointers: int, counts: int) -> Function:
    """The functions of an object file that `compiled` has made, here or before."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine().target)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    machine().made.append(engine)
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * pointers, *[ctypes.c_int64] * counts)
    run, entry = (engine.get_function_address(name) for name in ("run", "entry"))
    return Function(kind(run), entry, code, pointers, counts)
