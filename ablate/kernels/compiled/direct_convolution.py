"""Convolutions of K lanes with few channels in, whatever the kernel: every output is summed in a register, no patches are laid out.

Outputs are `[K, B, H', W', O]`, contiguous; weights `[K, O, C, h, w]`; biases `[K, O]`; inputs lie as they lie. A lane is computed as it
would be alone, an example's map by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import Code, Count, Value, vectors_of, width_of
from ablate.kernels.compiled.jit import Function, floats

SUMS = 8
"""Outputs, or weights' gradients, that are summed side by side."""
STRIDES = ("lane", "example", "channel", "row", "column")
"""Of the input, in numbers: what a function is called with after K and B."""


@dataclass(frozen=True)
class Sizes:
    """Of one lane's layer: channels in and out; for height and width the kernel, stride, padding, and sides of the maps."""

    channels: int
    out: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    into: tuple[int, int]

    @property
    def padded(self) -> tuple[int, int]:
        (height, width), (up, left) = self.into, self.padding
        return height + 2 * up, width + 2 * left

    @property
    def outputs(self) -> tuple[int, int]:
        each = zip(self.padded, self.kernel, self.stride, strict=True)
        height, width = ((side - kernel) // step + 1 for side, kernel, step in each)
        return height, width

    @property
    def weights(self) -> int:
        """Of one output."""
        return self.channels * self.kernel[0] * self.kernel[1]

    @property
    def values(self) -> int:
        """Of one padded map."""
        return self.channels * self.padded[0] * self.padded[1]

    def offsets(self) -> Iterator[int]:
        """Where each weight's value lies in a padded map, from the one that the first weight meets."""
        height, width = self.padded
        for channel in range(self.channels):
            for row in range(self.kernel[0]):
                for column in range(self.kernel[1]):
                    yield (channel * height + row) * width + column


class Layer:
    """Writes a function for a layer: the parts that forward and backward pass share."""

    def __init__(self, sizes: Sizes, pointers: tuple[str, ...]) -> None:
        self.sizes = sizes
        self.code = Code([*pointers, "room"], ["lanes", "examples", *STRIDES])
        self.of = self.code.argument
        self.workspace = self.of["room"]
        self.width = width_of(sizes.out)
        self.offsets = tuple(sizes.offsets())

    def maps(self, lane: Value, example: Value) -> Value:
        """The offset of an example in `[K, B, H', W', O]`."""
        code, (height, width) = self.code, self.sizes.outputs
        row = code.sum(code.times(lane, self.of["examples"]), example)
        return code.times(row, height * width * self.sizes.out)

    def pad(self, lane: Value, example: Value, into: int, *, back: bool = False) -> None:
        """An example's input, copied between the zeros of a padded map in the room; `back`: out of it."""
        code, of, sizes = self.code, self.of, self.sizes
        height, width = sizes.padded
        first = code.sum(code.times(lane, of["lane"]), code.times(example, of["example"]))
        with code.loop(sizes.channels) as channel, code.loop(sizes.into[0]) as row, code.loop(sizes.into[1]) as column:  # fmt: skip
            steps = ((channel, "channel"), (row, "row"), (column, "column"))
            at = code.sum(first, *(code.times(i, of[stride]) for i, stride in steps))
            down = code.sum(code.times(channel, height), row, sizes.padding[0])
            place = code.sum(into, code.times(down, width), column, sizes.padding[1])
            if back:
                code.store(code.load(self.workspace, place, 1), of["x"], at)
            else:
                code.store(code.load(of["x"], at, 1), self.workspace, place)

    def corner(self, row: Value, column: Count) -> Value:
        """The offset, in a padded map, of what the kernel's first weight meets for an output."""
        code, (down, across) = self.code, self.sizes.stride
        along = column * across if isinstance(column, int) else code.times(column, across)
        return code.sum(code.times(row, down * self.sizes.padded[1]), along)


@disk_cached
def forward(sizes: Sizes) -> tuple[Function, int]:
    """(x, weight, bias, y, room, K, B, strides of x): y = w * x + b. And how many numbers the room holds."""
    layer = Layer(sizes, ("x", "weight", "bias", "y"))
    code, of, width = layer.code, layer.of, layer.width
    height, wide = sizes.outputs
    weights, padded = 0, sizes.weights * sizes.out
    beside = next(count for count in range(min(SUMS, wide), 0, -1) if wide % count == 0)
    code.fill(0, layer.workspace, padded, sizes.values)
    with code.loop(of["lanes"]) as lane:
        with code.loop(sizes.weights) as i, code.loop(sizes.out, step=width) as o:
            at = code.sum(code.times(code.sum(code.times(lane, sizes.out), o), sizes.weights), i)
            value = code.load_apart(of["weight"], at, sizes.weights, width)
            code.store(value, layer.workspace, code.sum(weights, code.times(i, sizes.out), o))
        with code.loop(of["examples"]) as example:
            layer.pad(lane, example, padded)
            at = layer.maps(lane, example)
            with code.loop(sizes.out, step=width) as o, code.loop(height) as row, code.loop(wide, step=beside) as column:  # fmt: skip
                sums = [code.load(of["bias"], code.sum(code.times(lane, sizes.out), o), width)] * beside
                corner = code.sum(padded, layer.corner(row, column))
                for i, offset in enumerate(layer.offsets):
                    weight = code.load(layer.workspace, code.sum(weights + i * sizes.out, o), width)
                    sums = [
                        code.fma(
                            code.spread(layer.workspace, code.sum(corner, offset + j * sizes.stride[1]), width), weight, total
                        )
                        for j, total in enumerate(sums)
                    ]  # fmt: skip
                place = code.sum(at, code.times(code.sum(code.times(row, wide), column), sizes.out), o)
                for j, total in enumerate(sums):
                    code.store(total, of["y"], code.sum(place, j * sizes.out))
    return code.compiled(), padded + sizes.values


@disk_cached
def backward(sizes: Sizes) -> tuple[Function, int]:
    """(gradient of y, x, then where the gradients of weight and bias go, room, K, B, strides of x).

    And how many numbers the room holds."""
    layer = Layer(sizes, ("gradient", "x", "to_weight", "to_bias"))
    code, of, width = layer.code, layer.of, layer.width
    sums, padded = 0, sizes.weights * sizes.out
    code.fill(0, layer.workspace, padded, sizes.values)
    with code.loop(of["lanes"]) as lane:
        bias = code.times(lane, sizes.out)
        code.fill(0, layer.workspace, sums, padded)
        code.fill(0, of["to_bias"], bias, sizes.out)
        with code.loop(of["examples"]) as example:
            layer.pad(lane, example, padded)
            at = layer.maps(lane, example)
            with code.loop(sizes.out, step=width) as o:
                for first in range(0, sizes.weights, SUMS):
                    places = [code.sum(sums + (first + i) * sizes.out, o) for i in range(SUMS)]
                    _correlated(layer, code.sum(at, o), padded, first, places[: sizes.weights - first])
                total = _summed(layer, code.sum(at, o), code.load(of["to_bias"], code.sum(bias, o), width))
                code.store(total, of["to_bias"], code.sum(bias, o))
        with code.loop(sizes.weights) as i, code.loop(sizes.out, step=width) as o:
            value = code.load(layer.workspace, code.sum(sums, code.times(i, sizes.out), o), width)
            at = code.sum(code.times(code.sum(code.times(lane, sizes.out), o), sizes.weights), i)
            code.store_apart(value, of["to_weight"], at, sizes.weights)
    return code.compiled(), padded + sizes.values


@disk_cached
def backward_to_x(sizes: Sizes) -> tuple[Function, int]:
    """(gradient of y, weight, where the gradient of x goes, room, K, B, strides of that). And how many numbers the room holds."""
    layer = Layer(sizes, ("gradient", "weight", "x"))
    code, of = layer.code, layer.of
    height, wide = sizes.outputs
    vectors = vectors_of(sizes.weights)
    with code.loop(of["lanes"]) as lane, code.loop(of["examples"]) as example:
        code.fill(0, layer.workspace, code.sum(0), sizes.values)
        weights, at = code.times(lane, sizes.out * sizes.weights), layer.maps(lane, example)
        with code.loop(height) as row, code.loop(wide) as column:
            place = code.sum(at, code.times(code.sum(code.times(row, wide), column), sizes.out))

            def step(
                o: Value, sums: Sequence[Value], place: Value = place, weights: Value = weights
            ) -> list[Value]:
                gradient = code.spread(of["gradient"], code.sum(place, o), floats())
                own = code.sum(weights, code.times(o, sizes.weights))
                return [
                    code.fma(gradient, code.load_some(of["weight"], code.sum(own, first), count), total)
                    for (first, count), total in zip(vectors, sums, strict=True)
                ]

            sums = code.gathered([code.constant(0, floats())] * len(vectors), sizes.out, step)
            corner = layer.corner(row, column)
            for i, offset in enumerate(layer.offsets):
                where, total = code.sum(corner, offset), sums[i // floats()]
                one = code.picked(total, total, [i % floats()])
                code.store(code.add(code.load(layer.workspace, where, 1), one), layer.workspace, where)
        layer.pad(lane, example, 0, back=True)
    return code.compiled(), sizes.values


def _correlated(layer: Layer, at: Value, padded: int, first: int, places: list[Value]) -> None:
    """The gradients of some weights, from one example's gradient at `at`, added to those at `places`."""
    code, sizes, width = layer.code, layer.sizes, layer.width
    height, wide = sizes.outputs
    offsets = layer.offsets[first : first + len(places)]

    def step(row: Value, sums: Sequence[Value]) -> list[Value]:
        for column in range(wide):
            place = code.times(code.sum(code.times(row, wide), column), sizes.out)
            gradient = code.load(layer.of["gradient"], code.sum(at, place), width)
            corner = code.sum(padded, layer.corner(row, column))
            sums = [
                code.fma(code.spread(layer.workspace, code.sum(corner, offset), width), gradient, total)
                for offset, total in zip(offsets, sums, strict=True)
            ]
        return list(sums)

    found = code.gathered([code.load(layer.workspace, place, width) for place in places], height, step)
    for place, value in zip(places, found, strict=True):
        code.store(value, layer.workspace, place)


def _summed(layer: Layer, at: Value, total: Value) -> Value:
    code, (height, wide), out = layer.code, layer.sizes.outputs, layer.sizes.out

    def step(row: Value, sums: Sequence[Value]) -> list[Value]:
        (total,) = sums
        for column in range(wide):
            place = code.times(code.sum(code.times(row, wide), column), out)
            total = code.add(total, code.load(layer.of["gradient"], code.sum(at, place), layer.width))
        return [total]

    return code.gathered([total], height, step)[0]
