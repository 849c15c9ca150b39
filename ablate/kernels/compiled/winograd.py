"""3×3 convolutions of K lanes on maps of one tile: Winograd F(4×4, 3×3) (Lavin & Gray 2016, arXiv 1509.09308), a block of examples at a time.

The transformed block and its products stay in a core's L1 and L2 caches. Maps are `[K, B, H, W, C]`, contiguous; weights
`[K, O, C, 3, 3]`; biases `[K, O]`. The bits of a lane depend neither on other lanes nor on other examples.
"""

from __future__ import annotations

from collections.abc import Sequence

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import Count, FunctionBuilder, Value, vector_width
from ablate.kernels.compiled.jit import Function
from ablate.kernels.compiled.winograd_transforms import Rows, TileTransform

SIDE = 6
POINTS = SIDE * SIDE
BLOCK = 16
"""Examples (or tiles) transformed and multiplied together."""
ROWS = 8
"""Rows of a product accumulated in registers."""


def transpose(rows: Rows) -> Rows:
    """The transpose of a constant matrix."""
    return tuple(zip(*rows, strict=True))


class WinogradLayer:
    """Builder of functions for a layer of `channels` input and `out` output channels: the parts that forward and backward pass share.

    Intermediate results are in the function's last pointer, `workspace`, with the 36 points of a tile as their outermost dimension.
    """

    def __init__(self, tile: TileTransform, channels: int, out: int, pointers: tuple[str, ...]) -> None:
        self.tile, self.channels, self.out = tile, channels, out
        self.code = FunctionBuilder([*pointers, "workspace"], ["lanes", "examples"])
        self.args = self.code.args
        self.workspace = self.args["workspace"]
        self.workspace_floats = 0

    def reserve(self, numbers: int) -> int:
        """Reserve `numbers` floats of the workspace; returns their offset."""
        start = self.workspace_floats
        self.workspace_floats += numbers
        return start

    def example_offset(
        self, lane: Value, first: Value, positions: int, channels: int, example: Count = 0
    ) -> Value:
        """Offset of an example in `[K, B, H, W, C]`."""
        code = self.code
        row = code.isum(code.imul(lane, self.args["examples"]), first, example)
        return code.imul(row, positions * channels)

    def transform_weights(self, lane: Value, points: int, *, forward: bool) -> None:
        """G w Gᵀ: `[36, C, O]` for the forward pass, `[36, O, C]` for the backward pass."""
        code, apart = self.code, self.channels * 9
        outer, inner = (self.channels, self.out) if forward else (self.out, self.channels)
        steps = (9, apart) if forward else (apart, 9)
        width = vector_width(inner)
        lane_at = code.imul(lane, self.out * apart)
        with code.loop(outer) as i, code.loop(inner, step=width) as j:
            at = code.isum(lane_at, code.imul(i, steps[0]), code.imul(j, steps[1]))
            kernel = [
                [
                    code.load_strided(self.args["weight"], code.isum(at, 3 * row + column), steps[1], width)
                    for column in range(3)
                ]
                for row in range(3)
            ]
            transformed = code.transform_2d(self.tile.kernel, kernel, self.tile.kernel)
            for point, value in enumerate(value for line in transformed for value in line):
                offset = code.isum(points + point * outer * inner, code.imul(i, inner), j)
                code.store(value, self.workspace, offset)

    def to_winograd(
        self, maps: Value, at: Value, down: Rows, across: Rows, points: int, row: Value, channels: int, line: int = 0
    ) -> None:  # fmt: skip
        """down · x · acrossᵀ of one tile: `[H, W, C]` at `at` -> a row of `[36, BLOCK, C]`. `line`: stride of the map's rows."""
        code, width = self.code, vector_width(channels)
        wide = len(across[0])
        line = line or wide * channels
        with code.loop(channels, step=width) as c:
            x = [
                [code.load(maps, code.isum(at, i * line + j * channels, c), width) for j in range(wide)]
                for i in range(len(down[0]))
            ]
            transformed = [value for values in code.transform_2d(down, x, across) for value in values]
            for point, value in enumerate(transformed):
                offset = code.isum(points + point * BLOCK * channels, code.imul(row, channels), c)
                code.store(value, self.workspace, offset)

    def from_winograd(
        self, points: int, row: Value, up: Rows, left: Rows, maps: Value, at: Value, channels: int, bias: Value | None = None,
        line: int = 0, *, accumulate: bool = False,
    ) -> None:  # fmt: skip
        """up · x · leftᵀ [+ bias] of one tile: a row of `[36, BLOCK, C]` -> `[H, W, C]` at `at`. `bias`: its offset. `accumulate`: add to the map."""
        code, width = self.code, vector_width(channels)
        line = line or len(left) * channels
        with code.loop(channels, step=width) as c:

            def point(i: int, j: int) -> Value:
                offset = points + (i * SIDE + j) * BLOCK * channels
                return code.load(self.workspace, code.isum(offset, code.imul(row, channels), c), width)

            transformed = code.transform_2d(
                up, [[point(i, j) for j in range(SIDE)] for i in range(SIDE)], left
            )
            shift = None if bias is None else code.load(self.args["bias"], code.isum(bias, c), width)
            for i, values in enumerate(transformed):
                for j, value in enumerate(values):
                    offset = code.isum(at, i * line + j * channels, c)
                    before = code.load(maps, offset, width) if accumulate else shift
                    code.store(value if before is None else code.fadd(value, before), maps, offset)

    def multiply_points(self, a: int, b: int, into: int, inner: int, columns: int) -> None:
        """Multiply at each point `[BLOCK, inner]` · `[inner, columns]` -> `[BLOCK, columns]`, unused rows of the block included."""
        code, width = self.code, vector_width(columns)
        with code.loop(POINTS) as point, code.loop(BLOCK, step=ROWS) as row, code.loop(columns, step=width) as column:  # fmt: skip
            left = code.isum(a, code.imul(point, BLOCK * inner), code.imul(row, inner))
            right = code.isum(b, code.imul(point, inner * columns), column)
            sums = code.dot_products(
                [code.constant(0, width)] * ROWS,
                inner,
                lambda k, i: code.load_broadcast(self.workspace, code.isum(left, k, i * inner), width),
                lambda k: code.load(self.workspace, code.isum(right, code.imul(k, columns)), width),
            )
            at = code.isum(into, code.imul(point, BLOCK * columns), code.imul(row, columns), column)
            for i, value in enumerate(sums):
                code.store(value, self.workspace, code.isum(at, i * columns))

    def accumulate_weight_grad(self, a: int, b: int, into: int, examples: Value) -> None:
        """Multiply at each point `[examples, O]`ᵀ · `[examples, C]`, added to `[O, C]`."""
        code, width = self.code, vector_width(self.channels)
        rows = next(rows for rows in (ROWS, 4, 2, 1) if self.out % rows == 0)
        with code.loop(POINTS) as point, code.loop(self.out, step=rows) as row, code.loop(self.channels, step=width) as column:  # fmt: skip
            left = code.isum(a, code.imul(point, BLOCK * self.out), row)
            right = code.isum(b, code.imul(point, BLOCK * self.channels), column)
            at = code.isum(into, code.imul(code.isum(code.imul(point, self.out), row), self.channels), column)
            accumulators = [code.isum(at, i * self.channels) for i in range(rows)]
            sums = code.dot_products(
                [code.load(self.workspace, accumulator, width) for accumulator in accumulators],
                examples,
                lambda k, i: code.load_broadcast(
                    self.workspace, code.isum(left, code.imul(k, self.out), i), width
                ),
                lambda k: code.load(self.workspace, code.isum(right, code.imul(k, self.channels)), width),
            )
            for accumulator, value in zip(accumulators, sums, strict=True):
                code.store(value, self.workspace, accumulator)


