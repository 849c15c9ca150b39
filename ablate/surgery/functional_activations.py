"""Activation functions that a user's `forward` calls (`F.relu(x)`, `x.relu()`), as layers that surgery can replace.

A block's `forward` is rewritten only where a trick is there to use it; the layers compute what the functions do, bit for bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from ablate.surgery.observe import Observed
from ablate.surgery.rewrite import FUNCTION, graph_of, set_forward
from ablate.surgery.switch import Switch

LAYERS: dict[Any, Callable[[], nn.Module]] = {
    **dict.fromkeys((F.relu, torch.relu, "relu"), nn.ReLU),
    **dict.fromkeys((F.tanh, torch.tanh, "tanh"), nn.Tanh),
    **dict.fromkeys((F.sigmoid, torch.sigmoid, "sigmoid"), nn.Sigmoid),
    F.leaky_relu: nn.LeakyReLU,
    F.gelu: nn.GELU,
    F.silu: nn.SiLU,
}
"""Function, or name of a method -> the layer that computes the same with the same keyword arguments."""
GATES = (nn.Sigmoid, nn.Tanh)
"""Called as functions, these are mostly gates and outputs, and are left alone."""


def layer_of(node: fx.Node) -> nn.Module | None:
    """The activation layer that computes what a call of a function does; None where there is none."""
    if node.op not in ("call_function", "call_method") or node.target not in LAYERS or len(node.args) != 1:
        return None
    settings = {name: value for name, value in node.kwargs.items() if name != "inplace"}
    if any(isinstance(value, fx.Node) for value in settings.values()):
        return None
    return LAYERS[node.target](**settings)


def hidden_calls(
    block: nn.Module, graph: fx.Graph, *, to_output: bool
) -> Iterator[tuple[fx.Node, nn.Module]]:
    """(call, the layer that does the same) of `block` for the functions whose results a later layer with weights reads; `to_output`: or that leave the block, which other layers follow.

    Left out are functions that write over a value that something else reads.
    """
    for node in graph.nodes:
        layer = layer_of(node)
        if layer is None or isinstance(layer, GATES):
            continue
        in_place = bool(node.kwargs.get("inplace")) and len(node.args[0].users) > 1
        if not in_place and (to_output or _read_by_weights(block, node)):
            yield node, layer


def _read_by_weights(block: nn.Module, node: fx.Node) -> bool:
    """Whether a layer with parameters works on what was computed from the node."""
    later, seen = list(node.users), set[fx.Node]()
    while later:
        user = later.pop()
        if user in seen:
            continue
        seen.add(user)
        if user.op == "call_module" and any(True for _ in block.get_submodule(str(user.target)).parameters()):
            return True
        later.extend(user.users)
    return False


def _traced(
    module: nn.Module, observed: Observed, heads: Collection[str]
) -> Iterator[tuple[nn.Module, fx.Graph, list[tuple[fx.Node, nn.Module]]]]:
    """(block, its trace, its `hidden_calls`) of the blocks in `module` that call activation functions."""
    classes = {what.partition(" in ")[2] for what, _ in observed.out_of_reach_of("activation")}
    for path, block in list(module.named_modules()):
        if type(block).__name__ not in classes or (graph := graph_of(block)) is None:
            continue
        holds_head = any(path in ("", head) or head.startswith(f"{path}.") for head in heads)
        if calls := list(hidden_calls(block, graph, to_output=not holds_head)):
            yield block, graph, calls


def hidden_functions(module: nn.Module, observed: Observed, heads: Collection[str]) -> Counter[str]:
    """What `replace_calls` finds: "F.relu in Block" -> how many calls."""
    return Counter(
        f"{_name(node)} in {type(block).__name__}"
        for block, _, calls in _traced(module, observed, heads)
        for node, _ in calls
    )


def replace_calls(module: nn.Module, observed: Observed, heads: Collection[str]) -> list[tuple[str, Switch]]:
    """Let the blocks in `module` call a Switch in place of each activation function between layers: ("F.relu in Block", the Switch)."""
    switches: list[tuple[str, Switch]] = []
    for block, graph, calls in _traced(module, observed, heads):
        layers: dict[str, Switch] = {}
        for number, (node, layer) in enumerate(calls):
            name = f"{FUNCTION}{number}"
            layers[name] = Switch(layer)
            with graph.inserting_after(node):
                replacement = graph.call_module(name, (node.args[0],))
            node.replace_all_uses_with(replacement)
            graph.erase_node(node)
            switches.append((f"{_name(node)} in {type(block).__name__}", layers[name]))
        set_forward(block, graph, layers)
    return switches


def _name(node: fx.Node) -> str:
    return "F." + (node.target if isinstance(node.target, str) else getattr(node.target, "__name__", ""))
