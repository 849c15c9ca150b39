"""Exponential moving averages of gradients, as in Adam and its variants (Kingma & Ba 2014, algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors


def running_mean_(mean: Tensor, new: Tensor, beta: Tensor, one_minus_beta: Tensor) -> Tensor:
    """mean ← β · mean + (1 − β) · new, in place."""
    return mean.mul_(beta).add_(one_minus_beta * new)


def betas(p: Settings) -> tuple[Tensor, ...]:
    """(β₁, β₂) and (1 − β₁, 1 − β₂), both `[K, 2]`; then their columns, four tensors `[K, 1]`."""
    both = torch.stack([p.beta1, p.beta2], dim=1)
    return both, 1 - both, *torch.split(both, 1, dim=1), *torch.split(1 - both, 1, dim=1)


def moments(weights: LaneTensors) -> dict[str, Tensor]:
    """State of Adam and its variants, zeros: "mean" and "square" `[K, P]`, and "corrections" `[K, 2]`."""
    flat = weights.flat
    return {
        "mean": flat.new_zeros(flat.shape),
        "square": flat.new_zeros(flat.shape),
        "corrections": flat.new_zeros(weights.lanes, 2),
    }


def moments_(state: dict[str, Tensor], g: Tensor, p: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Take the gradient `[K, P]` into the state of `moments`, in place; (m, v, (c₁, c₂) `[K, 2]`).

    c is the same average taken of ones: 1 − βᵗ, the bias correction, without a power.
    """
    both, rests, beta1, beta2, rest1, rest2 = p.once(betas)
    m = running_mean_(state["mean"], g, beta1, rest1)
    v = running_mean_(state["square"], g * g, beta2, rest2)
    return m, v, state["corrections"].mul_(both).add_(rests)
