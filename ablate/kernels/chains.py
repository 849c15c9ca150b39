"""Chains in a traced `forward`: layers and activations of which each works on the output of the one before and nothing else does.

The compiled kernel runs a chain as neighbouring layers (`fused`), as it would if they stood in an `nn.Sequential`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

ACTIVATIONS: dict[Any, Callable[[], nn.Module]] = {
    **dict.fromkeys((F.relu, torch.relu, "relu"), nn.ReLU),
    **dict.fromkeys((F.tanh, torch.tanh, "tanh"), nn.Tanh),
    **dict.fromkeys((F.sigmoid, torch.sigmoid, "sigmoid"), nn.Sigmoid),
    F.leaky_relu: nn.LeakyReLU,
    F.gelu: nn.GELU,
    F.silu: nn.SiLU,
}
"""Function, or name of a method -> the layer that computes the same with the same keyword arguments."""


def activation_of(node: fx.Node) -> nn.Module | None:
    """The activation layer that computes what a call of a function does; None where there is none."""
    if (
        node.op not in ("call_function", "call_method")
        or node.target not in ACTIVATIONS
        or len(node.args) != 1
    ):
        return None
    settings = {name: value for name, value in node.kwargs.items() if name != "inplace"}
    if any(isinstance(value, fx.Node) for value in settings.values()):
        return None
    return ACTIVATIONS[node.target](**settings)


def is_link(node: fx.Node) -> bool:
    """Whether a node works on one value only."""
    if node.op == "call_module":
        return len(node.args) == 1 and isinstance(node.args[0], fx.Node) and not node.kwargs
    return activation_of(node) is not None and isinstance(node.args[0], fx.Node)


def chains_of(graph: fx.Graph) -> Mapping[fx.Node, Sequence[fx.Node]]:
    """The longest possible chains of layers and activations, by their first node; a layer alone is none."""
    chains: dict[fx.Node, list[fx.Node]] = {}
    ends: dict[fx.Node, list[fx.Node]] = {}
    for node in graph.nodes:
        if not is_link(node):
            continue
        before = node.args[0]
        chain = ends.pop(before, None) if len(before.users) == 1 else None
        if chain is None:
            chain = chains[node] = []
        chain.append(node)
        ends[node] = chain
    return {first: chain for first, chain in chains.items() if len(chain) > 1 or first.op != "call_module"}
