"""How compiled code is handed tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor


def call(run: Callable[..., None], tensors: Sequence[Tensor | None], counts: Sequence[int]) -> None:
    """`run` at the addresses of the tensors (0 for None), which live until it has returned."""
    run(*(0 if tensor is None else tensor.data_ptr() for tensor in tensors), *counts)
