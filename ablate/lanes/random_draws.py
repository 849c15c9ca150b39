"""Which functions of a model draw from torch's global generator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ablate.lanes.side_effects import run_both_modes
from ablate.surgery.layer_calls import LayerCallMode


def drawing(module: nn.Module, x: Tensor) -> str:
    """ "F.scaled_dot_product_attention in Attention, Dropout2d": what draws in a forward pass, in training or evaluation; empty if no
    torch function does (NumPy and Python have generators too)."""
    with torch.random.fork_rng(devices=[]), _Drawing(module) as mode:
        run_both_modes(module, x)
    return ", ".join(mode.found)


class _Drawing(LayerCallMode):
    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.found: Counter[str] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        before = torch.get_rng_state()
        result = func(*args, **(kwargs or {}))
        if not torch.equal(before, torch.get_rng_state()):
            kind = type(self.running[-1]) if self.running else nn.Module
            name = getattr(func, "__name__", str(func)).removesuffix("_")
            own = kind.__module__.startswith("torch.nn.")
            self.found[kind.__name__ if own else f"{name} in {kind.__name__}"] += 1
        return result
