"""Modules on the stacked tensors of K lanes, without vmap: `[K, B, …]` in, `[K, B, …]` out.

A module's parameters and buffers have been replaced by the lanes' stacked ones. Torch's plain layers have rules
here, ablate's own layers a method `stacked`; what has neither runs as traced (`traced`), or is vmapped by itself. Each lane's numbers are
the same, bit for bit, whatever lanes are beside it: products of matrices are batched by lane, pooling and the
exact activations handle elements one by one, convolutions on a CPU are products by lane (`small`) or run lane by lane.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import vmap

from ablate.kernels import small_convolution
from ablate.kernels.batched_matmul import affine, autocast
from ablate.kernels.compiled import known
from ablate.kernels.functional_rules import by_example
from ablate.kernels.fused import LayerOp, LayerOps
from ablate.kernels.layer_ops import LAYER_OPS, is_plain_convolution
from ablate.kernels.leave_vmap import LaneByLane, twins
from ablate.kernels.memory_format import is_innermost, match_grad_layout, match_layout, together
from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.tracing import program_of

Rule = Callable[..., Tensor]
Found = TypeVar("Found")


def stacked(module: nn.Module, *inputs: Tensor) -> Tensor:
    """`inputs` through `module`, of whose tensors each has the lanes as first dimension."""
    if (memory := known()) is not None and len(inputs) == 1:
        if module not in memory:
            memory[module] = LayerOps(layer_ops_of(module))
        y: Tensor = memory[module](inputs[0])
        return y
    return by_torch(module, *inputs)


def layer_ops_of(module: nn.Module) -> list[LayerOp]:
    """What compiled code is told of `module`: layers one after another, of which it takes those that it can."""
    if type(module) is nn.Sequential and not _is_hooked(module):
        return [piece for child in module for piece in layer_ops_of(child)]
    make = None if _is_hooked(module) else _first_of(type(module), "layer_ops", LAYER_OPS)
    run = partial(by_torch, module)
    return [LayerOp(run)] if make is None else make(module, run)


def by_torch(module: nn.Module, *inputs: Tensor) -> Tensor:
    """`stacked` without compiled code, but for the layers within `module`."""
    if rule := rule_of(module):
        return rule(module, *inputs)
    if program := program_of(module):
        return program.run(module, stacked, *inputs)
    return vmapped(module, *inputs)


def rule_of(module: nn.Module) -> Rule | None:
    """How `module` runs on stacked tensors; None: it has to be traced or vmapped, as what has hooks."""
    if _is_hooked(module):
        return None
    kind = type(module)
    if kind not in _FOUND:
        _FOUND[kind] = _first_of(kind, "stacked", RULES)
    return _FOUND[kind]


def _is_hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _first_of(kind: type[nn.Module], name: str, rules: Mapping[type[nn.Module], Found]) -> Found | None:
    """A class's own method `name`, unless `forward` has been changed below it; else the rule for torch's."""
    for base in kind.__mro__:
        if name in vars(base):
            own: Found = vars(base)[name]
            return own
        if "forward" in vars(base):
            break
    return rules.get(kind)


def is_covered(module: nn.Module, *, traced: bool = True) -> bool:
    """Whether nothing in `module` has to be vmapped; without `traced`, whether rules alone run it."""
    if type(module) is nn.Sequential:
        return all(is_covered(child, traced=traced) for child in module)
    if rule_of(module) is not None:
        return True
    program = program_of(module) if traced else None
    return program is not None and all(map(is_covered, program.submodules(module)))


def vmapped(module: nn.Module, *inputs: Tensor, innermost: bool | None = None) -> Tensor:
    """One vmapped call of `module`. `innermost`: convolutions on feature maps with the channels innermost in memory; None: as
    the first input has them."""
    binding = binding_of(module)
    state = binding.held()
    innermost = is_innermost(inputs[0]) if innermost is None else innermost

    def one(own: dict[str, Tensor], *values: Tensor) -> Tensor:
        before = binding.put(own)
        try:
            output: Tensor = module(*values)
            return output
        finally:
            binding.put(before)

    with LaneByLane(innermost=innermost) if inputs[0].device.type == "cpu" else nullcontext():
        if len(inputs[0]) > 1:
            y: Tensor = vmap(one, randomness="error")(state, *inputs)
            return y
        # A lane alone, beside a copy of itself that is thrown away: a batched product of one matrix is handed to
        # another routine (for a single column a matrix-vector product) that adds up in another order; of two or
        # more, each is what it is among a hundred.
        pair = {name: twice(tensor) for name, tensor in state.items()}
        with twins():
            y = vmap(one, randomness="error")(pair, *map(twice, inputs))
    for name, _ in module.named_buffers():
        state[name].copy_(pair[name][:1])
    return y[:1]


def sequence(module: nn.Sequential, x: Tensor) -> Tensor:
    for child in module:
        x = stacked(child, x)
    return x


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return affine(x, layer.weight, layer.bias)


def twice(tensor: Tensor) -> Tensor:
    """A lane, and beside it a copy that is thrown away."""
    return together([tensor, tensor.detach()], tensor, cat=True)


def convolution(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return convolved(layer, x, layer.weight, layer.bias) if is_lane_by_lane(layer, x) else vmapped(layer, x)


def is_lane_by_lane(layer: nn.Module, x: Tensor) -> bool:
    """Whether `convolved` can run the layer. Elsewhere than on a CPU grouped convolutions are the faster."""
    return is_plain_convolution(layer) and x.device.type == "cpu"


def convolved(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution of `layer` with these weights: `[K, B, C, H, W]` -> `[K, B, O, H', W']`. On small maps as products of
    matrices for all lanes, else lane by lane; on which of them never hangs on the number of lanes."""
    x, weight, bias = autocast(x, weight, bias)
    padding = cast(tuple[int, int], layer.padding)
    if algorithm := small_convolution.algorithm_for(
        x, weight, layer.stride, padding, layer.dilation, layer.groups
    ):
        return small_convolution.convolution(algorithm, x, weight, bias, layer.stride, padding)
    y: Tensor = _Convolution.apply(x, weight, bias, layer.stride, padding, layer.dilation, layer.groups)  # type: ignore[no-untyped-call]
    return y


