"""`Recomputing`: a segment of several lanes is one autograd function, like a segment of one lane.

The second run, in the backward pass, has the context of the first: the lanes' Switches and the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.func import vmap

from ablate.kernels.compiled import op_cache, use_compiled
from ablate.kernels.lane_switches import active_switches, use_switches
from ablate.kernels.leave_vmap import LaneByLane, under_vmap
from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.registry import register_stacked, register_vmapped
from ablate.kernels.stacked import stacked
from ablate.kernels.vmapped import vmapped_rules
from ablate.surgery.recompute import Recomputing, Run, Segment


@register_stacked(Recomputing)
def recomputing(module: Recomputing, x: Tensor) -> Tensor:
    """Stacked rule of `Recomputing`."""
    if not torch.is_grad_enabled():
        for child in module:
            x = stacked(child, x)
        return x
    for names in module.segments():
        x = _stacked_segment(module, names, x)
    return x


def _stacked_segment(owner: Recomputing, names: Sequence[str], x: Tensor) -> Tensor:
    """`x` through the modules `names` of `owner`, which hold the stacked tensors of several lanes."""
    binding = binding_of(owner)
    bound = {path: tensor for path, tensor in binding.tensors().items() if path.split(".")[0] in names}
    weights = {path: tensor for path, tensor in bound.items() if tensor.requires_grad}
    buffers = {path: tensor for path, tensor in bound.items() if path not in weights}
    compiled, switches = op_cache(), active_switches()

    def run(tensors: Mapping[str, Tensor], value: Tensor) -> Tensor:
        with use_compiled(compiled), use_switches(switches), binding.bound(tensors):
            for name in names:
                value = stacked(owner.get_submodule(name), value)
            return value

    output: Tensor = Segment.apply(run, buffers, tuple(weights), x, *weights.values())  # type: ignore[no-untyped-call]
    return output


@register_vmapped(Recomputing)
def vmapped_recomputing(module: Recomputing, x: Tensor, only: Sequence[str] | None = None) -> Tensor:
    """Vmapped rule of `Recomputing`."""
    if only is not None or not torch.is_grad_enabled() or not under_vmap(x):
        return Recomputing.forward(module, x, only)
    for names in module.segments():
        weights, buffers = module.tensors(names)
        tensors = (x, *weights.values(), *buffers.values())
        x = _LeavesVmap.apply(module, module.runner(names), tuple(weights), tuple(buffers), *tensors)  # type: ignore[no-untyped-call]
    return x


class _LeavesVmap(torch.autograd.Function):
    """Its vmap rule applies `Segment` to the stacked tensors, with a run that is vmapped again."""

    generate_vmap_rule = False

    @staticmethod
    def forward(
        module: Recomputing, run: Run, weights: tuple[str, ...], buffers: tuple[str, ...], *tensors: Tensor
    ) -> Tensor:
        raise RuntimeError("only called under vmap")

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[object, ...], output: object) -> None:
        raise RuntimeError("only called under vmap")

    @staticmethod
    def vmap(info, in_dims, module, run, weights, buffers, *tensors):  # type: ignore[no-untyped-def]
        x_dim, *dims = in_dims[4:]
        dim_of = dict(zip((*weights, *buffers), dims, strict=True))
        again = _captured_context(module)

        def lanes(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
            state_dims = {name: dim_of[name] for name in state}
            with again():
                output: Tensor = vmap(run, in_dims=(state_dims, x_dim), randomness="error")(dict(state), x)
            return output

        values, state = tensors[1 : 1 + len(weights)], tensors[1 + len(weights) :]
        buffers_of_call = dict(zip(buffers, state, strict=True))
        output: Tensor = Segment.apply(lanes, buffers_of_call, weights, tensors[0], *values)  # type: ignore[no-untyped-call]
        return output, 0


def _captured_context(module: nn.Module) -> Callable[[], AbstractContextManager[None]]:
    """A context in which lanes run under vmap in the present mode."""
    mode, switches = LaneByLane.active, active_switches()

    @contextmanager
    def again() -> Iterator[None]:
        with ExitStack() as stack:
            if mode is not None:
                stack.enter_context(LaneByLane(channels_last=mode.channels_last))
            stack.enter_context(use_switches(switches))
            stack.enter_context(vmapped_rules(module))
            yield

    return again
