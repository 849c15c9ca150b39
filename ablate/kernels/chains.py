"""Chains in a traced `forward`: layers and activations of which each works on the output of the one before and nothing else does.

The compiled kernel runs a chain as neighbouring layers (`fused`), as it would if they stood in an `nn.Sequential`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import fx

from ablate.surgery.functional_activations import layer_of


def is_link(node: fx.Node) -> bool:
    """Whether a node works on one value only."""
    if node.op == "call_module":
        return len(node.args) == 1 and isinstance(node.args[0], fx.Node) and not node.kwargs
    return layer_of(node) is not None and isinstance(node.args[0], fx.Node)


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