@disk_cached
def forward(tile: TileTransform, channels: int, out: int) -> tuple[Function, int]:
    """(x, weight, bias or 0, y, workspace, K, B): Y = Aᵀ [Σ (G w Gᵀ) ⊙ (Bᵀ x B)] A, summed over channels; and the workspace in floats."""
    layer = WinogradLayer(tile, channels, out, ("x", "weight", "bias", "y"))
    code, args, examples = layer.code, layer.args, layer.args["examples"]
    points = layer.reserve(POINTS * channels * out)
    into = layer.reserve(POINTS * BLOCK * channels)
    sums = layer.reserve(POINTS * BLOCK * out)
    with code.loop(args["lanes"]) as lane:
        layer.transform_weights(lane, points, forward=True)
        with code.loop(examples, step=BLOCK) as first:
            count = code.imin(code.builder.sub(examples, first), BLOCK)
            with code.loop(count) as example:
                at = layer.example_offset(lane, first, tile.input_positions, channels, example)
                layer.to_winograd(args["x"], at, tile.input_rows, tile.input_columns, into, example, channels)
            layer.multiply_points(into, points, sums, channels, out)
            with code.loop(count) as example:
                at = layer.example_offset(lane, first, tile.output_positions, out, example)
                bias = code.imul(lane, out)
                layer.from_winograd(
                    sums,
                    example,
                    tile.output_rows,
                    tile.output_columns,
                    args["y"],
                    at,
                    out,
                    bias,
                )
    return code.compile(), layer.workspace_floats


