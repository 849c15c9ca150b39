"""Exponential moving averages of gradients, as in Adam and its variants (Kingma & Ba 2014, algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.seams.settings import Settings


def running_mean_(mean: Tensor, new: Tensor, beta: Tensor, rest: Tensor) -> Tensor:
    """mean ← β · mean + (1 − β) · new, in place; `rest` is 1 − β."""
    return mean.mul_(beta).add_(rest * new)


def betas(p: Settings) -> tuple[Tensor, ...]:
    """(β₁, β₂) and (1 − β₁, 1 − β₂), both `[K, 2]`; then their columns, four tensors `[K, 1]`."""
    both = torch.stack([p.beta1, p.beta2], dim=1)
    return both, 1 - both, *torch.split(both, 1, dim=1), *torch.split(1 - both, 1, dim=1)
