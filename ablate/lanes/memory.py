"""Memory: whether an error means that it ran out, and how much a step saves for its backward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means that memory ran out."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


REFUSED = "saved tensor hooks"
"""Part of the error that torch.func.grad raises where saved tensors are watched."""


def kept_bytes(step: Callable[[], object]) -> int | None:
    """Bytes that the forward passes within `step()` save for the backward pass, each storage counted once; None where the step takes
    gradients by torch.func, which forbids to watch them."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    try:
        with saved_tensors_hooks(note, lambda tensor: tensor):
            step()
    except RuntimeError as error:
        if REFUSED not in str(error):
            raise
        return None
    return sum(kept.values())
