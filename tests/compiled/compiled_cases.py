"""Running compiled functions in tests: between guards, and with vectors of another width."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from ablate.kernels.compiled import (
    activations,
    convolution_1d,
    direct_convolution,
    dropout,
    flatten,
    ir_builder,
    jit,
    linear,
    norms,
    pooling,
    relu,
    tiled_winograd,
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
    convolution_1d.forward, convolution_1d.backward, linear.forward, linear.backward, activations.activation, direct_convolution.forward, direct_convolution.backward, direct_convolution.backward_to_x, dropout.dropout, norms.forward, norms.backward,
    pooling.max_pool, pooling.global_mean, relu.leaky_relu, flatten.transposed, tiled_winograd.forward, tiled_winograd.backward, winograd.forward, winograd.backward,
)  # fmt: skip


@contextmanager
def vectors_of(width: int) -> Iterator[None]:
    """Functions are written for vectors of `width` numbers, whatever the processor has."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (
            jit,
            ir_builder,
            convolution_1d,
            linear,
            activations,
            direct_convolution,
            dropout,
            relu,
            flatten,
        ):
            patch.setattr(module, "simd_width", lambda: width)
        for function in FUNCTIONS:
            function.cache_clear()
        try:
            yield
        finally:
            for function in FUNCTIONS:
                function.cache_clear()
