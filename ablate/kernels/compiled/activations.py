"""Smooth activations of K lanes and their derivatives, vectorised, in one pass over x and without calls of a math library.

    sigmoid    σ(x) = 1 / (1 + e⁻ˣ)                            w − w²,  w = σ(−|x|)
    silu       x / (1 + e⁻ˣ)                                   σ + x · (w − w²)
    tanh       ± m / (m + 2),  m = e^2|x| − 1                  4 · (w − w²),  w = σ(−2|x|)
    gelu       x · Φ(x)                                        Φ + x · φ,  φ = e^(−x²/2) / √(2π)
    gelu_tanh  x / (1 + e⁻ᵛ),  v = √(8/π) · (x + 0.044715 x³)   σ(v) + x · v′ · (w − w²),  w = σ(−|v|)

The right column is the derivative. (gelu, silu: Hendrycks and Gimpel, arXiv:1606.08415; ½ · (1 + tanh(v/2)) is σ(v).) w − w² is
accurate where σ · (1 − σ) suffers cancellation.

Exponentials: eˣ = 2ⁿ · eʳ, n = x / ln 2 rounded and r = x − n · ln 2 (Cody and Waite, Software Manual for the Elementary Functions,
1980; with a fused multiply-add a single float32 of ln 2 suffices: its error times n stays below 3e-7). eʳ is a polynomial, 2ⁿ is
made of exponent bits. n = 128 gives infinity and n = −127 gives 0, so that the limits come out right.

The normal distribution: Φ(−a) = φ(a) · P(a) / Q(a) for a ≥ 0, in the form of Cody (Mathematics of Computation 23, 1969, 631-637).

Coefficients are minimax fits by Lawson's algorithm, computed for this file. As float32 their relative error is 1.7e-8 for eʳ (and for
eʳ − 1, which tanh needs near 0); for a · Φ(−a) the absolute error is 8e-9, and the relative one at most 6e-6 where it is small, no more
than what rounding a² causes there.

Every operation rounds the same in vectors and scalars: an element's bits do not depend on its position.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from llvmlite import ir

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import I32, FunctionBuilder, Value
from ablate.kernels.compiled.jit import Function, simd_width

KINDS = ("gelu", "gelu_tanh", "silu", "tanh", "sigmoid")

EXP_COEFFICIENTS = (1.0, 1.0, 0.49999997, 0.16666543, 0.0416672, 0.008366527, 0.001388252)
"""eʳ for |r| ≤ ½ ln 2, lowest power first, as below."""
DENSITY_AT_0 = 1 / math.sqrt(2 * math.pi)
NUMERATOR = tuple(number / DENSITY_AT_0 for number in (0.5, 0.33079627, 0.10205738, 0.013033106))
DENOMINATOR = (1.0, 1.4594765, 0.8686185, 0.2552944, 0.032685872)
"""Φ(−a) / φ(a) for 0 ≤ a ≤ DENSITY_CUTOFF is NUMERATOR / DENOMINATOR."""
GELU_SCALE, GELU_CUBIC = math.sqrt(8 / math.pi), 0.044715

EXPONENT_BIAS = 1.5 * 2**23 + 127
"""Adding it to n leaves n + 127, the exponent's bits, in the lowest bits; subtracting it again leaves n."""
LOW, HIGH = -87.0, 89.0
"""Range of finite exponentials: −126 ≤ LOW / ln 2 and 127.5 < HIGH / ln 2 < 128.5, which gives infinity."""
DENSITY_CUTOFF = 13.27
"""Where φ becomes 0: −FAR²/2 is between −126.5 ln 2 and −127.5 ln 2."""
GELU_CUTOFF = 10.07
"""v(GELU_CUTOFF) is between 127.5 ln 2 and 128.5 ln 2."""
TANH_CUTOFF = 10.0
"""tanh(TANH_CUTOFF) rounds to 1."""


