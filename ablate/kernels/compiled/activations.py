"""Smooth activations of K lanes and their gradients in one pass over x; no number costs the call of a function.

    sigmoid    σ(x) = 1 / (1 + e⁻ˣ)                            w − w²,  w = σ(−|x|)
    silu       x / (1 + e⁻ˣ)                                   σ + x · (w − w²)
    tanh       ± m / (m + 2),  m = e^2|x| − 1                  4 · (w − w²),  w = σ(−2|x|)
    gelu       x · Φ(x)                                        Φ + x · φ,  φ = e^(−x²/2) / √(2π)
    gelu_tanh  x / (1 + e⁻ᵛ),  v = √(8/π) · (x + 0.044715 x³)   σ(v) + x · v′ · (w − w²),  w = σ(−|v|)

On the right the gradient, of x alone. (gelu, silu: Hendrycks and Gimpel, arXiv:1606.08415; ½ · (1 + tanh(v/2)) is σ(v).) w − w² has
all its digits where σ · (1 − σ) has lost them to what is next to 1.

Exponentials: eˣ = 2ⁿ · eʳ, n = x / ln 2 rounded and r = x − n · ln 2 (Cody and Waite, Software Manual for the Elementary Functions,
1980; with a fused multiply-add one float32 of ln 2 does: what it lacks, times n, stays below 3e-7). eʳ is a polynomial, 2ⁿ the
bits of an exponent. Those of n = 128 are infinity and those of n = −127 are 0: so what is far out ends where it should.

The normal distribution: Φ(−a) = φ(a) · P(a) / Q(a) for a ≥ 0, in the form of Cody (Mathematics of Computation 23, 1969, 631-637).

Coefficients are minimax fits with Lawson's weights, made for this file. As float32 they are off by 1.7e-8 of eʳ (of eʳ − 1 as well:
tanh has its digits near 0) and by 8e-9 in a · Φ(−a), or 6e-6 of it where it is small: no more than what rounding a² does there.

Every operation rounds the same in a vector as alone: a number's bits do not hang on its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from llvmlite import ir

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import I32, Code, Value
from ablate.kernels.compiled.jit import Function, floats

KINDS = ("gelu", "gelu_tanh", "silu", "tanh", "sigmoid")

GROWTH = (1.0, 1.0, 0.49999997, 0.16666543, 0.0416672, 0.008366527, 0.001388252)
"""eʳ for |r| ≤ ½ ln 2, the lowest power first, as below."""
PEAK = 1 / math.sqrt(2 * math.pi)
ABOVE = tuple(number / PEAK for number in (0.5, 0.33079627, 0.10205738, 0.013033106))
BELOW = (1.0, 1.4594765, 0.8686185, 0.2552944, 0.032685872)
"""Φ(−a) / φ(a) for 0 ≤ a ≤ FAR is the first over the second."""
SCALE, BEND = math.sqrt(8 / math.pi), 0.044715

EXPONENT = 1.5 * 2**23 + 127
"""Added to n it leaves n + 127, an exponent's bits, in the lowest places; subtracted again it leaves n."""
LOW, HIGH = -87.0, 89.0
"""Exponents that are a number's: −126 ≤ LOW / ln 2 and 127.5 < HIGH / ln 2 < 128.5, which gives infinity."""
FAR = 13.27
"""Where φ becomes 0: −FAR²/2 is between −126.5 ln 2 and −127.5 ln 2."""
END = 10.07
"""v(END) is between 127.5 ln 2 and 128.5 ln 2."""
ONE = 10.0
"""tanh(ONE) rounds to 1."""


@disk_cached
def curve(kind: str, *, backward: bool) -> Function:
    """(x, y, K, numbers of a lane). Backward: (x, the gradient of y, where that of x goes, K, numbers of a lane)."""
    code = Code(["x", *(["gradient"] if backward else []), "y"], ["lanes", "numbers"])
    of, write, width = code.argument, code.write, floats()
    found = (SLOPES if backward else VALUES)[kind]
    numbers = code.times(of["lanes"], of["numbers"])  # nothing hangs on the lane
    most = code.times(write.sdiv(numbers, code.sum(width)), width)
    for wide, begin, end in ((width, code.sum(0), most), (1, most, numbers)):
        with code.loop(write.sub(end, begin), step=wide) as i:
            place = code.sum(begin, i)
            value = found(code, code.load(of["x"], place, wide))
            if backward:
                value = write.fmul(value, code.load(of["gradient"], place, wide))
            code.store(value, of["y"], place)
    return code.compiled()


# values


def _sigmoid(code: Code, x: Value) -> Value:
    return _logistic(code, code.constant(1, x.type.count), _within(code, x), -1)


def _silu(code: Code, x: Value) -> Value:
    return _logistic(code, x, _within(code, x), -1)


def _tanh(code: Code, x: Value) -> Value:
    write, sign = code.write, _whole(-(2**31), x)
    rest, power = _reduced(code, _size(code, x, ONE), 2)
    # A product, not a sum with 1, keeps all digits near 0.
    more = write.fmul(_polynomial(code, GROWTH[1:], rest, 2), write.fadd(rest, rest))
    m = code.fma(power, more, write.fsub(power, code.constant(1, x.type.count)))
    found = write.fdiv(m, write.fadd(m, code.constant(2, x.type.count)))
    return write.bitcast(write.or_(_bits(code, found), write.and_(_bits(code, x), sign)), x.type)


