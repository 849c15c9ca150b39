"""Functions of K lanes that are computed one lane after the other.

torch vectorises exponentials and logarithms except at the end of a tensor, where they may round differently: of all lanes at once, a lane's value would depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def by_lane(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """`function` of each lane's tensors: `[K, …]` -> `[K, …]`."""
    return torch.stack(
        [function(*lane) for lane in zip(*(tensor.unbind(0) for tensor in tensors), strict=True)]
    )


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), `[K, …]` -> `[K, …]`."""
    return by_lane(F.softplus, x)
