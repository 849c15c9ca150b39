"""Norm modules that a user writes around a function (`F.layer_norm(x, self.weight.shape, self.weight, self.bias)`), as torch's layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import fx, nn

from ablate.surgery.rewrite import calls_any, graph_of

ARGUMENTS = {
    F.layer_norm: ("input", "normalized_shape", "weight", "bias", "eps"),
    F.rms_norm: ("input", "normalized_shape", "weight", "eps"),
    F.group_norm: ("input", "num_groups", "weight", "bias", "eps"),
}
NAMES = frozenset(function.__name__ for function in ARGUMENTS)
LAYERS: dict[Any, type[nn.Module]] = {
    F.layer_norm: nn.LayerNorm,
    F.rms_norm: nn.RMSNorm,
    F.group_norm: nn.GroupNorm,
}
PARAMETERS = ("weight", "bias")
EPS = {F.layer_norm: 1e-5, F.rms_norm: None, F.group_norm: 1e-5}
"""The default of the functions."""


def make_norm_layers(module: nn.Module) -> None:
    """Make each block in `module` that does nothing but call a norm function on its input, with its own weight and bias, torch's layer that does the same, in
    place. Values, gradients and parameters stay."""
    for block in list(module.modules()):
        if block._modules or block._buffers or not block._parameters or not calls_any(block, NAMES):
            continue
        graph = graph_of(block)
        if graph is not None and (call := _only_call(graph)) is not None:
            _make_layer(block, call)


def _only_call(graph: fx.Graph) -> fx.Node | None:
    """The call of a norm function on the only input, whose result is the output; None where there is more."""
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    calls = [
        node
        for node in graph.nodes
        if node.op not in ("placeholder", "output", "get_attr") and not _is_shape_of_weight(node)
    ]
    (output,) = (node for node in graph.nodes if node.op == "output")
    alone = len(inputs) == len(calls) == 1 and output.args[0] is calls[0]
    return calls[0] if alone and calls[0].op == "call_function" and calls[0].target in ARGUMENTS else None


def _is_shape_of_weight(node: object) -> bool:
    """Whether a node is `self.weight.shape`."""
    if not isinstance(node, fx.Node) or node.target is not getattr:
        return False
    owner, name = node.args
    return (
        name == "shape" and isinstance(owner, fx.Node) and (owner.op, owner.target) == ("get_attr", "weight")
    )


def _make_layer(block: nn.Module, call: fx.Node) -> None:
    """Make `block` the layer that does what `call`, all that it does, does; unless an argument is something else than what such a layer holds."""
    function: Any = call.target
    given = dict(zip(ARGUMENTS[function], call.args, strict=False)) | dict(call.kwargs)
    held = {name: node.target for name in PARAMETERS if isinstance(node := given.get(name), fx.Node)}
    there = {name for name, parameter in block._parameters.items() if parameter is not None}
    attributes = _attributes(function, given, block)
    value = given["input"]
    if "weight" not in held or set(held) != there or any(name != target for name, target in held.items()):
        return
    if attributes is None or not isinstance(value, fx.Node) or value.op != "placeholder":
        return
    for name in PARAMETERS[: 1 if function is F.rms_norm else 2]:
        block.__dict__.pop(name, None)
        block._parameters.setdefault(name, None)
    block.__dict__.update(attributes, eps=given.get("eps", EPS[function]))
    block.__class__ = LAYERS[function]


def _attributes(function: Any, given: Mapping[str, Any], block: nn.Module) -> dict[str, Any] | None:
    """What torch's layer holds besides its parameters and eps; None where an argument is computed."""
    size = given.get("num_groups" if function is F.group_norm else "normalized_shape")
    if function is F.group_norm:
        whole = isinstance(size, int)
        return {"num_groups": size, "num_channels": len(block.weight), "affine": True} if whole else None  # type: ignore[arg-type]
    if _is_shape_of_weight(size):
        size = block.weight.shape
    if not isinstance(size, Sequence) or not all(isinstance(length, int) for length in size):
        return None
    return {"normalized_shape": tuple(size), "elementwise_affine": True}
