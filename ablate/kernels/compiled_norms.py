"""Lanes with different norms, or none, as a compiled op (`compiled.norms`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ablate.kernels.call_plan import NULL, ArgRef, Argument
from ablate.kernels.compiled_op import EmitBackward, EmitContext, Shape
from ablate.kernels.compiled_ops import LaneValues, Uniform, identity_backward
from ablate.kernels.stacked_norms import normed_eager, tensors_of
from ablate.kernels.torch_norms import AnyNorm, TorchNorm

PARAMETERS = ("weight", "bias")
RUNNING = ("running_mean", "running_var")


@dataclass(frozen=True)
class NormOp:
    """`[B, C, …]` -> the same shape, each lane by its own of `layers` (None: identity).

    `indices[lane]`: by name, which of the op's params are that lane's weight and bias, if it has one, and which buffers its running statistics.
    """

    layers: Sequence[AnyNorm | None] | Uniform[AnyNorm | None]
    indices: LaneValues[Mapping[str, int]]
    num_params: int
    num_buffers: int

    def output_shape(self, shape: Shape, *, channels_last: bool) -> Shape | None:
        layers = [self.layers.value] if isinstance(self.layers, Uniform) else self.layers
        if len(shape) == 4 and any(layer is not None and layer.per_position for layer in layers):
            return None  # maps lie in memory with their second dimension innermost, not the last
        tokens = len(shape) == 3 and all(layer is None or layer.per_position for layer in layers)
        if len(shape) != 2 and not tokens and (len(shape) != 4 or not channels_last or shape[1] == 1):
            return None
        for layer in layers:
            if isinstance(layer, TorchNorm):
                if not layer.supports(shape):
                    return None
            elif layer is not None:
                layer.check(torch.empty(shape, device="meta"))
        return shape

    def emit(self, context: EmitContext, x: ArgRef) -> tuple[ArgRef, EmitBackward]:
        layer = self.layers[context.lane]
        if layer is None:
            return x, identity_backward
        from ablate.kernels.compiled import norms
        from ablate.kernels.compiled.norm_pass import BATCH, EXAMPLE, SAVED, STORED

        channels = context.shape[-1 if layer.per_position else 1]
        examples = prod(context.shape[:-1]) if layer.per_position else context.shape[0]
        counts = 1, examples, prod(context.shape) // (examples * channels)
        values = [layer.settings["eps"], layer.settings.get("momentum", 0.0), float(layer.unbiased)]
        settings = context.calls.constant(torch.tensor(values, dtype=torch.float32))
        mode = EXAMPLE if not layer.over_examples else BATCH if layer.training else STORED
        centre = {"group": layer.group_size, "channel": 1, "not": 0}[layer.centred]
        row = mode, layer.group_size, centre, 0, 0
        indices = self.indices[context.lane]
        weight = context.params[indices["weight"]]
        bias = context.params[indices["bias"]] if "bias" in indices else context.calls.zeros(channels)
        running = [context.buffers[indices[name]] if name in indices else 0 for name in RUNNING]
        y, saved = context.output(context.shape, x), context.calls.saved(examples * SAVED * channels)
        function, workspace = norms.forward(channels)
        rows = context.calls.table(*row), context.calls.table(*_part_row(weight, bias, *running))
        context.call(function, x, y, saved, settings, context.calls.scratch(workspace), *rows, *counts)

        def backward(context: EmitContext, grad: ArgRef, wanted: bool) -> ArgRef:
            function, workspace = norms.backward(channels)
            grad_x, (first, *unused) = (
                context.output(context.shape, grad),
                context.calls.scratch_parts(workspace, channels),
            )
            grads = (
                (context.grads[indices[name]] if name in indices else NULL) or unused[0]
                for name in PARAMETERS
            )
            rows = context.calls.table(*row), context.calls.table(*_part_row(weight, *grads, 0))
            context.call(function, grad, x, saved, grad_x, settings, first, *rows, *counts)
            return grad_x

        return y, backward

    def eager(self, x: Tensor, params: Sequence[Tensor], buffers: Sequence[Tensor]) -> Tensor:
        return torch.cat(
            [self._eager_lane(lane, x[lane : lane + 1], params, buffers) for lane in range(len(x))]
        )

    def _eager_lane(
        self, lane: int, x: Tensor, params: Sequence[Tensor], buffers: Sequence[Tensor]
    ) -> Tensor:
        layer, indices = self.layers[lane], self.indices[lane]
        if layer is None:
            return x
        lane_tensors = {name: tensor[None] for name, tensor in tensors_of(layer).items()}
        for names, tensors in ((PARAMETERS, params), (RUNNING, buffers)):
            lane_tensors |= {
                name: tensors[indices[name]][lane : lane + 1] for name in names if name in indices
            }
        if layer.per_position:
            return normed_eager(layer, x.flatten(1, -2), lane_tensors).view(x.shape)
        return normed_eager(layer, x, lane_tensors)


def _part_row(*tensors: Argument) -> list[Argument]:
    """A row of the `parts` table of `compiled.norm_pass`: addresses, each with its lane stride in bytes, here 0: there is one lane."""
    return [number for tensor in tensors for number in (tensor, 0)]
