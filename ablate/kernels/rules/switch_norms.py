"""Norms that lanes picked in a Switch, as one compiled op."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ablate.kernels.compiled_norms import PARAMETERS, RUNNING, NormOp
from ablate.kernels.compiled_op import LayerOp
from ablate.kernels.compiled_ops import Uniform
from ablate.kernels.lane_switches import branch_binding
from ablate.kernels.registry import Eager
from ablate.kernels.torch_norms import BATCH_NORMS, as_norm, count_batch
from ablate.surgery.switch import Switch


def norms_op(
    switch: Switch, lanes: Sequence[Switch] | None, eager: Eager, rows: slice | None = None
) -> LayerOp:
    """`lanes`: each lane's own Switch (None: `switch` for all); `rows`: which of the lanes these are, if not all.

    The Switch's norms have tensors of their own; those of one kind (all weights, all running means) are the op's tensors,
    and each lane knows which of them are its own.
    """
    switches = lanes or [switch]
    tensors_by_lane = [
        {name.rpartition(".")[2]: number for number, name in branch_binding(lane).names.items()}
        for lane in switches
    ]
    parameters, running = (
        sorted({lane[name] for lane in tensors_by_lane for name in names if name in lane})
        for names in (PARAMETERS, RUNNING)
    )
    indices = [
        {name: of.index(lane[name]) for names, of in ((PARAMETERS, parameters), (RUNNING, running)) for name in names if name in lane}
        for lane in tensors_by_lane
    ]  # fmt: skip
    layers = [as_norm(lane.chosen) for lane in switches]
    counting = [type(lane.chosen) in BATCH_NORMS and lane.chosen.training for lane in switches]
    counted = torch.tensor(counting, dtype=torch.int64)
    counts = len(parameters), len(running)
    op = (
        NormOp(layers, indices, *counts)
        if lanes
        else NormOp(Uniform(layers[0]), Uniform(indices[0]), *counts)
    )

    def tensors(numbers: Sequence[int]) -> list[Tensor]:
        bound = branch_binding(switch).tensors(numbers)
        return bound if rows is None else [tensor[rows] for tensor in bound]

    def buffers() -> list[Tensor]:
        if any(counting):
            count_batch(switch.otherwise, counted, rows)
        return tensors(running)

    return LayerOp(eager, op, lambda: tensors(parameters), buffers)
