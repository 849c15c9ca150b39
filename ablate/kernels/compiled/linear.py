"""Linear layers of K lanes: y = x Wᵀ + b, and its gradients.

Shapes: x `[K, N, I]`, W `[K, O, I]`, b `[K, O]`, y `[K, N, O]`, all contiguous. Products accumulate in registers, term by term, for a few rows
and vectors of columns at a time; the last vector of columns is masked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import Count, FunctionBuilder, Value, vector_columns
from ablate.kernels.compiled.jit import Function, simd_width

ROWS = 4
Place = tuple[Value, Value]
"""A pointer and an offset."""


@dataclass(frozen=True)
class MatMul:
    """out(row, column) = first(column) + Σₖ left(row, k) · right(k, column), k below `inner`. `first` None: 0, or what `out` holds already
    (`accumulates`)."""

    code: FunctionBuilder
    inner: Count
    columns: int
    left: Callable[[Value, Value], Place]
    right: Callable[[Value, Count], Place]
    out: Callable[[Value, Count], Place]
    first: Callable[[Count], Place] | None = None
    accumulates: bool = False

    def write(self, rows: Count) -> None:
        """Compute and write the first `rows` rows of the result."""
        code, builder = self.code, self.code.builder
        rows = code.isum(rows)
        most = code.imul(builder.sdiv(rows, code.isum(ROWS)), ROWS)
        with code.loop(most, step=ROWS) as row:
            self._block(row, ROWS)
        with code.loop(builder.sub(rows, most)) as row:
            self._block(code.isum(most, row), 1)

    def _block(self, row: Value, rows: int) -> None:
        width = simd_width()
        together = width * (4 if width == 16 else 2)
        most = self.columns // together * together
        if most:
            with self.code.loop(most, step=together) as first:
                self._tile(row, rows, [(self.code.isum(first, i), width) for i in range(0, together, width)])
        if most < self.columns:
            self._tile(row, rows, vector_columns(self.columns, most))

    def _tile(self, row: Value, rows: int, vectors: Sequence[tuple[Count, int]]) -> None:
        """Some rows of vectors (first column, how many are valid) at a time."""
        code, width = self.code, simd_width()
        zero = code.constant(0, width)
        first = [
            zero if self.first is None else code.load_masked(*self.first(v), count) for v, count in vectors
        ]

        def step(k: Value, sums: Sequence[Value]) -> list[Value]:
            right = [code.load_masked(*self.right(k, v), count) for v, count in vectors]
            left = [code.load_broadcast(*self.left(code.isum(row, i), k), width) for i in range(rows)]
            return [code.fma(a, b, total) for (a, b), total in zip(product(left, right), sums, strict=True)]

        before = first * rows
        if self.accumulates:
            before = [
                code.load_masked(*self.out(code.isum(row, i), v), count)
                for i, (v, count) in product(range(rows), vectors)
            ]
        sums = code.reduce(before, self.inner, step)
        for (i, (v, count)), total in zip(product(range(rows), vectors), sums, strict=True):
            code.store_prefix(total, *self.out(code.isum(row, i), v), count)


class LinearOffsets:
    """Offsets into a layer's tensors, for one lane."""

    def __init__(self, code: FunctionBuilder, lane: Value, inputs: int, outputs: int) -> None:
        self.code, self.args, self.workspace = code, code.args, code.args["workspace"]
        rows = code.imul(lane, self.args["rows"])
        self.inputs, self.outputs = inputs, outputs
        self.x, self.y = code.imul(rows, inputs), code.imul(rows, outputs)
        self.weight, self.bias = code.imul(lane, inputs * outputs), code.imul(lane, outputs)

    def at(self, name: str, start: Value, row: Count, wide: int, column: Count) -> Place:
        """A row of one of the layer's tensors, for one lane."""
        return self.args[name], self.code.isum(start, self.code.imul(row, wide), column)


