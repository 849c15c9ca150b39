"""Functions that a traced `forward` calls between its layers, on the stacked values `[K, …]` of K lanes.

Dimensions in a call are those of one lane. Shape operations, pooling and what `functional_elementwise` and `functional_math` list run for
all lanes at once, other functions lane by lane.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ablate.kernels.batched_matmul import affine
from ablate.kernels.compiled import op_cache
from ablate.kernels.compiled_ops import LinearOp
from ablate.kernels.functional_elementwise import ELEMENTWISE
from ablate.kernels.functional_math import MATH, matmul
from ablate.kernels.fused import FusedOp, compilable_prefix, is_compilable
from ablate.kernels.memory_format import is_channels_last, match_grad_layout, stack_lanes, to_channels_last


def apply_stacked(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], lanes: int) -> Any:
    """Call a function, or a method of the first argument, on stacked values and plain numbers. A tensor that it makes of numbers only
    is the same in all `lanes`."""
    first = _first_tensor((*args, *kwargs.values()))
    if first is None:
        result = (
            getattr(args[0], target)(*args[1:], **kwargs)
            if isinstance(target, str)
            else target(*args, **kwargs)
        )
        return result.expand(lanes, *result.shape) if isinstance(result, Tensor) else result
    rule = FUNCTIONS.get(target)
    result = NotImplemented if rule is None else rule(*args, **kwargs)
    if result is NotImplemented:
        return apply_by_lane(target, args, kwargs, first)
    maps = isinstance(result, Tensor) and result.ndim == 5 and is_channels_last(first)
    return to_channels_last(result) if maps and not is_channels_last(result) else result


def apply_by_lane(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], like: Tensor) -> Tensor:
    """Call it lane by lane. Raises TypeError if a result is not a tensor."""
    rows = []
    for own_args, own_kwargs in _lanes((args, kwargs), len(like)):
        call = getattr(own_args[0], target) if isinstance(target, str) else partial(target, own_args[0])
        rows.append(call(*own_args[1:], **own_kwargs))
    if not all(isinstance(row, Tensor) for row in rows):
        raise TypeError(f"{target} does not return a tensor")
    return stack_lanes(rows, like)


def _lanes(value: Any, count: int) -> list[Any]:
    """A container of the lanes' stacked tensors, as each lane's container."""
    if isinstance(value, Tensor):
        return list(match_grad_layout(value).unbind(0))
    if isinstance(value, (tuple, list)):
        columns = [_lanes(one, count) for one in value]
        return [type(value)(column[lane] for column in columns) for lane in range(count)]
    if isinstance(value, dict):
        rows = _lanes(list(value.values()), count)
        return [dict(zip(value, row, strict=True)) for row in rows]
    return [value] * count


def _first_tensor(values: Iterable[Any]) -> Tensor | None:
    """The first tensor in nested tuples, lists and dictionaries."""
    for value in values:
        if isinstance(value, Tensor):
            return value
        if isinstance(value, (tuple, list, dict)):
            inside = _first_tensor(value.values() if isinstance(value, dict) else value)
            if inside is not None:
                return inside
    return None


def _stacked_dim(dim: int) -> int:
    """The dimension of the stacked tensor for one of a lane's tensor."""
    return dim + 1 if dim >= 0 else dim


def _reshape(x: Tensor, *sizes: Any) -> Tensor:
    shape = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    return match_grad_layout(x).reshape(len(x), *shape)


def _flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    return match_grad_layout(x).flatten(_stacked_dim(start_dim), _stacked_dim(end_dim))


def _permute(x: Tensor, *dims: Any) -> Tensor:
    order = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    return x.permute(0, *(_stacked_dim(dim % (x.ndim - 1)) for dim in order))


