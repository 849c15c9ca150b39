"""Layers whose weight is computed from other parameters by torch's `weight_norm` or `spectral_norm`, old or new."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm

KINDS = {"_WeightNorm": "weight_norm", "_SpectralNorm": "spectral_norm"}
"""Class of torch's parametrizations -> the function that makes them."""
OLD_KINDS: dict[str, tuple[str, Callable[[nn.Module, str], nn.Module]]] = {
    "WeightNorm": ("weight_norm", remove_weight_norm),
    "SpectralNorm": ("spectral_norm", remove_spectral_norm),
}
"""Class of torch's pre-forward hooks -> the function that makes them, and the one that removes them."""


def weight_norms(module: nn.Module) -> list[tuple[str, Callable[[], object]]]:
    """("weight_norm" or "spectral_norm", function that removes it) for each weight of the module that has one.

    Removal leaves a plain parameter with the weight's present value.
    """
    removals: list[tuple[str, Callable[[], object]]] = []
    for layer in module.modules():
        parametrizations = layer._modules.get(
            "parametrizations"
        )  # wrappers delegate attributes to the layer that they wrap
        if isinstance(parametrizations, nn.ModuleDict):
            for name, chain in parametrizations.items():
                kinds = [KINDS.get(type(one).__name__) for one in chain.children()]
                if (
                    len(kinds) == 1 and kinds[0] is not None
                ):  # with a second parametrization, which would be removed too
                    removals.append((kinds[0], partial(parametrize.remove_parametrizations, layer, name)))
        for hook in layer._forward_pre_hooks.values():
            kind, remove = OLD_KINDS.get(type(hook).__name__, ("", remove_weight_norm))
            if kind and type(hook).__module__.startswith("torch.nn.utils."):
                removals.append((kind, partial(remove, layer, hook.name)))  # type: ignore[attr-defined]
    return removals


def has_weight_norm(module: nn.Module) -> bool:
    """Whether a weight of the module has weight or spectral norm."""
    return len(weight_norms(module)) > 0