@disk_cached
def forward(inputs: int, outputs: int) -> tuple[Function, int]:
    """(x, W, b, y, workspace, K, N); and the workspace in floats."""
    code = FunctionBuilder(["x", "weight", "bias", "y", "workspace"], ["lanes", "rows"])
    with code.loop(code.args["lanes"]) as lane:
        layer = LinearOffsets(code, lane, inputs, outputs)
        _transpose_weight(layer)
        MatMul(
            code, inputs, outputs,
            left=lambda row, k: layer.at("x", layer.x, row, inputs, k),
            right=lambda k, o: layer.at("workspace", code.isum(0), k, outputs, o),
            out=lambda row, o: layer.at("y", layer.y, row, outputs, o),
            first=lambda o: layer.at("bias", layer.bias, 0, outputs, o),
        ).write(code.args["rows"])  # fmt: skip
    return code.compile(), inputs * outputs


def _transpose_weight(layer: LinearOffsets) -> None:
    """Write Wᵀ `[I, O]` to the workspace."""
    code = layer.code
    with code.loop(layer.inputs) as i:
        for v, count in vector_columns(layer.outputs):
            at = code.isum(layer.weight, i, v * layer.inputs)
            column = code.load_strided(layer.args["weight"], at, layer.inputs, simd_width(), count)
            code.store_prefix(column, layer.workspace, code.isum(code.imul(i, layer.outputs), v), count)


@disk_cached
def backward(inputs: int, outputs: int) -> tuple[Function, int]:
    """(grad_y, x, W, grad_x, grad_W, grad_b, workspace, K, N); and the workspace in floats. A gradient that is not needed is NULL."""
    code = FunctionBuilder(
        ["grad_y", "x", "weight", "grad_x", "grad_weight", "grad_bias", "workspace"], ["lanes", "rows"]
    )
    rows = code.args["rows"]
    transposed = inputs < min(outputs, simd_width())  # vectors of few inputs would be mostly empty
    with code.loop(code.args["lanes"]) as lane:
        layer = LinearOffsets(code, lane, inputs, outputs)

        def gradient(row: Count, o: Count) -> Place:
            return layer.at("grad_y", layer.y, row, outputs, o)

        def x(row: Count, i: Count) -> Place:
            return layer.at("x", layer.x, row, inputs, i)

        with code.if_given("grad_x"):
            MatMul(
                code, outputs, inputs, gradient,
                right=lambda k, i: layer.at("weight", layer.weight, k, inputs, i),
                out=lambda row, i: layer.at("grad_x", layer.x, row, inputs, i),
            ).write(rows)  # fmt: skip
        with code.if_given("grad_weight"):
            if transposed:
                MatMul(
                    code, rows, outputs, lambda i, row: x(row, i), gradient,
                    out=lambda i, o: layer.at("workspace", code.isum(0), i, outputs, o),
                ).write(inputs)  # fmt: skip
                with code.loop(outputs) as o, code.loop(inputs) as i:
                    value = code.load(layer.workspace, code.isum(code.imul(i, outputs), o), 1)
                    code.store(value, *layer.at("grad_weight", layer.weight, o, inputs, i))
            else:
                MatMul(
                    code, rows, inputs, lambda o, row: gradient(row, o), x,
                    out=lambda o, i: layer.at("grad_weight", layer.weight, o, inputs, i),
                ).write(outputs)  # fmt: skip
        with code.if_given("grad_bias"):
            _sum_rows(layer, gradient)
    return code.compile(), inputs * outputs


def _sum_rows(layer: LinearOffsets, gradient: Callable[[Count, Count], Place]) -> None:
    code, vectors = layer.code, vector_columns(layer.outputs)

    def step(row: Value, sums: Sequence[Value]) -> list[Value]:
        values = [code.load_masked(*gradient(row, v), count) for v, count in vectors]
        return [code.fadd(total, value) for total, value in zip(sums, values, strict=True)]

    zero = code.constant(0, simd_width())
    sums = code.reduce([zero] * len(vectors), layer.args["rows"], step)
    for (v, count), total in zip(vectors, sums, strict=True):
        code.store_prefix(total, *layer.at("grad_bias", layer.bias, 0, layer.outputs, v), count)