def _pad(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """Constants around a lane's last dimensions."""
    return F.pad(match_grad_layout(x), pad, mode, value) if mode == "constant" else NotImplemented


def _join(join: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def joined(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
        return join(list(tensors), _stacked_dim(dim))

    return joined


def _size(x: Tensor, dim: int | None = None) -> Any:
    return x.shape[1:] if dim is None else x.shape[_stacked_dim(dim)]


def _getattr(x: Any, name: str) -> Any:
    """`x.shape`, `ndim`, `device`, `dtype` and `mT` of one lane, and what is no tensor's. Raises TypeError for any other attribute."""
    if not isinstance(x, Tensor):
        return getattr(x, name)
    if name == "shape":
        return x.shape[1:]
    if name == "ndim":
        return x.ndim - 1
    if name in ("device", "dtype", "mT"):
        return getattr(x, name)
    raise TypeError(f"the attribute {name} of a lane")


def _getitem(x: Any, index: Any) -> Any:
    indices = index if isinstance(index, tuple) else (index,)
    if any(isinstance(value, (Tensor, list)) for value in indices):
        raise TypeError("an index that is neither a number, a slice nor an ellipsis")
    return x[index] if not isinstance(x, Tensor) else x[(slice(None), *indices)]


def _to(x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Another dtype."""
    return (
        x.to(*args) if len(args) == 1 and isinstance(args[0], torch.dtype) and not kwargs else NotImplemented
    )


def over_examples(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A rule for functions that treat examples independently: the examples of all lanes become one batch."""

    def called(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        y = function(x.flatten(0, 1), *args, **kwargs)
        return torch.unflatten(y, 0, x.shape[:2])

    return called


def linear_product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The product as the lowering rule of a linear layer of these sizes computes it."""
    op = LinearOp(weight.shape[2], weight.shape[1], bias is not None)
    if (cache := op_cache()) is not None and is_compilable(x) and compilable_prefix([op], x):
        y: Tensor = cache.setdefault(op, FusedOp([op]))(x, [weight] if bias is None else [weight, bias])
        return y
    return affine(x, weight, bias)


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    **MATH,
    **ELEMENTWISE,
    operator.matmul: matmul,
    **dict.fromkeys((F.relu, torch.relu, "relu"), lambda x, inplace=False: F.relu(x)),
    **dict.fromkeys((torch.flatten, "flatten"), _flatten),
    **dict.fromkeys((torch.reshape, "reshape", "view"), _reshape),
    **dict.fromkeys((torch.permute, "permute"), _permute),
    **dict.fromkeys(
        (torch.transpose, "transpose"), lambda x, a, b: x.transpose(_stacked_dim(a), _stacked_dim(b))
    ),
    **dict.fromkeys((torch.unsqueeze, "unsqueeze"), lambda x, dim: x.unsqueeze(_stacked_dim(dim))),
    **dict.fromkeys((torch.squeeze, "squeeze"), lambda x, dim: x.squeeze(_stacked_dim(dim))),
    **dict.fromkeys((torch.cat, torch.concat), _join(torch.cat)),
    torch.stack: _join(torch.stack),
    **dict.fromkeys((torch.chunk, "chunk"), lambda x, chunks, dim=0: x.chunk(chunks, _stacked_dim(dim))),
    **dict.fromkeys((torch.split, "split"), lambda x, size, dim=0: x.split(size, _stacked_dim(dim))),
    F.pad: _pad,
    "size": _size,
    "dim": lambda x: x.ndim - 1,
    "contiguous": lambda x: x.contiguous(),
    "detach": lambda x: x.detach(),
    "to": _to,
    torch.ones_like: torch.ones_like,
    torch.zeros_like: torch.zeros_like,
    getattr: _getattr,
    operator.getitem: _getitem,
    F.linear: linear_product,
    **{
        pool: over_examples(pool)
        for pool in (
            F.max_pool1d,
            torch.max_pool1d,
            F.avg_pool1d,
            F.adaptive_avg_pool1d,
            F.adaptive_max_pool1d,
            F.max_pool2d,
            torch.max_pool2d,
            F.avg_pool2d,
            F.adaptive_avg_pool2d,
            F.adaptive_max_pool2d,
        )
    },
}
"""Function, or name of a method -> its implementation for all lanes at once; NotImplemented where it runs lane by lane."""
