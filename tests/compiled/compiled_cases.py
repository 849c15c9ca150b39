"""Running compiled functions in tests: between guards, and with vectors of another width."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from ablate.kernels.compiled import (
    affine,
    code,
    curves,
    direct,
    dropout,
    machine,
    norms,
    pool,
    rectify,
    tiles,
    turn,
    winograd,
)

GUARD = 64
"""Numbers before and behind a tensor."""
SIGN = -123456.0


class Guarded:
    """Tensors inside larger ones: `check` finds whether anything was written beside them."""

    def __init__(self) -> None:
        self.wide: list[tuple[Tensor, int]] = []

    def put(self, tensor: Tensor) -> Tensor:
        """The same numbers, at an address that no vector is aligned to."""
        flat = torch.full((tensor.numel() + 2 * GUARD + 1,), SIGN)
        inside = flat[GUARD + 1 : GUARD + 1 + tensor.numel()].view(tensor.shape)
        inside.copy_(tensor)
        self.wide.append((flat, tensor.numel()))
        return inside

    def check(self) -> None:
        for flat, numbers in self.wide:
            assert (flat[: GUARD + 1] == SIGN).all()
            assert (flat[GUARD + 1 + numbers :] == SIGN).all()


def run(function: Callable[..., None], tensors: Sequence[Tensor | None], counts: Sequence[int]) -> None:
    function(*(0 if tensor is None else tensor.data_ptr() for tensor in tensors), *counts)


FUNCTIONS = (
    affine.forward, affine.backward, curves.curve, direct.forward, direct.backward, direct.backward_to_x, dropout.dropped, norms.forward, norms.backward,
    pool.largest, pool.mean, rectify.rectified, turn.turned, tiles.forward, tiles.backward, winograd.forward, winograd.backward,
)  # fmt: skip


@contextmanager
def vectors_of(width: int) -> Iterator[None]:
    """Functions are written for vectors of `width` numbers, whatever the processor has."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (machine, code, affine, curves, direct, dropout, rectify, turn):
            patch.setattr(module, "floats", lambda: width)
        for function in FUNCTIONS:
            function.cache_clear()
        try:
            yield
        finally:
            for function in FUNCTIONS:
                function.cache_clear()
