"""Nested inputs, targets and outputs of a model as text: how they are taken out of the columns of one tensor."""

from __future__ import annotations

from math import prod
from typing import Any

from ablate.tasks.packing import Packing, nested


def unpacking(name: str, packing: Packing) -> str:
    """A function `name(x)` that takes packed tensors `[B, F]` apart, as `Packing.unpack` does."""
    leaves, start, alone = [], 0, len(packing.leaves) == 1
    for leaf in packing.leaves:
        stop = start + prod(leaf.shape)
        columns = "x" if alone else f"x[:, {start}:{stop}]"
        text = f"{columns}.reshape({', '.join(map(str, (-1, *leaf.shape)))}).to({leaf.dtype})"
        leaves.append((leaf.path, text))
        start = stop
    return f'def {name}(x: Tensor) -> Any:\n    """The columns of `x` `[B, F]` as the nested values that they hold."""\n    return {_literal(nested(leaves))}'


def _literal(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {_literal(item)}' for key, item in value.items())}}}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))},)"
    return str(value)
