"""Dropout of K lanes in one pass. Masks are not stored: the backward pass draws them again.

    y = x · (d ≥ least) · scale,    d: 16 random bits of the element, the exclusive or of two windows of random tables

The bits are those of `seams.draws.keep_mask`, and so are the results.
"""

from __future__ import annotations

from llvmlite import ir

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import I32, I64, FunctionBuilder, Value
from ablate.kernels.compiled.jit import Function, simd_width

I16 = ir.IntType(16)


@disk_cached
def dropout(starts: int) -> Function:
    """(x, scale `[K]`, y, key int32 `[K]`, least int16 `[K]`, two tables int16, K, elements per lane). `starts`: windows of a table, 2^n."""
    code = FunctionBuilder(
        ["x", "scale", "y", "key", "least", "table", "other"],
        ["lanes", "numbers"],
    )
    args, builder, width = code.args, code.builder, simd_width()
    numbers = args["numbers"]

    def integer(pointer: Value, kind: ir.IntType, at: Value) -> Value:
        return builder.load(builder.gep(pointer, [at], source_etype=kind), typ=kind, align=kind.width // 8)

    def random_bits(start: Value, table: Value, at: Value, wide: int) -> Value:
        address = builder.gep(table, [code.isum(start, at)], source_etype=I16)
        return builder.load(address, typ=ir.VectorType(I16, wide), align=2)

    with code.loop(args["lanes"]) as lane:
        key = builder.zext(integer(args["key"], I32, lane), I64)
        first = builder.and_(key, code.isum(starts - 1))
        second = builder.and_(builder.lshr(key, code.isum(16)), code.isum(starts - 1))
        least, base = integer(args["least"], I16, lane), code.imul(lane, numbers)
        most = code.imul(builder.sdiv(numbers, code.isum(width)), width)
        for wide, begin, end in ((width, code.isum(0), most), (1, most, numbers)):
            scale, nothing = code.load_broadcast(args["scale"], lane, wide), code.constant(0, wide)
            limit = code.broadcast(least, wide)
            with code.loop(builder.sub(end, begin), step=wide) as i:
                at = code.isum(begin, i)
                bits = builder.xor(
                    random_bits(first, args["table"], at, wide), random_bits(second, args["other"], at, wide)
                )
                factor = builder.select(builder.icmp_signed(">=", bits, limit), scale, nothing)
                x = code.load(args["x"], code.isum(base, at), wide)
                code.store(builder.fmul(x, factor), args["y"], code.isum(base, at))
    return code.compile()
