"""Functions of K lanes that are computed one lane after the other.

torch vectorises exponentials and logarithms except at the end of a tensor, where they may round differently: of all lanes at once, a lane's value would depend on how many there are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), `[K, …]` -> `[K, …]`."""
    return torch.stack([F.softplus(lane) for lane in x.unbind(0)])
