"""Direct convolutions of K lanes, for few input channels and any kernel size: outputs accumulate in registers, without im2col.

Outputs are `[K, B, H', W', O]`, contiguous; weights `[K, O, C, h, w]`; biases `[K, O]`; inputs have any strides. The bits of a lane
depend neither on other lanes nor on other examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import Count, FunctionBuilder, Value, vector_columns, vector_width
from ablate.kernels.compiled.jit import Function, simd_width

SUMS = 8
"""Number of outputs, or gradients of weights, that accumulate at a time."""
STRIDES = ("lane", "example", "channel", "row", "column")
"""Strides of the input, in elements: a function's arguments after K and B."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of one lane's layer: input and output channels; for height and width the kernel, stride, padding, and input size."""

    channels: int
    out: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    input_size: tuple[int, int]

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of a padded input map."""
        (height, width), (up, left) = self.input_size, self.padding
        return height + 2 * up, width + 2 * left

    @property
    def outputs(self) -> tuple[int, int]:
        """Height and width of an output map."""
        each = zip(self.padded, self.kernel, self.stride, strict=True)
        height, width = ((side - kernel) // step + 1 for side, kernel, step in each)
        return height, width

    @property
    def weights(self) -> int:
        """Weights of one output channel."""
        return self.channels * self.kernel[0] * self.kernel[1]

    @property
    def padded_elements(self) -> int:
        """Elements of one padded input."""
        return self.channels * self.padded[0] * self.padded[1]

    def offsets(self) -> Iterator[int]:
        """Offset of each weight's input in a padded map, relative to the first weight's."""
        height, width = self.padded
        for channel in range(self.channels):
            for row in range(self.kernel[0]):
                for column in range(self.kernel[1]):
                    yield (channel * height + row) * width + column


class DirectConvolution:
    """Builder of functions for a layer: the parts that forward and backward pass share."""

    def __init__(self, sizes: Sizes, pointers: tuple[str, ...]) -> None:
        self.sizes = sizes
        self.code = FunctionBuilder([*pointers, "workspace"], ["lanes", "examples", *STRIDES])
        self.args = self.code.args
        self.workspace = self.args["workspace"]
        self.width = vector_width(sizes.out)
        self.offsets = tuple(sizes.offsets())

    def example_offset(self, lane: Value, example: Value) -> Value:
        """Offset of an example in `[K, B, H', W', O]`."""
        code, (height, width) = self.code, self.sizes.outputs
        row = code.isum(code.imul(lane, self.args["examples"]), example)
        return code.imul(row, height * width * self.sizes.out)

    def pad(self, lane: Value, example: Value, into: int, *, out: bool = False) -> None:
        """Copy an example's input into the padded map in the workspace; `out`: the reverse."""
        code, args, sizes = self.code, self.args, self.sizes
        height, width = sizes.padded
        first = code.isum(code.imul(lane, args["lane"]), code.imul(example, args["example"]))
        with code.loop(sizes.channels) as channel, code.loop(sizes.input_size[0]) as row, code.loop(sizes.input_size[1]) as column:  # fmt: skip
            steps = ((channel, "channel"), (row, "row"), (column, "column"))
            at = code.isum(first, *(code.imul(i, args[stride]) for i, stride in steps))
            down = code.isum(code.imul(channel, height), row, sizes.padding[0])
            target = code.isum(into, code.imul(down, width), column, sizes.padding[1])
            if out:
                code.store(code.load(self.workspace, target, 1), args["x"], at)
            else:
                code.store(code.load(args["x"], at, 1), self.workspace, target)

    def corner(self, row: Value, column: Count) -> Value:
        """Offset in a padded map of the first weight's input for an output."""
        code, (down, across) = self.code, self.sizes.stride
        along = column * across if isinstance(column, int) else code.imul(column, across)
        return code.isum(code.imul(row, down * self.sizes.padded[1]), along)


@disk_cached
def forward(sizes: Sizes) -> tuple[Function, int]:
    """(x, weight, bias, y, workspace, K, B, strides of x): y = w * x + b; and the workspace in floats."""
    layer = DirectConvolution(sizes, ("x", "weight", "bias", "y"))
    code, args, width = layer.code, layer.args, layer.width
    height, wide = sizes.outputs
    weights, padded = 0, sizes.weights * sizes.out
    unroll = next(count for count in range(min(SUMS, wide), 0, -1) if wide % count == 0)
    code.fill(0, layer.workspace, padded, sizes.padded_elements)
    with code.loop(args["lanes"]) as lane:
        with code.loop(sizes.weights) as i, code.loop(sizes.out, step=width) as o:
            at = code.isum(code.imul(code.isum(code.imul(lane, sizes.out), o), sizes.weights), i)
            value = code.load_strided(args["weight"], at, sizes.weights, width)
            code.store(value, layer.workspace, code.isum(weights, code.imul(i, sizes.out), o))
        with code.loop(args["examples"]) as example:
            layer.pad(lane, example, padded)
            at = layer.example_offset(lane, example)
            with code.loop(sizes.out, step=width) as o, code.loop(height) as row, code.loop(wide, step=unroll) as column:  # fmt: skip
                sums = [code.load(args["bias"], code.isum(code.imul(lane, sizes.out), o), width)] * unroll
                corner = code.isum(padded, layer.corner(row, column))
                for i, offset in enumerate(layer.offsets):
                    weight = code.load(layer.workspace, code.isum(weights + i * sizes.out, o), width)
                    sums = [
                        code.fma(
                            code.load_broadcast(layer.workspace, code.isum(corner, offset + j * sizes.stride[1]), width), weight, total
                        )
                        for j, total in enumerate(sums)
                    ]  # fmt: skip
                position = code.isum(at, code.imul(code.isum(code.imul(row, wide), column), sizes.out), o)
                for j, total in enumerate(sums):
                    code.store(total, args["y"], code.isum(position, j * sizes.out))
    return code.compile(), padded + sizes.padded_elements


@disk_cached
def backward(sizes: Sizes) -> tuple[Function, int]:
    """(grad_y, x, grad_weight, grad_bias, workspace, K, B, strides of x); and the workspace in floats."""
    layer = DirectConvolution(sizes, ("grad_y", "x", "grad_weight", "grad_bias"))
    code, args, width = layer.code, layer.args, layer.width
    sums, padded = 0, sizes.weights * sizes.out
    code.fill(0, layer.workspace, padded, sizes.padded_elements)
    with code.loop(args["lanes"]) as lane:
        bias = code.imul(lane, sizes.out)
        code.fill(0, layer.workspace, sums, padded)
        code.fill(0, args["grad_bias"], bias, sizes.out)
        with code.loop(args["examples"]) as example:
            layer.pad(lane, example, padded)
            at = layer.example_offset(lane, example)
            with code.loop(sizes.out, step=width) as o:
                for first in range(0, sizes.weights, SUMS):
                    accumulators = [code.isum(sums + (first + i) * sizes.out, o) for i in range(SUMS)]
                    _accumulate_weight_grad(
                        layer, code.isum(at, o), padded, first, accumulators[: sizes.weights - first]
                    )
                total = _sum_positions(
                    layer, code.isum(at, o), code.load(args["grad_bias"], code.isum(bias, o), width)
                )
                code.store(total, args["grad_bias"], code.isum(bias, o))
        with code.loop(sizes.weights) as i, code.loop(sizes.out, step=width) as o:
            value = code.load(layer.workspace, code.isum(sums, code.imul(i, sizes.out), o), width)
            at = code.isum(code.imul(code.isum(code.imul(lane, sizes.out), o), sizes.weights), i)
            code.store_strided(value, args["grad_weight"], at, sizes.weights)
    return code.compile(), padded + sizes.padded_elements


@disk_cached
def backward_to_x(sizes: Sizes) -> tuple[Function, int]:
    """(grad_y, weight, grad_x, workspace, K, B, strides of grad_x); and the workspace in floats."""
    layer = DirectConvolution(sizes, ("grad_y", "weight", "x"))
    code, args = layer.code, layer.args
    height, wide = sizes.outputs
    vectors = vector_columns(sizes.weights)
    with code.loop(args["lanes"]) as lane, code.loop(args["examples"]) as example:
        code.fill(0, layer.workspace, code.isum(0), sizes.padded_elements)
        weights, at = code.imul(lane, sizes.out * sizes.weights), layer.example_offset(lane, example)
        with code.loop(height) as row, code.loop(wide) as column:
            start = code.isum(at, code.imul(code.isum(code.imul(row, wide), column), sizes.out))

            def step(
                o: Value, sums: Sequence[Value], start: Value = start, weights: Value = weights
            ) -> list[Value]:
                gradient = code.load_broadcast(args["grad_y"], code.isum(start, o), simd_width())
                column_weights = code.isum(weights, code.imul(o, sizes.weights))
                return [
                    code.fma(
                        gradient,
                        code.load_masked(args["weight"], code.isum(column_weights, first), count),
                        total,
                    )
                    for (first, count), total in zip(vectors, sums, strict=True)
                ]

            sums = code.reduce([code.constant(0, simd_width())] * len(vectors), sizes.out, step)
            corner = layer.corner(row, column)
            for i, offset in enumerate(layer.offsets):
                where, total = code.isum(corner, offset), sums[i // simd_width()]
                one = code.shuffle(total, total, [i % simd_width()])
                code.store(code.fadd(code.load(layer.workspace, where, 1), one), layer.workspace, where)
        layer.pad(lane, example, 0, out=True)
    return code.compile(), sizes.padded_elements


def _accumulate_weight_grad(
    layer: DirectConvolution, at: Value, padded: int, first: int, accumulators: list[Value]
) -> None:
    """Add the gradients of some weights, from one example's gradient at `at`, to `accumulators`."""
    code, sizes, width = layer.code, layer.sizes, layer.width
    height, wide = sizes.outputs
    offsets = layer.offsets[first : first + len(accumulators)]

    def step(row: Value, sums: Sequence[Value]) -> list[Value]:
        for column in range(wide):
            position = code.imul(code.isum(code.imul(row, wide), column), sizes.out)
            gradient = code.load(layer.args["grad_y"], code.isum(at, position), width)
            corner = code.isum(padded, layer.corner(row, column))
            sums = [
                code.fma(
                    code.load_broadcast(layer.workspace, code.isum(corner, offset), width), gradient, total
                )
                for offset, total in zip(offsets, sums, strict=True)
            ]
        return list(sums)

    totals = code.reduce(
        [code.load(layer.workspace, position, width) for position in accumulators], height, step
    )
    for position, value in zip(accumulators, totals, strict=True):
        code.store(value, layer.workspace, position)


def _sum_positions(layer: DirectConvolution, at: Value, total: Value) -> Value:
    code, (height, wide), out = layer.code, layer.sizes.outputs, layer.sizes.out

    def step(row: Value, sums: Sequence[Value]) -> list[Value]:
        (total,) = sums
        for column in range(wide):
            offset = code.imul(code.isum(code.imul(row, wide), column), out)
            total = code.fadd(total, code.load(layer.args["grad_y"], code.isum(at, offset), layer.width))
        return [total]

    return code.reduce([total], height, step)[0]
