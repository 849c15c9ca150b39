"""Rectifiers of K lanes in one pass: y = x where x > 0, elsewhere slope · x, each lane with a slope of its own.

Slope 0 is ReLU, 1 the identity; a lane whose slope is no number is left out.
"""

from __future__ import annotations

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import F32, Code, Value
from ablate.kernels.compiled.jit import Function, floats


@disk_cached
def rectified(*, backward: bool) -> Function:
    """(x, slope `[K]`, y, K, numbers of a lane). Backward also, before y, the gradient of y, and its own goes to y."""
    code = Code(["x", "slope", *(["gradient"] if backward else []), "y"], ["lanes", "numbers"])
    of, write, width = code.argument, code.write, floats()
    numbers = of["numbers"]
    most = code.times(write.sdiv(numbers, code.sum(width)), width)
    with code.loop(of["lanes"]) as lane:
        own = write.load(code.at(of["slope"], lane), typ=F32, align=4)
        with write.if_then(write.fcmp_ordered("==", own, own)):
            base = code.times(lane, numbers)
            for wide, begin, end in ((width, code.sum(0), most), (1, most, numbers)):
                slope, zero = code.everywhere(own, wide), code.constant(0, wide)
                cut = write.fcmp_ordered("==", slope, zero)

                def value(at: Value, wide: int = wide, slope: Value = slope, zero: Value = zero, cut: Value = cut) -> Value:  # fmt: skip
                    x = code.load(of["x"], at, wide)
                    through = code.load(of["gradient"], at, wide) if backward else x
                    low = write.select(cut, zero, write.fmul(through, slope))
                    # What is no number has torch's gradient: ReLU's is 1 there, that of others the slope.
                    is_low = write.select(
                        cut, write.fcmp_ordered("<=", x, zero), write.fcmp_unordered("<=", x, zero)
                    )
                    return write.select(is_low, low, through)

                with code.loop(write.sub(end, begin), step=wide) as i:
                    place = code.sum(base, begin, i)
                    code.store(value(place), of["y"], place)
    return code.compiled()
