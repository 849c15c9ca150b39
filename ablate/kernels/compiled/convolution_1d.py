"""Convolutions along one axis of K lanes, without copies of windows: y[t] = Σⱼ W[·, ·, j] x[t + j] + b, and its gradients.

Shapes: x `[K, B, T, C]`, W `[K, O, C, S]`, b `[K, O]`, y `[K, B, T − S + 1, O]`, all contiguous. A window is S · C neighbouring elements of x, so
that a layer is a matrix product with overlapping rows (`linear.MatMul`). The gradient of x is the same product of the gradient of y, between
S − 1 rows of zeros, with the weights in reverse order.
"""

from __future__ import annotations

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import Count, FunctionBuilder, Value, vector_columns
from ablate.kernels.compiled.jit import Function, simd_width
from ablate.kernels.compiled.linear import MatMul, Place


class Conv1dOffsets:
    """Offsets into a layer's tensors, for one lane."""

    def __init__(self, code: FunctionBuilder, lane: Value, channels: int, out: int, size: int) -> None:
        self.code, self.args, self.workspace = code, code.args, code.args["workspace"]
        self.channels, self.out, self.size = channels, out, size
        self.steps, self.examples = self.args["steps"], self.args["examples"]
        self.outputs = code.isum(self.steps, 1 - size)
        examples = code.imul(lane, self.examples)
        self.x = code.imul(code.imul(examples, self.steps), channels)
        self.y = code.imul(code.imul(examples, self.outputs), out)
        self.weight, self.bias = code.imul(lane, out * channels * size), code.imul(lane, out)

    def row_of_x(self, name: str, example: Value, row: Count, column: Count) -> Place:
        """A time step of x or of its gradient; columns from C on are of the following steps."""
        step = self.code.isum(self.code.imul(example, self.steps), row)
        return self.args[name], self.code.isum(self.x, self.code.imul(step, self.channels), column)

    def row_of_y(self, name: str, example: Value, row: Count, column: Count) -> Place:
        """A time step of y or of its gradient."""
        step = self.code.isum(self.code.imul(example, self.outputs), row)
        return self.args[name], self.code.isum(self.y, self.code.imul(step, self.out), column)

    def in_workspace(self, start: Count, row: Count, wide: int, column: Count) -> Place:
        """A matrix in the workspace, `wide` columns from element `start` on."""
        return self.workspace, self.code.isum(start, self.code.imul(row, wide), column)


@disk_cached
def forward(channels: int, out: int, size: int) -> tuple[Function, int]:
    """(x, W, b, y, workspace, K, B, T); and the workspace in floats."""
    code = FunctionBuilder(["x", "weight", "bias", "y", "workspace"], ["lanes", "examples", "steps"])
    with code.loop(code.args["lanes"]) as lane:
        layer = Conv1dOffsets(code, lane, channels, out, size)
        for j in range(size):  # W as [S · C, O]
            with code.loop(channels) as c:
                for v, count in vector_columns(out):
                    at = code.isum(layer.weight, code.imul(c, size), v * channels * size + j)
                    column = code.load_strided(layer.args["weight"], at, channels * size, simd_width(), count)
                    code.store_prefix(
                        column, *layer.in_workspace(v, code.isum(c, j * channels), out, 0), count
                    )
        with code.loop(layer.examples) as example:
            MatMul(
                code, size * channels, out,
                left=lambda t, k: layer.row_of_x("x", example, t, k),
                right=lambda k, o: layer.in_workspace(0, k, out, o),
                out=lambda t, o: layer.row_of_y("y", example, t, o),
                first=lambda o: (layer.args["bias"], code.isum(layer.bias, o)),
            ).write(layer.outputs)  # fmt: skip
    return code.compile(), size * channels * out


