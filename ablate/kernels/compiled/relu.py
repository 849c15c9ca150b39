"""(Leaky) ReLU of K lanes in one pass: y = x where x > 0, elsewhere slope · x, each lane with its own slope.

Slope 0 is ReLU, 1 the identity; lanes whose slope is NaN are skipped.
"""

from __future__ import annotations

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import F32, FunctionBuilder, Value
from ablate.kernels.compiled.jit import Function, simd_width


@disk_cached
def leaky_relu(*, backward: bool) -> Function:
    """(x, slope `[K]`, y, K, elements per lane); backward (x, slope, grad_y, grad_x, K, elements per lane)."""
    code = FunctionBuilder(["x", "slope", *(["grad_y"] if backward else []), "y"], ["lanes", "numbers"])
    args, builder, width = code.args, code.builder, simd_width()
    numbers = args["numbers"]
    most = code.imul(builder.sdiv(numbers, code.isum(width)), width)
    with code.loop(args["lanes"]) as lane:
        slope_of_lane = builder.load(code.ptr(args["slope"], lane), typ=F32, align=4)
        with builder.if_then(builder.fcmp_ordered("==", slope_of_lane, slope_of_lane)):
            base = code.imul(lane, numbers)
            for wide, begin, end in ((width, code.isum(0), most), (1, most, numbers)):
                slope, zero = code.broadcast(slope_of_lane, wide), code.constant(0, wide)
                cut = builder.fcmp_ordered("==", slope, zero)

                def value(at: Value, wide: int = wide, slope: Value = slope, zero: Value = zero, cut: Value = cut) -> Value:  # fmt: skip
                    x = code.load(args["x"], at, wide)
                    through = code.load(args["grad_y"], at, wide) if backward else x
                    low = builder.select(cut, zero, builder.fmul(through, slope))
                    # At NaN torch's ReLU has derivative 1, and leaky ReLU the slope.
                    is_low = builder.select(
                        cut, builder.fcmp_ordered("<=", x, zero), builder.fcmp_unordered("<=", x, zero)
                    )
                    return builder.select(is_low, low, through)

                with code.loop(builder.sub(end, begin), step=wide) as i:
                    offset = code.isum(base, begin, i)
                    code.store(value(offset), args["y"], offset)
    return code.compile()
