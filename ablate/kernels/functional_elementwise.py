"""Elementwise functions that are rounded correctly wherever an element lies, for all lanes at once.

A lane's bits do not depend on its position then, as they do with functions that torch approximates in vectors (`functional_math.pointwise`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., Any]


def elementwise(function: Callable[..., Tensor]) -> Function:
    """A rule for functions of tensors `[K, …]` and numbers. The lanes' shapes broadcast from their last dimension.

    NotImplemented where a tensor is a single number in each lane and of another dtype: torch would then promote the dtype less than for a
    stacked one.
    """

    def aligned(*values: Any, **options: Any) -> Any:
        tensors = [value for value in (*values, *options.values()) if isinstance(value, Tensor)]
        if len(tensors) == 1:
            return function(*values, **options)
        if _promotes_otherwise(tensors):
            return NotImplemented
        most = max(tensor.ndim for tensor in tensors)
        named = {name: _with_dims(value, most) for name, value in options.items()}
        return function(*(_with_dims(value, most) for value in values), **named)

    return aligned


def _promotes_otherwise(tensors: Sequence[Tensor]) -> bool:
    return any(tensor.ndim == 1 for tensor in tensors) and len({tensor.dtype for tensor in tensors}) > 1


def _with_dims(value: Any, ndim: int) -> Any:
    """A tensor `[K, …]` with `ndim` dimensions, the new ones behind the first; anything else unchanged."""
    if not isinstance(value, Tensor) or value.ndim == ndim:
        return value
    return value.reshape(len(value), *[1] * (ndim - value.ndim), *value.shape[1:])


def where(condition: Tensor, *values: Any) -> Any:
    """`torch.where` of three arguments; that of one gives indices."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    if len(values) != 2 or _promotes_otherwise(tensors):
        return NotImplemented
    most = max(tensor.ndim for tensor in (condition, *tensors))
    return torch.where(*(_with_dims(value, most) for value in (condition, *values)))


def rsqrt(x: Tensor) -> Tensor:
    """1/√x by two correctly rounded operations: torch's own `rsqrt` may round differently at the end of a tensor."""
    return x.sqrt().reciprocal()


def power(x: Any, exponent: Any) -> Any:
    """`x ** 2`; other powers are approximated."""
    return (
        torch.square(x)
        if isinstance(x, Tensor) and isinstance(exponent, int) and exponent == 2
        else NotImplemented
    )


ELEMENTWISE: dict[Any, Function] = {
    **{
        each: elementwise(function)
        for function, names in (
            (torch.add, (operator.add, torch.add, "add")),
            (torch.sub, (operator.sub, torch.sub, "sub")),
            (torch.mul, (operator.mul, torch.mul, "mul")),
            (torch.div, (operator.truediv, torch.div, "div")),
            (torch.neg, (operator.neg, torch.neg, "neg")),
            (torch.gt, (operator.gt, torch.gt, "gt")),
            (torch.ge, (operator.ge, torch.ge, "ge")),
            (torch.lt, (operator.lt, torch.lt, "lt")),
            (torch.le, (operator.le, torch.le, "le")),
            (torch.eq, (operator.eq, torch.eq, "eq")),
            (torch.ne, (operator.ne, torch.ne, "ne")),
            (torch.abs, (operator.abs, torch.abs, "abs")),
            (torch.square, (torch.square, "square")),
            (torch.sqrt, (torch.sqrt, "sqrt")),
            (torch.reciprocal, (torch.reciprocal, "reciprocal")),
            (rsqrt, (torch.rsqrt, "rsqrt")),
            (torch.clamp, (torch.clamp, "clamp")),
            (torch.maximum, (torch.maximum, "maximum")),
            (torch.minimum, (torch.minimum, "minimum")),
        )
        for each in names
    },
    **dict.fromkeys((operator.pow, torch.pow, "pow"), power),
    torch.where: where,
}
"""Function, or name of a method -> its implementation for all lanes at once, or NotImplemented."""
