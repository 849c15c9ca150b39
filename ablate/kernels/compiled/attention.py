"""Scaled dot-product attention of K lanes on few tokens (Vaswani et al. 2017), and its gradients.

    y_i = Σ_j p_ij v_j,    p_i = softmax_j(q_i · k_j / √D),    with `causal` over j ≤ i only

Shapes: x `[K, B, T, 3 · H · D]`, queries, keys and values beside each other, y `[K, B, T, H · D]`, p `[K, B, H, T, T]`, all contiguous.
One example's head at a time: its scores stay in a core's cache. Sums go term by term, rows of scores by vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from llvmlite import ir

from ablate.kernels.compiled.activations import exponential
from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import I32, Count, FunctionBuilder, Value, vector_columns
from ablate.kernels.compiled.jit import Function, simd_width
from ablate.kernels.compiled.linear import MatMul, Place

QUERY, KEY, VALUE = range(3)
LEAST = -1e30
"""The score of what is not attended to."""


class Head:
    """Places of the matrices of one example's head: `[T, D]` of queries, keys and values, `[T, T]` of scores."""

    def __init__(
        self, code: FunctionBuilder, example: Value, head: Value, sizes: tuple[int, int, int]
    ) -> None:
        self.code, self.args = code, code.args
        self.tokens, self.heads, self.width = sizes
        self.model = self.heads * self.width  # numbers of a token in y
        first = code.imul(example, self.tokens)
        column = code.imul(head, self.width)
        self.x = code.isum(code.imul(first, 3 * self.model), column)
        self.y = code.isum(code.imul(first, self.model), column)
        number = code.isum(code.imul(example, self.heads), head)
        self.saved = code.imul(number, self.tokens * self.tokens)

    def input(self, name: str, kind: int) -> Callable[[Count, Count], Place]:
        """Rows of queries, keys or values in `name`, which lies as x does."""
        start = self.code.isum(self.x, kind * self.model)
        return lambda row, column: (self.args[name], self.code.isum(start, self.code.imul(row, 3 * self.model), column))  # fmt: skip

    def output(self, name: str) -> Callable[[Count, Count], Place]:
        """The matrix of outputs `name`, by row and column."""
        return lambda row, column: (self.args[name], self.code.isum(self.y, self.code.imul(row, self.model), column))  # fmt: skip

    def scores(self) -> Callable[[Count, Count], Place]:
        """The matrix of attention weights that is saved for the backward pass."""
        return lambda row, column: (self.args["saved"], self.code.isum(self.saved, self.code.imul(row, self.tokens), column))  # fmt: skip

    def scratch(self, start: int, columns: int) -> Callable[[Count, Count], Place]:
        """A matrix in the workspace."""
        return lambda row, column: (self.args["workspace"], self.code.isum(start, self.code.imul(row, columns), column))  # fmt: skip

    def transpose(
        self, source: Callable[[Count, Count], Place], target: Callable[[Count, Count], Place]
    ) -> None:
        """`[T, D]` -> `[D, T]`"""
        with self.code.loop(self.tokens) as row, self.code.loop(self.width) as column:
            self.code.store(self.code.load(*source(row, column), 1), *target(column, row))


def _reduced(code: FunctionBuilder, vector: Value, combine: Callable[[Value, Value], Value]) -> Value:
    """All elements combined, in every place."""
    apart = 1
    while apart < vector.type.count:
        vector = combine(vector, code.swap_lanes(vector, apart))
        apart *= 2
    return vector


def _attended(code: FunctionBuilder, row: Value, first: int, count: int, *, causal: bool) -> Value:
    """Which columns of a vector of scores there are, and with `causal` are not after `row`."""
    width = simd_width()
    places = ir.Constant(ir.VectorType(I32, width), [first + i for i in range(width)])
    there = code.builder.icmp_signed("<", places, ir.Constant(places.type, [first + count] * width))
    if not causal:
        return there
    before = code.builder.icmp_signed("<=", places, code.broadcast(code.builder.trunc(row, I32), width))
    return code.builder.and_(there, before)


