"""Dropout functions that a user's `forward` calls (`F.dropout(x, p, training=self.training)`), as layers that surgery can replace.

The layers draw as the functions do, in the same order. A call whose `training` does not follow the module's mode (Monte Carlo dropout, or the default, which is
True) is left alone, and so is a block that does anything else in evaluation than in training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import fx, nn

from ablate.surgery.rewrite import DROPOUT, calls_any, graph_of, set_forward

LAYERS: dict[Any, Callable[..., nn.Module]] = {
    F.dropout: nn.Dropout,
    F.dropout1d: nn.Dropout1d,
    F.dropout2d: nn.Dropout2d,
    F.dropout3d: nn.Dropout3d,
    F.alpha_dropout: nn.AlphaDropout,
    F.feature_alpha_dropout: nn.FeatureAlphaDropout,
}
"""Function -> the layer that computes the same. Their arguments are (input, p, training, inplace), with different defaults."""
NAMES = frozenset(function.__name__ for function in LAYERS)
ARGUMENTS = ("input", "p", "training", "inplace")


def with_dropout_layers(module: nn.Module) -> None:
    """Let the blocks in `module` call a layer in place of each dropout function that follows their mode, in place. Values, gradients and
    parameters stay."""
    for block in list(module.modules()):
        if calls_any(block, NAMES) and (graph := graph_of(block, ignored=_as_in_training)) is not None:
            _replace(block, graph)


def _as_in_training(graph: fx.Graph, *, training: bool) -> None:
    """Mark the calls in a trace of this mode that follow it, as `training=None`: so the traces of both modes are the same."""
    for node in graph.nodes:
        if node.op == "call_function" and node.target in LAYERS:
            given = dict(zip(ARGUMENTS, node.args, strict=False)) | dict(node.kwargs)
            if given.get("training") is training:
                given["training"] = None
            node.args, node.kwargs = (given.pop("input"),), given


def _replace(block: nn.Module, graph: fx.Graph) -> None:
    """Let `block` call layers where its `graph` has marked calls; nothing if one of these cannot be a layer."""
    calls = [node for node in graph.nodes if node.op == "call_function" and node.target in LAYERS and node.kwargs.get("training", True) is None]  # fmt: skip
    if not calls or not all(map(_can_be_a_layer, calls)):
        return
    layers: dict[str, nn.Module] = {}
    for number, node in enumerate(calls):
        name = f"{DROPOUT}{number}"
        layers[name] = LAYERS[node.target](node.kwargs.get("p", 0.5))
        with graph.inserting_after(node):
            replacement = graph.call_module(name, node.args)
        node.replace_all_uses_with(replacement)
        graph.erase_node(node)
    set_forward(block, graph, layers)


def _can_be_a_layer(node: fx.Node) -> bool:
    """Whether p is a probability, and nothing else reads a value that the call writes over."""
    p, value = node.kwargs.get("p", 0.5), node.args[0]
    in_place = bool(node.kwargs.get("inplace")) and isinstance(value, fx.Node) and len(value.users) > 1
    return isinstance(p, int | float) and 0 <= p <= 1 and not in_place