@disk_cached
def backward(channels: int, out: int, size: int) -> tuple[Function, int]:
    """(grad_y, x, W, grad_x, grad_W, grad_b, workspace, K, B, T); and the workspace in floats, without `padded_elements`. A gradient that is
    not needed is NULL."""
    code = FunctionBuilder(
        ["grad_y", "x", "weight", "grad_x", "grad_weight", "grad_bias", "workspace"],
        ["lanes", "examples", "steps"],
    )
    with code.loop(code.args["lanes"]) as lane:
        layer = Conv1dOffsets(code, lane, channels, out, size)
        with code.if_given("grad_x"):
            _grad_x(layer)
        with code.if_given("grad_weight"):
            _grad_weight(layer)
        with code.if_given("grad_bias"):
            _grad_bias(layer)
    return code.compile(), size * channels * out


def padded_elements(out: int, size: int, steps: int) -> int:
    """Elements of the gradient of an example's y between zeros: the last part of the workspace of `backward`."""
    return (steps + size - 1) * out


def _grad_x(layer: Conv1dOffsets) -> None:
    """Workspace: W reversed, as [S · O, C]; then the padded gradient, [T + S − 1, O]."""
    code, (channels, out, size) = layer.code, (layer.channels, layer.out, layer.size)
    padded, edge = size * channels * out, (size - 1) * out
    for j in range(size):
        with code.loop(out) as o:
            for v, count in vector_columns(channels):
                at = code.isum(layer.weight, code.imul(o, channels * size), v * size + size - 1 - j)
                row = code.load_strided(layer.args["weight"], at, size, simd_width(), count)
                code.store_prefix(row, *layer.in_workspace(v, code.isum(o, j * out), channels, 0), count)
    end = code.isum(padded + edge, code.imul(layer.outputs, out))
    with code.loop(edge) as i:
        for start in (padded, end):
            code.store(code.constant(0, 1), layer.workspace, code.isum(start, i))
    with code.loop(layer.examples) as example:
        with code.loop(layer.outputs) as t:
            for v, count in vector_columns(out):
                row = code.load_masked(*layer.row_of_y("grad_y", example, t, v), count)
                code.store_prefix(row, *layer.in_workspace(padded + edge, t, out, v), count)
        MatMul(
            code, size * out, channels,
            left=lambda t, k: layer.in_workspace(padded, t, out, k),
            right=lambda k, c: layer.in_workspace(0, k, channels, c),
            out=lambda t, c: layer.row_of_x("grad_x", example, t, c),
        ).write(layer.steps)  # fmt: skip


def _grad_weight(layer: Conv1dOffsets) -> None:
    """Workspace: the gradient as [O, S · C], to which examples are added in order."""
    code, (channels, out, size) = layer.code, (layer.channels, layer.out, layer.size)
    wide = size * channels
    code.fill(0.0, layer.workspace, 0, out * wide)
    with code.loop(layer.examples) as example:
        MatMul(
            code, layer.outputs, wide,
            left=lambda o, t: layer.row_of_y("grad_y", example, t, o),
            right=lambda t, k: layer.row_of_x("x", example, t, k),
            out=lambda o, k: layer.in_workspace(0, o, wide, k),
            accumulates=True,
        ).write(out)  # fmt: skip
    with code.loop(out) as o, code.loop(channels) as c:
        for j in range(size):
            value = code.load(*layer.in_workspace(code.isum(c, j * channels), o, wide, 0), 1)
            at = code.isum(layer.weight, code.imul(code.isum(code.imul(o, channels), c), size), j)
            code.store(value, layer.args["grad_weight"], at)


def _grad_bias(layer: Conv1dOffsets) -> None:
    code, vectors = layer.code, vector_columns(layer.out)
    rows = code.imul(layer.examples, layer.outputs)

    def step(row: Value, sums: list[Value]) -> list[Value]:
        at = code.isum(layer.y, code.imul(row, layer.out))
        values = [code.load_masked(layer.args["grad_y"], code.isum(at, v), count) for v, count in vectors]
        return [code.fadd(total, value) for total, value in zip(sums, values, strict=True)]

    zero = code.constant(0, simd_width())
    sums = code.reduce([zero] * len(vectors), rows, step)  # type: ignore[arg-type]
    for (v, count), total in zip(vectors, sums, strict=True):
        code.store_prefix(total, layer.args["grad_bias"], code.isum(layer.bias, v), count)
