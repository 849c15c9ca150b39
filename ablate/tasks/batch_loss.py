"""A loss `(outputs, batch)`: it gets a batch's inputs with its targets, `x, y = batch`, as Lightning's `training_step` does.

Whatever handles targets then handles one tensor `[…, W]`: the columns of the targets, then those of the inputs. For a training
batch it is made from the inputs as the data gave them, before any trick changes them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ablate.records.errors import InputError
from ablate.tasks.packing import Leaf, Packing
from ablate.tasks.split import Split

NAME = "batch"
"""The name of the second parameter of a loss that takes the batch."""
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def positional(function: Any) -> list[inspect.Parameter]:
    """The parameters of a function, a callable object or a module that a call may give by position; none where Python does not know."""
    called = function.forward if isinstance(function, nn.Module) else function
    try:
        parameters = inspect.signature(called).parameters.values()
    except (TypeError, ValueError):
        return []
    return [one for one in parameters if one.kind in POSITIONAL]


def takes_batch(loss: Callable[[Any, Any], Any] | None) -> bool:
    """Whether the second parameter of `loss` is called `batch`."""
    return loss is not None and [one.name for one in positional(loss)][1:2] == [NAME]


def refuse_streams(loss: Callable[[Any, Any], Any] | None, splits: Mapping[str, Split]) -> None:
    """Raise InputError for a loss that takes the batch where examples are streamed."""
    if takes_batch(loss) and any(split.streams for split in splits.values()):
        raise InputError(
            "loss takes the batch, and the examples are streamed, so that only their targets are at hand where it is evaluated",
            hint='give what it needs with the targets, y={"targets": y, "inputs": x}, or give fewer examples',
        )


@dataclass(frozen=True)
class BatchForm:
    """How targets and inputs stand in the columns of one tensor.

    columns: the leaves "targets" and "inputs", each the tensor of a split (packed where it is nested). inputs: how x is packed; None if
    it is one tensor.
    """

    columns: Packing
    inputs: Packing | None

    @classmethod
    def of(cls, loss: Callable[[Any, Any], Any] | None, split: Split) -> BatchForm | None:
        """The form of a split's examples; None for a loss that does not take the batch."""
        if not takes_batch(loss):
            return None
        parts = {"targets": split.y, "inputs": split.in_memory}
        leaves = (Leaf((name,), tuple(part.shape[1:]), part.dtype) for name, part in parts.items())
        return cls(Packing(tuple(leaves)), split.packing)

    def joined(self, x: Tensor, y: Tensor) -> Tensor:
        """Inputs and targets, each of any leading dimensions `[…, *shape]`, as one tensor `[…, W]`."""
        dtype = self.columns.dtype
        parts = [
            values.reshape(*values.shape[: values.ndim - len(leaf.shape)], -1).to(dtype)
            for leaf, values in zip(self.columns.leaves, (y, x), strict=True)
        ]
        return torch.cat(parts, dim=-1)

    def targets(self, joined: Tensor) -> Tensor:
        """The targets `[…, *shape]` of `joined` `[…, W]`."""
        leaf = self.columns.leaves[0]
        width = self.columns.width - Packing(self.columns.leaves[1:]).width
        return joined[..., :width].reshape(*joined.shape[:-1], *leaf.shape).to(leaf.dtype)

    def unpack(self, joined: Tensor) -> tuple[Any, Tensor]:
        """One batch's inputs in the form that the data have, and its targets `[B, …]`, of `joined` `[B, W]`."""
        parts = self.columns.unpack(joined)
        inputs = parts["inputs"]
        return (inputs if self.inputs is None else self.inputs.unpack(inputs)), parts["targets"]
