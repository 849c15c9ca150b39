"""Lanes of different norms, and of none, as a compiled op (`compiled.norms`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ablate.kernels.compiled_ops import Each, Same, passed
from ablate.kernels.fused import Back, Shape
from ablate.kernels.stacked_norms import normed_differentiably, tensors_of
from ablate.surgery.norms import Norm

if TYPE_CHECKING:
    from ablate.kernels.call_plan import ArgRef, Argument
    from ablate.kernels.memory_plan import Lane

PARAMETERS = ("weight", "bias")
RUNNING = ("running_mean", "running_var")


@dataclass(frozen=True)
class NormOp:
    """`[B, C, …]` -> the same shape, each lane by its own of `layers` (None: left as it is).

    `places[lane]`: by name, which of the link's tensors are that lane's weight and bias, and which of those held its running statistics.
    """

    layers: Sequence[Norm | None] | Same[Norm | None]
    places: Each[Mapping[str, int]]
    tensors: int
    held: int

    def fits(self, shape: Shape, *, innermost: bool) -> Shape | None:
        if len(shape) != 2 and (len(shape) != 4 or not innermost or shape[1] == 1):
            return None
        for layer in [self.layers.value] if isinstance(self.layers, Same) else self.layers:
            if layer is not None:
                layer.check(torch.empty(shape, device="meta"))
        return shape

    def write(self, lane: Lane, x: ArgRef) -> tuple[ArgRef, Back]:
        layer = self.layers[lane.number]
        if layer is None:
            return x, passed
        from ablate.kernels.compiled import norms

        examples, channels, *sides = lane.shape
        counts = 1, examples, sides[0] * sides[1] if sides else 1
        numbers = [layer.settings["eps"], layer.settings.get("momentum", 0.0)]
        own = lane.calls.fixed(torch.tensor(numbers, dtype=torch.float32))
        mode = norms.EXAMPLE if not layer.over_examples else norms.BATCH if layer.training else norms.STORED
        about = mode, layer.group_size, 0, 0
        places = self.places[lane.number]
        weight, bias = (lane.tensors[places[name]] for name in PARAMETERS)
        running = [lane.held[places[name]] if name in places else 0 for name in RUNNING]
        y, kept = lane.result(lane.shape, x), lane.calls.kept(examples * norms.KEPT * channels)
        function, workspace = norms.forward(channels)
        rows = lane.calls.row(*about), lane.calls.row(*_parted(weight, bias, *running))
        lane.call(function, x, y, kept, own, lane.calls.scratch(workspace), *rows, *counts)

        def back(lane: Lane, gradient: ArgRef, wanted: bool) -> ArgRef:
            function, workspace = norms.backward(channels)
            to_x, (first, *spare) = (
                lane.result(lane.shape, gradient),
                lane.calls.scratch_parts(workspace, channels),
            )
            to = (lane.gradients[places[name]] or spare[0] for name in PARAMETERS)
            rows = lane.calls.row(*about), lane.calls.row(*_parted(weight, *to, 0))
            lane.call(function, gradient, x, kept, to_x, own, first, *rows, *counts)
            return to_x

        return y, back

    def differentiably(self, x: Tensor, tensors: Sequence[Tensor], held: Sequence[Tensor]) -> Tensor:
        return torch.cat([self._one(lane, x[lane : lane + 1], tensors, held) for lane in range(len(x))])

    def _one(self, lane: int, x: Tensor, tensors: Sequence[Tensor], held: Sequence[Tensor]) -> Tensor:
        layer, places = self.layers[lane], self.places[lane]
        if layer is None:
            return x
        own = {name: tensor[None] for name, tensor in tensors_of(layer).items()}
        for names, given in ((PARAMETERS, tensors), (RUNNING, held)):
            own |= {name: given[places[name]][lane : lane + 1] for name in names if name in places}
        return normed_differentiably(layer, x, own)


def _parted(*tensors: Argument) -> list[Argument]:
    """A row of `compiled.norms`' parts: addresses, each with the bytes from one of its rows to the next, of which there is one."""
    return [number for tensor in tensors for number in (tensor, 0)]