class _Convolution(torch.autograd.Function):
    """Convolutions of K lanes one after another, as one node of the graph."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None,
        stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...], groups: int,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, weight)
        ctx.bias = bias is not None
        ctx.how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        lanes = zip(x, weight, [None] * len(x) if bias is None else bias, strict=True)
        return together([torch.conv2d(*lane, stride, padding, dilation, groups) for lane in lanes], x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        need = ctx.needs_input_grad[:3]
        to_x, to_weight, to_bias = small_convolution.gradients_by_lane(
            match_layout(gradient, x), x, weight, need, bias=ctx.bias, **ctx.how
        )
        return (
            together(to_x, x) if need[0] else None,
            torch.stack(list(to_weight)) if need[1] else None,
            torch.stack(list(to_bias)) if need[2] else None,
            None, None, None, None,
        )  # fmt: skip


def pooled(layer: nn.Module, x: Tensor) -> Tensor:
    return by_example(layer)(x)


def flattened(layer: nn.Flatten, x: Tensor) -> Tensor:
    if layer.start_dim < 1:
        return vmapped(layer, x)
    end = layer.end_dim + 1 if layer.end_dim >= 0 else layer.end_dim
    return match_grad_layout(x).flatten(layer.start_dim + 1, end)


def relu(layer: nn.ReLU, x: Tensor) -> Tensor:
    return F.relu(x)  # never in place: what comes in may be needed


def leaky_relu(layer: nn.LeakyReLU, x: Tensor) -> Tensor:
    return F.leaky_relu(x, layer.negative_slope)


def relu6(layer: nn.ReLU6, x: Tensor) -> Tensor:
    return F.relu6(x)


def identity(layer: nn.Identity, x: Tensor) -> Tensor:
    return x


RULES: Mapping[type[nn.Module], Rule] = {
    nn.Sequential: sequence,
    nn.Linear: linear,
    nn.Conv2d: convolution,
    nn.Flatten: flattened,
    nn.ReLU: relu,
    nn.LeakyReLU: leaky_relu,
    nn.ReLU6: relu6,
    nn.Identity: identity,
    nn.MaxPool2d: pooled,
    nn.AvgPool2d: pooled,
    nn.AdaptiveAvgPool2d: pooled,
    nn.AdaptiveMaxPool2d: pooled,
}
_FOUND: dict[type[nn.Module], Rule | None] = {}