def _softmax(head: Head, *, causal: bool) -> None:
    """Replace the scores by what they attend with."""
    code, builder, width = head.code, head.code.builder, simd_width()
    at, scale = head.scores(), code.constant(1 / math.sqrt(head.width), simd_width())
    least, nothing = code.constant(LEAST, width), code.constant(0, width)

    def larger(a: Value, b: Value) -> Value:
        return builder.select(builder.fcmp_ordered(">", b, a), b, a)

    with code.loop(head.tokens) as row:
        vectors = vector_columns(head.tokens)
        masks = [_attended(code, row, v, count, causal=causal) for v, count in vectors]
        values = []
        for (v, count), mask in zip(vectors, masks, strict=True):
            value = builder.fmul(code.load_masked(*at(row, v), count), scale)
            values.append(builder.select(mask, value, least))
        most = values[0]
        for value in values[1:]:
            most = larger(most, value)
        most = _reduced(code, most, larger)
        powers = [
            builder.select(mask, exponential(code, builder.fsub(value, most)), nothing)
            for value, mask in zip(values, masks, strict=True)
        ]
        total = _reduced(code, _sum(code, powers), code.fadd)
        for (v, count), power in zip(vectors, powers, strict=True):
            code.store_prefix(builder.fdiv(power, total), *at(row, v), count)


def _sum(code: FunctionBuilder, vectors: Sequence[Value]) -> Value:
    total = vectors[0]
    for vector in vectors[1:]:
        total = code.fadd(total, vector)
    return total


@disk_cached
def forward(tokens: int, heads: int, width: int, *, causal: bool) -> tuple[Function, int]:
    """(x, y, saved p, workspace, lanes · examples); and the workspace in floats."""
    code = FunctionBuilder(["x", "y", "saved", "workspace"], ["examples"])
    with code.loop(code.args["examples"]) as example, code.loop(heads) as number:
        head = Head(code, example, number, (tokens, heads, width))
        keys = head.scratch(0, tokens)
        head.transpose(head.input("x", KEY), keys)
        scores = head.scores()
        MatMul(code, width, tokens, head.input("x", QUERY), keys, scores).write(tokens)
        _softmax(head, causal=causal)
        MatMul(code, tokens, width, scores, head.input("x", VALUE), head.output("y")).write(tokens)
    return code.compile(), width * tokens


@disk_cached
def backward(tokens: int, heads: int, width: int) -> tuple[Function, int]:
    """(grad_y, x, saved p, grad_x, workspace, lanes · examples); and the workspace in floats.

    With g the gradient of y: of v_j Σ_i p_ij g_i; of the scores s_ij = p_ij (g_i · v_j − Σ_m p_im g_i · v_m) / √D, of q_i Σ_j s_ij k_j and
    of k_j Σ_i s_ij q_i.
    """
    code = FunctionBuilder(["grad_y", "x", "saved", "grad_x", "workspace"], ["examples"])
    with code.loop(code.args["examples"]) as example, code.loop(heads) as number:
        head = Head(code, example, number, (tokens, heads, width))
        values, slopes = head.scratch(0, tokens), head.scratch(width * tokens, tokens)
        scores, gradient = head.scores(), head.output("grad_y")
        head.transpose(head.input("x", VALUE), values)
        MatMul(code, width, tokens, gradient, values, slopes).write(tokens)
        MatMul(code, tokens, width, _transposed(scores), gradient, head.input("grad_x", VALUE)).write(tokens)
        _score_gradients(head, slopes)
        MatMul(code, tokens, width, slopes, head.input("x", KEY), head.input("grad_x", QUERY)).write(tokens)
        MatMul(
            code, tokens, width, _transposed(slopes), head.input("x", QUERY), head.input("grad_x", KEY)
        ).write(tokens)
    return code.compile(), (width + tokens) * tokens


def _transposed(place: Callable[[Count, Count], Place]) -> Callable[[Count, Count], Place]:
    return lambda row, column: place(column, row)


def _score_gradients(head: Head, slopes: Callable[[Count, Count], Place]) -> None:
    """Replace g_i · v_j by the gradients of the scores."""
    code, builder = head.code, head.code.builder
    scale, scores = code.constant(1 / math.sqrt(head.width), simd_width()), head.scores()
    with code.loop(head.tokens) as row:
        vectors = vector_columns(head.tokens)
        shares = [code.load_masked(*scores(row, v), count) for v, count in vectors]
        own = [code.load_masked(*slopes(row, v), count) for v, count in vectors]
        each = [builder.fmul(p, g) for p, g in zip(shares, own, strict=True)]
        mean = _reduced(code, _sum(code, each), code.fadd)
        for (v, count), p, g in zip(vectors, shares, own, strict=True):
            change = builder.fmul(builder.fmul(p, builder.fsub(g, mean)), scale)
            code.store_prefix(change, *slopes(row, v), count)
