"""What compiled code takes, and how it is handed tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ablate.compiled import is_used


def takes(x: Tensor, *others: Tensor | None) -> bool:
    """Whether compiled code is used and these are what it computes with: float32 on a CPU, `x` not empty."""
    if not is_used() or x.device.type != "cpu" or x.numel() == 0:
        return False
    return all(tensor is None or tensor.dtype == torch.float32 for tensor in (x, *others))


def call(run: Callable[..., None], tensors: Sequence[Tensor | None], counts: Sequence[int]) -> None:
    """`run` at the addresses of the tensors (0 for None), which live until it has returned."""
    run(*(0 if tensor is None else tensor.data_ptr() for tensor in tensors), *counts)
