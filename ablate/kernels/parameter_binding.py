"""Other tensors in the places of a module's parameters and buffers, at the price of a few dictionary writes.

`torch.func.functional_call` does the same with checks that take longer than a small layer does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

TensorSlot = tuple[dict[str, Tensor | None], str]


class Binding:
    """Every place in `module` where a parameter or buffer is held, by the tensor's first name.

    More than one place where layers share a tensor. A layer that the module holds under two names is one
    place; writing it twice would not write it back.
    """

    def __init__(self, module: nn.Module) -> None:
        self.places: dict[str, list[TensorSlot]] = {}
        first: dict[int, str] = {}
        for path, layer in module.named_modules():
            for held in (layer._parameters, layer._buffers):
                for name, tensor in held.items():
                    if tensor is not None:
                        own = first.setdefault(id(tensor), f"{path}.{name}" if path else name)
                        self.places.setdefault(own, []).append((held, name))

    def put(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Put `tensors` in their places; returns those that stood there, to be put back."""
        before: dict[str, Tensor] = {}
        for own, tensor in tensors.items():
            for held, name in self.places[own]:
                old = held[name]
                assert old is not None
                before[own] = old
                held[name] = tensor
        return before

    def held(self) -> dict[str, Tensor]:
        """The tensors that are in their places now."""
        firsts = {own: places[0] for own, places in self.places.items()}
        return {own: cast(Tensor, held[name]) for own, (held, name) in firsts.items()}


def binding_of(module: nn.Module) -> Binding:
    """The module's own, made once."""
    found: Binding | None = module.__dict__.get("_ablate_binding")
    if found is None:
        found = module.__dict__["_ablate_binding"] = Binding(module)
    return found
