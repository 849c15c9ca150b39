"""Trained models as inference needs them: weights that tricks compute from other tensors are computed once.

    Ŵ = T_n(… T_1(W)),   b̂ = b, or 0 where a norm made it superfluous

Shapes: W `[O, I, …]` keeps its own. Afterwards the layer is the user's, with the user's names, and costs what it did; the tensors from which its weight was
computed are removed (ACNet's asymmetric kernels, the lengths of weight normalisation, the vectors of spectral normalisation).
Lineage: Ding et al. 2019, section 3.3 (branch fusion).
"""

from __future__ import annotations

import torch
from torch import nn

from ablate.surgery.layer_types import AFFINE
from ablate.surgery.layers import Site


@torch.no_grad()
def folded(module: nn.Module) -> nn.Module:
    """`module`, in evaluation mode, without weight transforms: in place, but for a `module` that itself is a site with nothing else around its layer."""
    module.eval()
    for site in [one for one in module.modules() if isinstance(one, Site)]:
        _fold(site)
    for parent in list(module.modules()):
        for name, child in parent._modules.items():
            if isinstance(child, Site):
                parent._modules[name] = _unwrapped(child)
    return _unwrapped(module) if isinstance(module, Site) else module


def _fold(site: Site) -> None:
    layer = site.layer
    if not isinstance(layer, AFFINE) or hasattr(layer, "parametrizations"):
        return
    weight = layer.weight
    for transform in site.weight_transforms:
        weight = transform(weight)
    if not torch.equal(weight, layer.weight):
        layer.weight = nn.Parameter(weight)  # a new one: layers that share it have transforms of their own
    if site.bias_gate is not None and layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias * site.bias_gate.on)
    site.weight_transforms, site.bias_gate = nn.ModuleList(), None


def _unwrapped(site: Site) -> nn.Module:
    around = (site.before, site.weight_transforms, site.after)
    bare = not any(map(len, around)) and site.norm is site.residual is site.bias_gate is None
    return site.layer if bare else site
