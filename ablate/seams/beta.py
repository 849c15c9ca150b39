"""The symmetric beta distribution, drawn from two uniform numbers."""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor


def symmetric_beta(u: Tensor, v: Tensor, alpha: Tensor) -> Tensor:
    """Beta(α, α) from `u`, `v` uniform on [0, 1), all of one shape; float32. Its limit, a fair coin, at α = 0.

    Bailey's polar method gives Student's t with 2α degrees of freedom, T = √(2α (U^(−1/α) − 1)) cos 2πV, and
    ½ + ½ T / √(2α + T²) is Beta(α, α) (Bailey 1994, Math. Comp. 62; Devroye 1996). Written with r = U^(1/α), which cannot
    overflow, and computed in float64, so that a device's last bit of a cosine does not show.
    """
    r = u.double().pow(1 / alpha.double())
    cosine = torch.cos(2 * pi * v.double())
    ratio = cosine * ((1 - r) / (r + (1 - r) * cosine.square())).sqrt()
    return (0.5 + 0.5 * ratio).clamp(0, 1).to(torch.float32)
