"""Layers at the residual additions x + F(x) of a model: gates that switch the shortcut off, and layers that drop F(x) in training.

A block's `forward` is traced once (torch.fx, every submodule a leaf), and each of its residual additions is followed by a `KeptSum`
layer, which gives the sum or F(x), or gets F(x) through a `DropBranch`. The block keeps its class (as a base), its submodules and their names.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import fx, nn

from ablate.surgery.dataflow import Addition
from ablate.surgery.encoder_layers import DroppingEncoderLayer, GatedEncoderLayer, add_layers
from ablate.surgery.layers import KeptSum
from ablate.surgery.rewrite import DROPPED, GATE, graph_of, set_forward

ADDS = (operator.add, operator.iadd, torch.add)
ADD_METHODS = ("add",)


def gated(block: nn.Module, additions: Sequence[Addition], *, on: bool) -> int:
    """Put gates, open where `on`, on the residual `additions` of `block`, in place. Returns their number; 0 if the block cannot be traced."""
    if add_layers(block, {f"{GATE}{one.index}": KeptSum(on) for one in additions}, GatedEncoderLayer):
        return len(additions)
    found = _found(block, additions)
    if found is None:
        return 0
    graph, nodes = found
    gates: dict[str, nn.Module] = {}
    for number, (addition, node) in enumerate(zip(additions, nodes, strict=True)):
        name = f"{GATE}{number}"
        with graph.inserting_after(node):
            gate = graph.call_module(name, (node, node.args[1 - addition.shortcut]))
        node.replace_all_uses_with(gate, delete_user_cb=partial(operator.is_not, gate))
        gates[name] = KeptSum(on)
    set_forward(block, graph, gates)
    return len(gates)


def with_drops(block: nn.Module, additions: Sequence[Addition], drops: Sequence[nn.Module]) -> int:
    """Pass the branch of each of the residual `additions` of `block` through one of `drops`, in place. Returns their number, as `gated`."""
    branches = {f"{DROPPED}{one.index}": drop for one, drop in zip(additions, drops, strict=True)}
    if add_layers(block, branches, DroppingEncoderLayer):
        return len(branches)
    found = _found(block, additions)
    if found is None:
        return 0
    graph, nodes = found
    layers: dict[str, nn.Module] = {}
    for number, (addition, node, drop) in enumerate(zip(additions, nodes, drops, strict=True)):
        name, place = f"{DROPPED}{number}", 1 - addition.shortcut
        with graph.inserting_before(node):
            node.update_arg(place, graph.call_module(name, (node.args[place],)))
        layers[name] = drop
    set_forward(block, graph, layers)
    return len(layers)


def _found(block: nn.Module, additions: Sequence[Addition]) -> tuple[fx.Graph, list[fx.Node]] | None:
    """What `block` does, and the nodes of its residual `additions`; None where it cannot be traced, or a layer at one would change another value."""
    graph = graph_of(block)
    if graph is None:
        return None
    nodes = [node for node in graph.nodes if _is_addition(node)]
    for addition in additions:
        if addition.of != len(nodes):  # scalars were added too, or a loop was unrolled otherwise
            return None
        first = nodes[addition.index].args[0]
        if addition.in_place and isinstance(first, fx.Node) and len(first.users) > 1:
            return None
    return graph, [nodes[addition.index] for addition in additions]


def by_block(additions: Iterable[Addition]) -> Mapping[str, list[Addition]]:
    """Path of a block -> its residual additions."""
    by_path = defaultdict(list)
    for addition in additions:
        by_path[addition.block].append(addition)
    return by_path


def _is_addition(node: fx.Node) -> bool:
    if len(node.args) != 2 or node.kwargs or not all(isinstance(arg, fx.Node) for arg in node.args):
        return False
    return node.target in (
        ADDS if node.op == "call_function" else ADD_METHODS if node.op == "call_method" else ()
    )
