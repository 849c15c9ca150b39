"""Replace a module's parameters and buffers by other tensors, at the cost of a few dictionary writes.

`torch.func.functional_call` does the same with checks that take longer than a small layer does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor, nn

from ablate.kernels.cache import cached

TensorSlot = tuple[Any, Any]
"""A module's dictionary of parameters or buffers and a name in it; or the list of weights of a recurrent layer, and an index."""
REPEATED = ("_flat_weights", "_flat_weight_refs")
"""Attributes in which torch's recurrent layers hold their parameters a second time."""


class Binding:
    """Every slot in `module` that holds a parameter or buffer, by the tensor's first name.

    A tensor that layers share has more than one slot. A layer that the module holds under two names is one slot: writing it
    twice would not restore it.
    """

    def __init__(self, module: nn.Module) -> None:
        self.slots: dict[str, list[TensorSlot]] = {}
        first: dict[int, str] = {}
        for path, layer in module.named_modules():
            for table in (layer._parameters, layer._buffers):
                for name, tensor in table.items():
                    if tensor is not None:
                        first_name = first.setdefault(id(tensor), f"{path}.{name}" if path else name)
                        self.slots.setdefault(first_name, []).append((table, name))
            if isinstance(layer, nn.RNNBase):  # their `forward` reads these
                for index, tensor in enumerate(layer._flat_weights):
                    if tensor is not None and id(tensor) in first:
                        self.slots[first[id(tensor)]].append((layer._flat_weights, index))

    def put(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Write `tensors` to their slots; returns the previous tensors, to be restored."""
        before: dict[str, Tensor] = {}
        for slot, tensor in tensors.items():
            for table, name in self.slots[slot]:
                old = table[name]
                assert old is not None
                before[slot] = old
                table[name] = tensor
        return before

    @contextmanager
    def bound(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        """Context: the module holds `tensors`."""
        before = self.put(tensors)
        try:
            yield
        finally:
            self.put(before)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that the slots hold now."""
        firsts = {slot: slots[0] for slot, slots in self.slots.items()}
        return {slot: cast(Tensor, table[name]) for slot, (table, name) in firsts.items()}


def binding_of(module: nn.Module) -> Binding:
    """The module's binding, made once."""
    return cached(module, "binding", Binding)
