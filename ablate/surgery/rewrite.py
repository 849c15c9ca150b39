"""Rewrite the `forward` of a block from its trace (torch.fx, every submodule a leaf). The block keeps its class (as a base), its submodules and their names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import fx, nn

from ablate.surgery.torch_layers import is_hooked

UNTRACEABLE = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RuntimeError, TypeError, ValueError)  # fmt: skip
"""What a `forward` may raise when it is called with an fx proxy: fx's TraceError is a ValueError."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def graph_of(block: nn.Module) -> fx.Graph | None:
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


def set_forward(block: nn.Module, graph: fx.Graph, layers: Mapping[str, nn.Module]) -> None:
    """Add `layers` to `block` and replace its `forward` by `graph`."""
    holder = nn.Module()
    holder.__dict__.update({**vars(block), "_modules": {**block._modules, **layers}})
    written = type(fx.GraphModule(holder, graph)).forward
    block._modules.update(layers)
    block.__class__ = type(type(block).__name__, (type(block),), {"forward": written})
