"""Linear layers of K lanes: y = x Wᵀ + b, and its gradients, a lane at a time in a core's cache.

Shapes: x `[K, N, I]`, W `[K, O, I]`, b `[K, O]`, y `[K, N, O]`, all contiguous. A product is summed in registers, one term after another, for a
few rows and vectors of columns side by side; where columns are no multiple of a vector, the last one is cut by a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import Code, Count, Value, vectors_of
from ablate.kernels.compiled.jit import Function, floats

ROWS = 4
Place = tuple[Value, Value]
"""A pointer and an offset."""


@dataclass(frozen=True)
class Product:
    """Rows by `columns`, each Σₖ left(row, k) · right(k)[column], k below `inner`, from `first` on (None: 0)."""

    code: Code
    inner: Count
    columns: int
    left: Callable[[Value, Value], Place]
    right: Callable[[Value, Count], Place]
    put: Callable[[Value, Count], Place]
    first: Callable[[Count], Place] | None = None

    def write(self, rows: Count) -> None:
        code, write = self.code, self.code.write
        rows = code.sum(rows)
        most = code.times(write.sdiv(rows, code.sum(ROWS)), ROWS)
        with code.loop(most, step=ROWS) as row:
            self._block(row, ROWS)
        with code.loop(write.sub(rows, most)) as row:
            self._block(code.sum(most, row), 1)

    def _block(self, row: Value, rows: int) -> None:
        width = floats()
        together = width * (4 if width == 16 else 2)
        most = self.columns // together * together
        if most:
            with self.code.loop(most, step=together) as first:
                self._tile(row, rows, [(self.code.sum(first, i), width) for i in range(0, together, width)])
        if most < self.columns:
            self._tile(row, rows, vectors_of(self.columns, most))

    def _tile(self, row: Value, rows: int, vectors: Sequence[tuple[Count, int]]) -> None:
        """Some rows of vectors (the first column, how many are meant) side by side."""
        code, width = self.code, floats()
        zero = code.constant(0, width)
        first = [
            zero if self.first is None else code.load_some(*self.first(v), count) for v, count in vectors
        ]

        def step(k: Value, sums: Sequence[Value]) -> list[Value]:
            right = [code.load_some(*self.right(k, v), count) for v, count in vectors]
            left = [code.spread(*self.left(code.sum(row, i), k), width) for i in range(rows)]
            return [code.fma(a, b, total) for (a, b), total in zip(product(left, right), sums, strict=True)]

        sums = code.gathered(first * rows, self.inner, step)
        for (i, (v, count)), total in zip(product(range(rows), vectors), sums, strict=True):
            code.store_some(total, *self.put(code.sum(row, i), v), count)


class Layer:
    """Offsets into a layer's tensors, for one lane."""

    def __init__(self, code: Code, lane: Value, inputs: int, outputs: int) -> None:
        self.code, self.of, self.workspace = code, code.argument, code.argument["room"]
        rows = code.times(lane, self.of["rows"])
        self.inputs, self.outputs = inputs, outputs
        self.x, self.y = code.times(rows, inputs), code.times(rows, outputs)
        self.weight, self.bias = code.times(lane, inputs * outputs), code.times(lane, outputs)

    def at(self, name: str, start: Value, row: Count, wide: int, column: Count) -> Place:
        return self.of[name], self.code.sum(start, self.code.times(row, wide), column)


@disk_cached
def forward(inputs: int, outputs: int) -> tuple[Function, int]:
    """(x, W, b, y, room, K, N). And how many numbers the room holds."""
    code = Code(["x", "weight", "bias", "y", "room"], ["lanes", "rows"])
    with code.loop(code.argument["lanes"]) as lane:
        layer = Layer(code, lane, inputs, outputs)
        _turned(layer)
        Product(
            code, inputs, outputs,
            left=lambda row, k: layer.at("x", layer.x, row, inputs, k),
            right=lambda k, o: layer.at("room", code.sum(0), k, outputs, o),
            put=lambda row, o: layer.at("y", layer.y, row, outputs, o),
            first=lambda o: layer.at("bias", layer.bias, 0, outputs, o),
        ).write(code.argument["rows"])  # fmt: skip
    return code.compiled(), inputs * outputs


def _turned(layer: Layer) -> None:
    """The room becomes Wᵀ: `[I, O]`."""
    code = layer.code
    with code.loop(layer.inputs) as i:
        for v, count in vectors_of(layer.outputs):
            at = code.sum(layer.weight, i, v * layer.inputs)
            column = code.load_apart(layer.of["weight"], at, layer.inputs, floats(), count)
            code.store_some(column, layer.workspace, code.sum(code.times(i, layer.outputs), v), count)


@disk_cached
def backward(inputs: int, outputs: int) -> tuple[Function, int]:
    """(gradient of y, x, W, then where the gradients of x, W and b go: 0 where not wanted, room, K, N). And how many numbers the room holds."""
    code = Code(["gradient", "x", "weight", "to_x", "to_weight", "to_bias", "room"], ["lanes", "rows"])
    rows = code.argument["rows"]
    turned = inputs < min(outputs, floats())  # vectors of few inputs would be mostly empty
    with code.loop(code.argument["lanes"]) as lane:
        layer = Layer(code, lane, inputs, outputs)

        def gradient(row: Count, o: Count) -> Place:
            return layer.at("gradient", layer.y, row, outputs, o)

        def x(row: Count, i: Count) -> Place:
            return layer.at("x", layer.x, row, inputs, i)

        with code.given("to_x"):
            Product(
                code, outputs, inputs, gradient,
                right=lambda k, i: layer.at("weight", layer.weight, k, inputs, i),
                put=lambda row, i: layer.at("to_x", layer.x, row, inputs, i),
            ).write(rows)  # fmt: skip
        with code.given("to_weight"):
            if turned:
                Product(
                    code, rows, outputs, lambda i, row: x(row, i), gradient,
                    put=lambda i, o: layer.at("room", code.sum(0), i, outputs, o),
                ).write(inputs)  # fmt: skip
                with code.loop(outputs) as o, code.loop(inputs) as i:
                    value = code.load(layer.workspace, code.sum(code.times(i, outputs), o), 1)
                    code.store(value, *layer.at("to_weight", layer.weight, o, inputs, i))
            else:
                Product(
                    code, rows, inputs, lambda o, row: gradient(row, o), x,
                    put=lambda o, i: layer.at("to_weight", layer.weight, o, inputs, i),
                ).write(outputs)  # fmt: skip
        with code.given("to_bias"):
            _summed(layer, gradient)
    return code.compiled(), inputs * outputs


def _summed(layer: Layer, gradient: Callable[[Count, Count], Place]) -> None:
    code, vectors = layer.code, vectors_of(layer.outputs)

    def step(row: Value, sums: Sequence[Value]) -> list[Value]:
        found = [code.load_some(*gradient(row, v), count) for v, count in vectors]
        return [code.add(total, value) for total, value in zip(sums, found, strict=True)]

    zero = code.constant(0, floats())
    sums = code.gathered([zero] * len(vectors), layer.of["rows"], step)
    for (v, count), total in zip(vectors, sums, strict=True):
        code.store_some(total, *layer.at("to_bias", layer.bias, 0, layer.outputs, v), count)
