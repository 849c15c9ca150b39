"""Which layers compute exactly what torch defines for their type, so that another implementation may replace it.

A subclass of one of torch's layers whose `forward` differs (weight standardisation, LoRA, a norm with its activation), a layer
whose `forward` was replaced, one with hooks, and one whose parameters are computed from others count as user-defined.
"""

from __future__ import annotations

from torch import nn

METHODS = ("forward", "_conv_forward", "__call__", "__getattr__")
HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
)  # fmt: skip


def is_hooked(module: nn.Module) -> bool:
    """Whether calling `module` runs code other than its class's `forward`."""
    return any(getattr(module, hooks, None) for hooks in HOOKS) or "forward" in vars(module)


def is_torchs(layer: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether `layer` is one of the torch types `kinds` and computes what that type does."""
    kind = type(layer)
    base = next((base for base in kind.__mro__ if base in kinds), None)
    if base is None or is_hooked(layer) or hasattr(layer, "parametrizations"):
        return False
    return kind is base or all(getattr(kind, name, None) is getattr(base, name, None) for name in METHODS)