@disk_cached
def activation(kind: str, *, backward: bool) -> Function:
    """(x, y, K, elements per lane). Backward: (x, grad_y, grad_x, K, elements per lane)."""
    code = FunctionBuilder(["x", *(["grad_y"] if backward else []), "y"], ["lanes", "numbers"])
    args, builder, width = code.args, code.builder, simd_width()
    result = (DERIVATIVES if backward else VALUES)[kind]
    numbers = code.imul(args["lanes"], args["numbers"])  # all lanes are computed alike
    most = code.imul(builder.sdiv(numbers, code.isum(width)), width)
    for wide, begin, end in ((width, code.isum(0), most), (1, most, numbers)):
        with code.loop(builder.sub(end, begin), step=wide) as i:
            offset = code.isum(begin, i)
            value = result(code, code.load(args["x"], offset, wide))
            if backward:
                value = builder.fmul(value, code.load(args["grad_y"], offset, wide))
            code.store(value, args["y"], offset)
    return code.compile()


# values


def _sigmoid(code: FunctionBuilder, x: Value) -> Value:
    return _logistic(code, code.constant(1, x.type.count), _clamped(code, x), -1)


def _silu(code: FunctionBuilder, x: Value) -> Value:
    return _logistic(code, x, _clamped(code, x), -1)


def _tanh(code: FunctionBuilder, x: Value) -> Value:
    builder, sign = code.builder, _int_constant(-(2**31), x)
    rest, power = _range_reduced(code, _abs_clamped(code, x, TANH_CUTOFF), 2)
    # A product, not a sum with 1, keeps all digits near 0.
    more = builder.fmul(_polynomial(code, EXP_COEFFICIENTS[1:], rest, 2), builder.fadd(rest, rest))
    m = code.fma(power, more, builder.fsub(power, code.constant(1, x.type.count)))
    result = builder.fdiv(m, builder.fadd(m, code.constant(2, x.type.count)))
    return builder.bitcast(builder.or_(_as_int(code, result), builder.and_(_as_int(code, x), sign)), x.type)


def _gelu(code: FunctionBuilder, x: Value) -> Value:
    return code.builder.fmul(x, _cdf_and_density(code, x)[0])


def _gelu_tanh(code: FunctionBuilder, x: Value) -> Value:
    v = code.builder.fmul(
        x, _polynomial(code, (GELU_SCALE, GELU_SCALE * GELU_CUBIC), code.builder.fmul(x, x))
    )
    return _logistic(code, x, _clamped(code, v), -1)


# gradients


def _sigmoid_derivative(code: FunctionBuilder, x: Value) -> Value:
    return _w_minus_square(code, _small_sigmoid(code, _abs_clamped(code, x, HIGH)))


def _tanh_derivative(code: FunctionBuilder, x: Value) -> Value:
    quarter = _w_minus_square(code, _small_sigmoid(code, _abs_clamped(code, x, HIGH / 2), 2))
    return code.builder.fmul(quarter, code.constant(4, x.type.count))


def _silu_derivative(code: FunctionBuilder, x: Value) -> Value:
    w = _small_sigmoid(code, _abs_clamped(code, x, HIGH))
    return code.fma(x, _w_minus_square(code, w), _one_sided(code, x, w))


def _gelu_derivative(code: FunctionBuilder, x: Value) -> Value:
    share, density = _cdf_and_density(code, x)
    return code.fma(x, density, share)


def _gelu_tanh_derivative(code: FunctionBuilder, x: Value) -> Value:
    builder, size = (
        code.builder,
        _abs_clamped(code, x, GELU_CUTOFF),
    )  # an infinite v′ times 0 would be NaN
    square = builder.fmul(size, size)
    w = _small_sigmoid(
        code, builder.fmul(size, _polynomial(code, (GELU_SCALE, GELU_SCALE * GELU_CUBIC), square))
    )
    steep = _polynomial(code, (GELU_SCALE, 3 * GELU_SCALE * GELU_CUBIC), square)
    return code.fma(builder.fmul(x, _w_minus_square(code, w)), steep, _one_sided(code, x, w))


# parts


def exponential(code: FunctionBuilder, x: Value) -> Value:
    """eˣ of x ≤ 0; e^LOW where x is less. NaN stays NaN."""
    least = code.constant(LOW, x.type.count)
    rest, power = _range_reduced(
        code, code.builder.select(code.builder.fcmp_ordered("<", x, least), least, x), 1
    )
    return code.builder.fmul(power, _polynomial(code, EXP_COEFFICIENTS, rest))


