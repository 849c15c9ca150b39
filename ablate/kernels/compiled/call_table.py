"""Calls of compiled functions, one after another: a list of them costs what one call from Python does.

Functions are called at their `entry`, each with its part of one row of arguments.
"""

from __future__ import annotations

from llvmlite import ir

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import ADDRESS, I64, Code, Value
from ablate.kernels.compiled.jit import Function

ENTRY = ir.FunctionType(ir.VoidType(), [ADDRESS])


@disk_cached
def caller() -> Function:
    """(entries int64 `[N]`, where each one's arguments begin int64 `[N]`, arguments int64, N)."""
    code = Code(["entries", "begins", "arguments"], ["count"])
    of, write = code.argument, code.write

    def whole(name: str, i: Value) -> Value:
        return write.load(write.gep(of[name], [i], source_etype=I64), typ=I64, align=8)

    with code.loop(of["count"]) as i:
        row = write.gep(of["arguments"], [whole("begins", i)], source_etype=I64)
        write.call(_function(code, whole("entries", i)), [row])
    return code.compiled()


def _function(code: Code, address: Value) -> Value:
    """The function at an address. llvmlite takes what has a function's type for one, and knows no pointer to it but this."""
    return code.write.inttoptr(address, ENTRY.as_pointer())
