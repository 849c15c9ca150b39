"""Dropout of K lanes in one pass: masks are drawn where they are multiplied, and not kept (the backward pass draws them again).

    y = x · (d ≥ least) · scale,    d: an element's 16 bits, of two windows of random tables combined by exclusive or

Which bits an element gets is `seams.draws.keep_mask`'s matter; what comes out is the same to the last bit.
"""

from __future__ import annotations

from llvmlite import ir

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import I32, I64, Code, Value
from ablate.kernels.compiled.jit import Function, floats

I16 = ir.IntType(16)


@disk_cached
def dropped(starts: int) -> Function:
    """(x, scale `[K]`, y, key int32 `[K]`, least int16 `[K]`, the tables int16, K, numbers of a lane). `starts`: windows of a table, 2^n."""
    code = Code(
        ["x", "scale", "y", "key", "least", "table", "other"],
        ["lanes", "numbers"],
    )
    of, write, width = code.argument, code.write, floats()
    numbers = of["numbers"]

    def whole(pointer: Value, kind: ir.IntType, at: Value) -> Value:
        return write.load(write.gep(pointer, [at], source_etype=kind), typ=kind, align=kind.width // 8)

    def drawn(start: Value, table: Value, at: Value, wide: int) -> Value:
        place = write.gep(table, [code.sum(start, at)], source_etype=I16)
        return write.load(place, typ=ir.VectorType(I16, wide), align=2)

    with code.loop(of["lanes"]) as lane:
        key = write.zext(whole(of["key"], I32, lane), I64)
        first = write.and_(key, code.sum(starts - 1))
        second = write.and_(write.lshr(key, code.sum(16)), code.sum(starts - 1))
        least, base = whole(of["least"], I16, lane), code.times(lane, numbers)
        most = code.times(write.sdiv(numbers, code.sum(width)), width)
        for wide, begin, end in ((width, code.sum(0), most), (1, most, numbers)):
            scale, nothing = code.spread(of["scale"], lane, wide), code.constant(0, wide)
            limit = code.everywhere(least, wide)
            with code.loop(write.sub(end, begin), step=wide) as i:
                at = code.sum(begin, i)
                bits = write.xor(drawn(first, of["table"], at, wide), drawn(second, of["other"], at, wide))
                factor = write.select(write.icmp_signed(">=", bits, limit), scale, nothing)
                x = code.load(of["x"], code.sum(base, at), wide)
                code.store(write.fmul(x, factor), of["y"], code.sum(base, at))
    return code.compiled()
