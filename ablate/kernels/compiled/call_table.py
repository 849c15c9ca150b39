"""Calls a list of compiled functions, each at its `entry` with its part of one argument table, at the cost of one call from Python."""

from __future__ import annotations

from llvmlite import ir

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import ADDRESS, I64, FunctionBuilder, Value
from ablate.kernels.compiled.jit import Function

ENTRY = ir.FunctionType(ir.VoidType(), [ADDRESS])


@disk_cached
def caller() -> Function:
    """(entries int64 `[N]`, index of each one's first argument int64 `[N]`, arguments int64, N)."""
    code = FunctionBuilder(["entries", "starts", "arguments"], ["count"])
    args, builder = code.args, code.builder

    def integer(name: str, i: Value) -> Value:
        return builder.load(builder.gep(args[name], [i], source_etype=I64), typ=I64, align=8)

    with code.loop(args["count"]) as i:
        row = builder.gep(args["arguments"], [integer("starts", i)], source_etype=I64)
        builder.call(_function(code, integer("entries", i)), [row])
    return code.compile()


def _function(code: FunctionBuilder, address: Value) -> Value:
    """The function at an address. llvmlite calls only values of a function pointer type."""
    return code.builder.inttoptr(address, ENTRY.as_pointer())
