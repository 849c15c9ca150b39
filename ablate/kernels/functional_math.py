"""Reductions, products, attention and smooth functions that a traced `forward` calls, on the stacked values `[K, …]` of K lanes.

Each runs for all lanes at once where a lane's bits do not depend on the others, and returns NotImplemented where they would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ablate.kernels.batched_matmul import product
from ablate.kernels.compiled_attention import compiled_attention

VECTOR_BLOCK = 64
"""Elements: a multiple of what torch's vectorised loops process at a time (two AVX-512 vectors of float32)."""


def vectorises_alike(x: Tensor) -> bool:
    """Whether a lane of `x` `[K, …]`, contiguous, is a whole number of vector blocks: elementwise functions then round alike in any group.

    At the end of a tensor they may round differently, and threads would divide the lanes elsewhere.
    """
    if x.device.type != "cpu":
        return True
    return x[0].numel() % VECTOR_BLOCK == 0 and x.is_contiguous() and torch.get_num_threads() == 1


def by_vector_blocks(function: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """An elementwise function of tensors `[K, …]` of one shape, for all lanes at once where a lane's bits do not depend on its position."""
    values = tuple(value.contiguous() for value in values)
    if all(map(vectorises_alike, values)):
        return function(*values)
    return torch.stack([function(*lane) for lane in zip(*values, strict=True)])


def pointwise(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """A rule for functions of one tensor that torch vectorises."""

    def called(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        plain = not any(isinstance(value, Tensor) for value in (*args, *kwargs.values()))
        return function(x, *args, **kwargs) if plain and vectorises_alike(x) else NotImplemented

    return called


def reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    """A rule for functions over some or all dimensions of a lane."""

    def called(x: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Any:
        own = range(x.ndim - 1) if dim is None else [dim] if isinstance(dim, int) else dim
        return function(x, tuple(each % (x.ndim - 1) + 1 for each in own), keepdim)

    return called


def extreme(function: Callable[..., Any]) -> Callable[..., Any]:
    """`max` and `min` over one dimension, which give values and indices."""

    def called(x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
        return function(x, dim % (x.ndim - 1) + 1, keepdim) if isinstance(dim, int) else NotImplemented

    return called


def softmax(x: Tensor, dim: int | None = None, **rest: Any) -> Any:
    """Softmax over the last dimension, row by row."""
    last = dim is not None and dim % (x.ndim - 1) == x.ndim - 2
    return torch.softmax(x.contiguous(), -1) if last and not rest else NotImplemented


def matmul(a: Any, b: Any) -> Any:
    """Matrices, or the same number of leading dimensions with matrices in the last two."""
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)) or a.ndim != b.ndim or a.ndim < 3:
        return NotImplemented
    if a.ndim == 3:
        return product(a, b)
    leading = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])  # type: ignore[no-untyped-call]
    a, b = (each.expand(*leading, *each.shape[-2:]).flatten(0, -3) for each in (a, b))
    return product(a, b).view(*leading, a.shape[-2], b.shape[-1])


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """`F.scaled_dot_product_attention` on `[B, H, T, D]` a lane: both kernels treat examples and heads independently."""
    each = (query, key, value)
    if enable_gqa or dropout_p or isinstance(attn_mask, Tensor) or any(tensor.ndim != 5 for tensor in each):
        return NotImplemented
    if scale is None and (y := compiled_attention(query, key, value, causal=is_causal)) is not None:
        return y
    q, k, v = (tensor.flatten(0, 1) for tensor in each)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=is_causal, scale=scale)
    return y.reshape(*query.shape[:2], *y.shape[1:])


MATH: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((torch.mean, "mean"), reduction(torch.mean)),
    **dict.fromkeys((torch.sum, "sum"), reduction(torch.sum)),
    **dict.fromkeys((torch.amax, "amax"), reduction(torch.amax)),
    **dict.fromkeys((torch.amin, "amin"), reduction(torch.amin)),
    **dict.fromkeys((torch.max, "max"), extreme(torch.max)),
    **dict.fromkeys((torch.min, "min"), extreme(torch.min)),
    **dict.fromkeys((F.softmax, torch.softmax, "softmax"), softmax),
    **dict.fromkeys((torch.matmul, torch.bmm, "matmul", "bmm"), matmul),
    F.scaled_dot_product_attention: attention,
    F.gelu: pointwise(F.gelu),
    **dict.fromkeys((F.silu,), pointwise(F.silu)),
    **dict.fromkeys((F.tanh, torch.tanh, "tanh"), pointwise(torch.tanh)),
    **dict.fromkeys((F.sigmoid, torch.sigmoid, "sigmoid"), pointwise(torch.sigmoid)),
    **dict.fromkeys((torch.exp, "exp"), pointwise(torch.exp)),
}
"""Function, or name of a method -> its implementation for all lanes at once, or NotImplemented."""
