"""What a model provides of what tricks need: the words of `records.trick.REQUIREMENTS`."""

from __future__ import annotations

from torch import nn

from ablate.surgery.functional_activations import hidden_functions
from ablate.surgery.layer_types import ACTIVATIONS, CONVOLUTIONS, DROPOUTS, NORMS
from ablate.surgery.net import Net
from ablate.surgery.weight_norms import has_weight_norm


def provides(net: Net) -> frozenset[str]:
    """The words of `records.trick.REQUIREMENTS` that the model provides."""
    words = set()
    hidden = net.hidden()
    if any(issubclass(info.kind, CONVOLUTIONS) for info in net.layer_infos):
        words.add("convolution")
    if hidden or net.of(*NORMS):
        words.add("normalisable")
    if net.of(*ACTIVATIONS) or hidden_functions(net.module, net.observed, net.heads):
        words.add("activation")
    if net.of(*NORMS):
        words.add("norm layer")
    if net.attention_dropouts() or any(
        getattr(net.layer(info.path), "p", 0) > 0 for info in net.of(*DROPOUTS)
    ):
        words.add("dropout layer")
    if net.observed.additions:
        words.update(("residual addition", "block to pass over"))
    if has_weight_norm(net.module):
        words.add("weight normalisation")
    if net.of(nn.Upsample):
        words.add("upsampling")
    if any(_subsamples(net.layer(info.path)) for info in net.of(nn.MaxPool2d)):
        words.add("subsampling")
    if net.of(nn.Embedding):
        words.add("embedding")
    if any(info.input == info.output and not info.in_residual for info in hidden):
        words.update(("shape-preserving block", "block to pass over"))
    if any(len(info.output) == 4 for info in hidden):
        words.add("spatial model")
    return frozenset(words)


def _subsamples(layer: nn.Module) -> bool:
    stride = getattr(layer, "stride", 1)
    return stride > 1 if isinstance(stride, int) else max(stride) > 1