@disk_cached
def backward(tile: TileTransform, channels: int, out: int) -> tuple[Function, int]:
    """(grad_y, x, weight, grad_x, grad_weight, grad_bias, workspace, K, B); and the workspace in floats.

    A gradient that is not needed is NULL.
    """
    layer = WinogradLayer(
        tile, channels, out, ("grad_y", "x", "weight", "grad_x", "grad_weight", "grad_bias")
    )
    code, args, examples = layer.code, layer.args, layer.args["examples"]
    points = layer.reserve(POINTS * channels * out)
    into = layer.reserve(POINTS * BLOCK * channels)
    sums = layer.reserve(POINTS * BLOCK * out)
    kernels = layer.reserve(POINTS * channels * out)
    with code.loop(args["lanes"]) as lane:
        with code.if_given("grad_x"):
            layer.transform_weights(lane, points, forward=False)
        code.fill(0, layer.workspace, kernels, POINTS * channels * out)
        with code.if_given("grad_bias"):
            code.fill(0, args["grad_bias"], code.imul(lane, out), out)
        with code.loop(examples, step=BLOCK) as first:
            count = code.imin(code.builder.sub(examples, first), BLOCK)
            with code.loop(count) as example:
                at = layer.example_offset(lane, first, tile.output_positions, out, example)
                layer.to_winograd(
                    args["grad_y"],
                    at,
                    transpose(tile.output_rows),
                    transpose(tile.output_columns),
                    sums,
                    example,
                    out,
                )
                with code.if_given("grad_bias"):
                    sum_positions(
                        code,
                        args["grad_y"],
                        at,
                        tile.output_positions,
                        args["grad_bias"],
                        code.imul(lane, out),
                        out,
                    )
            with code.if_given("grad_weight"):
                with code.loop(count) as example:
                    at = layer.example_offset(lane, first, tile.input_positions, channels, example)
                    layer.to_winograd(
                        args["x"], at, tile.input_rows, tile.input_columns, into, example, channels
                    )
                layer.accumulate_weight_grad(sums, into, kernels, count)
            with code.if_given("grad_x"):
                layer.multiply_points(sums, points, into, out, channels)
                with code.loop(count) as example:
                    at = layer.example_offset(lane, first, tile.input_positions, channels, example)
                    layer.from_winograd(into, example, transpose(tile.input_rows), transpose(tile.input_columns), args["grad_x"], at, channels)  # fmt: skip
        with code.if_given("grad_weight"):
            emit_weight_grad(layer, lane, kernels)
    return code.compile(), layer.workspace_floats


def sum_positions(
    code: FunctionBuilder, maps: Value, at: Value, positions: int, into: Value, offset: Value, channels: int
) -> None:
    """The sum over the positions of one map, added to `[C]`."""
    width = vector_width(channels)
    with code.loop(channels, step=width) as c:

        def step(position: Value, sums: Sequence[Value]) -> list[Value]:
            return [
                code.fadd(sums[0], code.load(maps, code.isum(at, code.imul(position, channels), c), width))
            ]

        (total,) = code.reduce([code.constant(0, width)], positions, step)
        code.store(code.fadd(code.load(into, code.isum(offset, c), width), total), into, code.isum(offset, c))


def emit_weight_grad(layer: WinogradLayer, lane: Value, kernels: int) -> None:
    """Gᵀ u G: `[36, O, C]` -> the gradient of the weight, `[O, C, 3, 3]`."""
    code, tile, channels, out = layer.code, layer.tile, layer.channels, layer.out
    width, back = vector_width(channels), transpose(tile.kernel)
    with code.loop(out) as o, code.loop(channels, step=width) as c:
        at = code.isum(kernels, code.imul(o, channels), c)
        u = [
            [
                code.load(layer.workspace, code.isum(at, (row * SIDE + column) * out * channels), width)
                for column in range(SIDE)
            ]
            for row in range(SIDE)
        ]
        offset = code.isum(code.imul(code.isum(code.imul(lane, out), o), channels * 9), code.imul(c, 9))
        for i, value in enumerate(value for line in code.transform_2d(back, u, back) for value in line):
            code.store_strided(value, layer.args["grad_weight"], code.isum(offset, i), 9)
