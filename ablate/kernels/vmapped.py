"""One vmapped call of a module on the stacked tensors of K lanes, for layers without a stacked rule."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from torch import Tensor, nn
from torch.func import vmap

from ablate.kernels.cache import cached
from ablate.kernels.leave_vmap import LaneByLane, twins
from ablate.kernels.memory_format import is_channels_last, stack_lanes
from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.registry import VMAPPED, VmappedRule


def vmapped(module: nn.Module, *inputs: Tensor, channels_last: bool | None = None) -> Tensor:
    """`module` on inputs `[K, B, …]`, holding the lanes' stacked tensors -> `[K, B, …]`.

    `channels_last`: the memory format of feature maps in convolutions; None: that of the first input.
    """
    binding = binding_of(module)
    state = binding.tensors()
    channels_last = is_channels_last(inputs[0]) if channels_last is None else channels_last

    def one(lane_tensors: dict[str, Tensor], *values: Tensor) -> Tensor:
        with binding.bound(lane_tensors):
            output: Tensor = module(*values)
            return output

    mode = LaneByLane(channels_last=channels_last) if inputs[0].device.type == "cpu" else nullcontext()
    with mode, vmapped_rules(module):
        if len(inputs[0]) > 1:
            y: Tensor = vmap(one, randomness="error")(state, *inputs)
            return y
        # One lane runs together with a discarded copy of itself: a batched product of one matrix uses another routine (for a single
        # column a matrix-vector product), which sums in another order; with two or more, each is computed as among many.
        pair = {name: with_copy(tensor) for name, tensor in state.items()}
        with twins():
            y = vmap(one, randomness="error")(pair, *map(with_copy, inputs))
    for name, _ in module.named_buffers():
        state[name].copy_(pair[name][:1])
    return y[:1]


@contextmanager
def vmapped_rules(module: nn.Module) -> Iterator[None]:
    """Context: layers in `module` with a vmapped rule run by it instead of their `forward`."""
    rules = cached(module, "vmapped_rules", _rules_in)
    before = [layer.__dict__.get("forward") for layer, _ in rules]
    for layer, rule in rules:
        layer.__dict__["forward"] = partial(rule, layer)
    try:
        yield
    finally:
        for (layer, _), forward in zip(rules, before, strict=True):
            if forward is None:
                del layer.__dict__["forward"]
            else:
                layer.__dict__["forward"] = forward


def _rules_in(module: nn.Module) -> list[tuple[nn.Module, VmappedRule]]:
    return [(layer, VMAPPED[type(layer)]) for layer in module.modules() if type(layer) in VMAPPED]


def with_copy(tensor: Tensor) -> Tensor:
    """A lane and a copy, which is discarded."""
    return stack_lanes([tensor, tensor.detach()], tensor, cat=True)