def _gelu(code: Code, x: Value) -> Value:
    return code.write.fmul(x, _normal(code, x)[0])


def _gelu_tanh(code: Code, x: Value) -> Value:
    v = code.write.fmul(x, _polynomial(code, (SCALE, SCALE * BEND), code.write.fmul(x, x)))
    return _logistic(code, x, _within(code, v), -1)


# gradients


def _sigmoid_slope(code: Code, x: Value) -> Value:
    return _product(code, _beside(code, _size(code, x, HIGH)))


def _tanh_slope(code: Code, x: Value) -> Value:
    quarter = _product(code, _beside(code, _size(code, x, HIGH / 2), 2))
    return code.write.fmul(quarter, code.constant(4, x.type.count))


def _silu_slope(code: Code, x: Value) -> Value:
    w = _beside(code, _size(code, x, HIGH))
    return code.fma(x, _product(code, w), _share(code, x, w))


def _gelu_slope(code: Code, x: Value) -> Value:
    share, density = _normal(code, x)
    return code.fma(x, density, share)


def _gelu_tanh_slope(code: Code, x: Value) -> Value:
    write, size = code.write, _size(code, x, END)  # an infinite v′ times 0 would be no number
    square = write.fmul(size, size)
    w = _beside(code, write.fmul(size, _polynomial(code, (SCALE, SCALE * BEND), square)))
    steep = _polynomial(code, (SCALE, 3 * SCALE * BEND), square)
    return code.fma(write.fmul(x, _product(code, w)), steep, _share(code, x, w))


# what they are made of


def _normal(code: Code, x: Value) -> tuple[Value, Value]:
    """Φ(x) and φ(x)"""
    write, size = code.write, _size(code, x, FAR)
    rest, power = _reduced(code, write.fmul(size, size), -0.5)
    density = write.fmul(power, _polynomial(code, [PEAK * number for number in GROWTH], rest, -0.5))
    above, below = (_polynomial(code, row, size) for row in (ABOVE, BELOW))
    return _share(code, x, write.fmul(density, write.fdiv(above, below))), density


def _logistic(code: Code, above: Value, x: Value, scale: float) -> Value:
    """above / (1 + e^(scale · x)), LOW ≤ scale · x ≤ HIGH"""
    rest, power = _reduced(code, x, scale)
    below = code.fma(power, _polynomial(code, GROWTH, rest, scale), code.constant(1, x.type.count))
    return code.write.fdiv(above, below)


def _beside(code: Code, size: Value, scale: float = 1) -> Value:
    """w = σ(−scale · size), of 0 and 1 beside 0"""
    return _logistic(code, code.constant(1, size.type.count), size, scale)


def _product(code: Code, w: Value) -> Value:
    return code.fma(code.write.fneg(w), w, w)


def _share(code: Code, x: Value, w: Value) -> Value:
    """w where x < 0, elsewhere 1 − w."""
    write, most = code.write, code.write.fsub(code.constant(1, x.type.count), w)
    return write.select(write.icmp_signed("<", _bits(code, x), _whole(0, x)), w, most)


def _reduced(code: Code, x: Value, scale: float) -> tuple[Value, Value]:
    """r / scale and 2ⁿ, of e^(scale · x). A `scale` of ± 2ⁱ costs nothing and rounds nothing: constants take it in."""
    write, wide = code.write, x.type.count
    moved = code.fma(x, code.constant(scale / math.log(2), wide), code.constant(EXPONENT, wide))
    n = write.fsub(moved, code.constant(EXPONENT, wide))
    power = write.bitcast(write.shl(_bits(code, moved), _whole(23, x)), x.type)
    return code.fma(n, code.constant(-math.log(2) / scale, wide), x), power


def _polynomial(code: Code, row: Sequence[float], x: Value, scale: float = 1) -> Value:
    """Σ row[k] · (scale · x)ᵏ, after Horner"""
    *rest, found = (code.constant(number * scale**k, x.type.count) for k, number in enumerate(row))
    for number in reversed(rest):
        found = code.fma(found, x, number)
    return found


def _within(code: Code, x: Value) -> Value:
    """x between −HIGH and −LOW; what is no number stays, here and below."""
    write, least = code.write, code.constant(-HIGH, x.type.count)
    return _at_most(code, write.select(write.fcmp_ordered("<", x, least), least, x), -LOW)


def _size(code: Code, x: Value, high: float) -> Value:
    """|x|, or `high` where it is more."""
    bits = code.write.and_(_bits(code, x), _whole(2**31 - 1, x))
    return _at_most(code, code.write.bitcast(bits, x.type), high)


def _at_most(code: Code, x: Value, high: float) -> Value:
    most = code.constant(high, x.type.count)
    return code.write.select(code.write.fcmp_ordered(">", x, most), most, x)


def _bits(code: Code, x: Value) -> Value:
    return code.write.bitcast(x, ir.VectorType(I32, x.type.count))


def _whole(number: int, like: Value) -> Value:
    return ir.Constant(ir.VectorType(I32, like.type.count), [number] * like.type.count)


VALUES = dict(zip(KINDS, (_gelu, _gelu_tanh, _silu, _tanh, _sigmoid), strict=True))
SLOPES = dict(
    zip(KINDS, (_gelu_slope, _gelu_tanh_slope, _silu_slope, _tanh_slope, _sigmoid_slope), strict=True)
)