def _cdf_and_density(code: FunctionBuilder, x: Value) -> tuple[Value, Value]:
    """Φ(x) and φ(x)"""
    builder, size = code.builder, _abs_clamped(code, x, DENSITY_CUTOFF)
    rest, power = _range_reduced(code, builder.fmul(size, size), -0.5)
    density = builder.fmul(
        power, _polynomial(code, [DENSITY_AT_0 * number for number in EXP_COEFFICIENTS], rest, -0.5)
    )
    above, below = (_polynomial(code, row, size) for row in (NUMERATOR, DENOMINATOR))
    return _one_sided(code, x, builder.fmul(density, builder.fdiv(above, below))), density


def _logistic(code: FunctionBuilder, above: Value, x: Value, scale: float) -> Value:
    """above / (1 + e^(scale · x)), LOW ≤ scale · x ≤ HIGH"""
    rest, power = _range_reduced(code, x, scale)
    below = code.fma(power, _polynomial(code, EXP_COEFFICIENTS, rest, scale), code.constant(1, x.type.count))
    return code.builder.fdiv(above, below)


def _small_sigmoid(code: FunctionBuilder, size: Value, scale: float = 1) -> Value:
    """w = σ(−scale · size)."""
    return _logistic(code, code.constant(1, size.type.count), size, scale)


def _w_minus_square(code: FunctionBuilder, w: Value) -> Value:
    return code.fma(code.builder.fneg(w), w, w)


def _one_sided(code: FunctionBuilder, x: Value, w: Value) -> Value:
    """w where x < 0, elsewhere 1 − w."""
    builder, most = code.builder, code.builder.fsub(code.constant(1, x.type.count), w)
    return builder.select(builder.icmp_signed("<", _as_int(code, x), _int_constant(0, x)), w, most)


def _range_reduced(code: FunctionBuilder, x: Value, scale: float) -> tuple[Value, Value]:
    """r / scale and 2ⁿ, of e^(scale · x). A `scale` of ± 2ⁱ costs nothing and rounds nothing: constants take it in."""
    builder, wide = code.builder, x.type.count
    moved = code.fma(x, code.constant(scale / math.log(2), wide), code.constant(EXPONENT_BIAS, wide))
    n = builder.fsub(moved, code.constant(EXPONENT_BIAS, wide))
    power = builder.bitcast(builder.shl(_as_int(code, moved), _int_constant(23, x)), x.type)
    return code.fma(n, code.constant(-math.log(2) / scale, wide), x), power


def _polynomial(code: FunctionBuilder, row: Sequence[float], x: Value, scale: float = 1) -> Value:
    """Σ row[k] · (scale · x)ᵏ, after Horner"""
    *rest, result = (code.constant(number * scale**k, x.type.count) for k, number in enumerate(row))
    for number in reversed(rest):
        result = code.fma(result, x, number)
    return result


def _clamped(code: FunctionBuilder, x: Value) -> Value:
    """x clamped to [−HIGH, −LOW]; NaN stays NaN, here and below."""
    builder, least = code.builder, code.constant(-HIGH, x.type.count)
    return _at_most(code, builder.select(builder.fcmp_ordered("<", x, least), least, x), -LOW)


def _abs_clamped(code: FunctionBuilder, x: Value, high: float) -> Value:
    """min(|x|, high)."""
    bits = code.builder.and_(_as_int(code, x), _int_constant(2**31 - 1, x))
    return _at_most(code, code.builder.bitcast(bits, x.type), high)


def _at_most(code: FunctionBuilder, x: Value, high: float) -> Value:
    most = code.constant(high, x.type.count)
    return code.builder.select(code.builder.fcmp_ordered(">", x, most), most, x)


def _as_int(code: FunctionBuilder, x: Value) -> Value:
    return code.builder.bitcast(x, ir.VectorType(I32, x.type.count))


def _int_constant(number: int, like: Value) -> Value:
    return ir.Constant(ir.VectorType(I32, like.type.count), [number] * like.type.count)


VALUES = dict(zip(KINDS, (_gelu, _gelu_tanh, _silu, _tanh, _sigmoid), strict=True))
DERIVATIVES = dict(
    zip(
        KINDS,
        (_gelu_derivative, _gelu_tanh_derivative, _silu_derivative, _tanh_derivative, _sigmoid_derivative),
        strict=True,
    )
)
