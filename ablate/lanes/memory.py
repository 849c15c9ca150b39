"""Memory: whether an error means that it ran out, and how much a step saves for its backward pass."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means that memory ran out."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


REFUSED = "saved tensor hooks"
"""Part of the error that torch.func.grad raises where saved tensors are watched."""


def kept_bytes(step: Callable[[], object]) -> int | None:
    """Bytes that the forward passes within `step()` save for the backward pass, each storage counted once; None where the step takes
    gradients by torch.func, which forbids to watch them (`peak_bytes_of` counts there)."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        for storage in storages(tensor):
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


def peak_bytes_of(step: Callable[[], object]) -> int:
    """The most bytes that tensors made within `step()` hold at one time, whatever they are for."""
    live = _LiveBytes()
    with live:
        step()
    return live.peak


def storages(tensor: Tensor) -> Iterator[torch.UntypedStorage]:
    """The memory of a tensor; a sparse tensor has that of its indices and values."""
    if tensor.layout is torch.strided:
        yield tensor.untyped_storage()
    elif tensor.layout is torch.sparse_coo:
        yield from (part.untyped_storage() for part in (tensor._indices(), tensor._values()))
    elif tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        parts = tensor.crow_indices(), tensor.col_indices(), tensor.values()
        yield from (part.untyped_storage() for part in parts)
    elif tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        parts = tensor.ccol_indices(), tensor.row_indices(), tensor.values()
        yield from (part.untyped_storage() for part in parts)


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operations return, until they are freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        before = {s._cdata for s in self.storages_in((args, kwargs))}
        out = func(*args, **(kwargs or {}))
        for storage in self.storages_in(out):
            key = storage._cdata
            if key not in before and key not in self.alive:
                self.alive[key] = storage.nbytes()
                weakref.finalize(storage, self.alive.pop, key, None)
        self.peak = max(self.peak, sum(self.alive.values()))
        return out

    @staticmethod
    def storages_in(values: Any) -> Iterator[torch.UntypedStorage]:
        for leaf in tree_leaves(values):
            if isinstance(leaf, Tensor):
                yield from storages(leaf)
