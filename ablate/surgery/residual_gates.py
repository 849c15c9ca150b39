"""Gates on the residual additions of a model, so that a lane can switch them off.

A block's `forward` is traced once (torch.fx, every submodule a leaf), and each of its residual additions x + F(x) is
followed by a `KeptSum` layer, which gives the sum or F(x). The block keeps its class (as a base), its submodules and their names.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import fx, nn

from ablate.surgery.dataflow import Addition
from ablate.surgery.layers import KeptSum
from ablate.surgery.torch_layers import is_hooked

ADDS = (operator.add, operator.iadd, torch.add)
ADD_METHODS = ("add",)
UNTRACEABLE = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RuntimeError, TypeError, ValueError)  # fmt: skip
"""What a `forward` may raise when it is called with an fx proxy: fx's TraceError is a ValueError."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def gated(block: nn.Module, additions: Sequence[Addition], *, on: bool) -> int:
    """Put gates, open where `on`, on the residual `additions` of `block`, in place. Returns their number; 0 if the block cannot be traced."""
    graph = _graph_of(block)
    if graph is None:
        return 0
    nodes = [node for node in graph.nodes if _is_addition(node)]
    chosen = {}
    for addition in additions:
        if addition.of != len(nodes):  # scalars were added too, or a loop was unrolled otherwise
            return 0
        node = nodes[addition.index]
        first = node.args[0]
        if addition.in_place and isinstance(first, fx.Node) and len(first.users) > 1:
            return 0
        chosen[node] = addition.shortcut
    gates: dict[str, nn.Module] = {}
    for number, (node, shortcut) in enumerate(chosen.items()):
        name = f"residual_{number}"
        with graph.inserting_after(node):
            gate = graph.call_module(name, (node, node.args[1 - shortcut]))
        node.replace_all_uses_with(gate, delete_user_cb=lambda user, gate=gate: user is not gate)
        gates[name] = KeptSum(on)
    _set_forward(block, graph, gates)
    return len(gates)


def by_block(additions: Iterable[Addition]) -> Mapping[str, list[Addition]]:
    """Path of a block -> its residual additions."""
    by_path = defaultdict(list)
    for addition in additions:
        by_path[addition.block].append(addition)
    return by_path


def _graph_of(block: nn.Module) -> fx.Graph | None:
    """What `forward` does, the same in training and evaluation. None if tracing fails or changes the block."""
    if type(block).__module__.startswith("torch.") or is_hooked(block):
        return None
    before, mode = dict(vars(block)), block.training
    codes, graph = set(), None
    try:
        for training in (True, False):
            block.training = training
            graph = _Tracer().trace(block)
            codes.add(graph.python_code("self").src)
    except UNTRACEABLE:
        return None
    finally:
        block.training = mode
        after = dict(vars(block))
        changed = before.keys() != after.keys() or any(
            after[name] is not attribute for name, attribute in before.items()
        )
        vars(block).clear()
        vars(block).update(before)
    return None if changed or len(codes) != 1 else graph


def _is_addition(node: fx.Node) -> bool:
    if len(node.args) != 2 or node.kwargs or not all(isinstance(arg, fx.Node) for arg in node.args):
        return False
    return node.target in (
        ADDS if node.op == "call_function" else ADD_METHODS if node.op == "call_method" else ()
    )


def _set_forward(block: nn.Module, graph: fx.Graph, gates: Mapping[str, nn.Module]) -> None:
    """Add the layers `gates` to `block` and replace its `forward` by `graph`."""
    holder = nn.Module()
    holder.__dict__.update({**vars(block), "_modules": {**block._modules, **gates}})
    written = type(fx.GraphModule(holder, graph)).forward
    block._modules.update(gates)
    block.__class__ = type(type(block).__name__, (type(block),), {"forward": written})
