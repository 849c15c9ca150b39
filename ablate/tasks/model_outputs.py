"""A model that takes nested inputs or returns several outputs, as one that takes and returns one tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from ablate.records.errors import InputError, unknown
from ablate.tasks.packing import Leaf, Packing, Path, leaves_of
from ablate.tasks.user_code import FAILED, tried


class Outputs(dict[str, Any]):
    """A model's outputs by name, also as attributes, as a dataclass or transformers' `ModelOutput` has them."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the model has no output '{name}'; it has {', '.join(self)}") from None


def as_nested(outputs: Any) -> Any:
    """A model's `outputs` as nested mappings and tuples: a list becomes a tuple, a dataclass its fields that are not None."""
    if isinstance(outputs, list):
        return tuple(outputs)
    if isinstance(outputs, Mapping) or not is_dataclass(outputs):
        return outputs
    return {
        field.name: value for field in fields(outputs) if (value := getattr(outputs, field.name)) is not None
    }


@dataclass(frozen=True)
class Adapted:
    """A model factory whose modules take packed inputs and return one tensor. It makes the user's modules, with the class
    changed to a subclass that differs in `forward` only, so that names and state are the user's.

    packing: of the inputs; None if they are one tensor. output: which of several outputs is the prediction. whole: if
    `output` says nothing and several outputs have no "logits", all of them are packed into one tensor `[B, F]`. every: they are in any case,
    the prediction with the others.
    """

    factory: Callable[[], nn.Module]
    packing: Packing | None
    output: str | int | None
    whole: bool = False
    every: bool = False

    def __call__(self) -> nn.Module:
        module = self.factory()
        if isinstance(module, nn.Module):  # anything else is rejected by `check`
            module.__class__ = _subclass(type(module), self)
        return module

    def packed(self, outputs: Any) -> list[tuple[Path, Tensor]]:
        """(path, tensor `[B, …]`) of the outputs that are packed; nothing where the prediction is all that is used."""
        return several_outputs(outputs, every=self.every) if self.whole or self.every else []


def _subclass(kind: type[nn.Module], adapted: Adapted) -> type[nn.Module]:
    packing, output = adapted.packing, adapted.output

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        inputs = x if packing is None else packing.unpack(x)
        if isinstance(inputs, dict):
            outputs = kind.forward(self, **inputs)
        else:
            outputs = kind.forward(self, *(inputs if isinstance(inputs, tuple) else (inputs,)))
        if packed := adapted.packed(outputs):
            return torch.cat([value.reshape(value.shape[0], -1) for _, value in packed], dim=1)
        return prediction(outputs, output)

    body = {"forward": forward, "users_class": kind, "__module__": kind.__module__, "__qualname__": kind.__qualname__}  # fmt: skip
    return type(kind.__name__, (kind,), body)


def users_own(module: nn.Module) -> nn.Module:
    """`module` with its original class, which takes inputs in the user's form."""
    if (users_class := getattr(type(module), "users_class", None)) is not None:
        module.__class__ = users_class
    return module


def several_outputs(outputs: Any, *, every: bool = False) -> list[tuple[Path, Tensor]]:
    """(path, tensor `[B, …]`) of all outputs of a model that returns several; nothing if one is called "logits", unless `every` one is wanted."""
    if isinstance(outputs, Tensor | Proxy):
        return []
    outputs = as_nested(outputs)
    named = isinstance(outputs, Mapping)
    if not (named or isinstance(outputs, tuple)) or (named and not every and "logits" in outputs):
        return []
    leaves = list(leaves_of(outputs))
    if len(leaves) < 2:
        return []
    for path, value in leaves:
        if isinstance(value, Proxy):
            continue
        if not isinstance(value, Tensor) or value.ndim == 0 or not value.is_floating_point():
            name = "".join(f"[{key!r}]" for key in path)
            raise InputError(
                f"the model's output{name} is no tensor of real numbers [batch, …]",
                hint='give output="NAME" or output=POSITION to the task, or return tensors that the loss needs',
            )
    return leaves


@dataclass(frozen=True)
class OutputForm:
    """The form of one example's outputs: `shape` as the model returns them, `packing` if there are several. `others`: outputs that are not used, beside
    the prediction; `prediction`: its path where it is packed with them."""

    shape: tuple[int, ...]
    packing: Packing | None = None
    others: tuple[str, ...] = ()
    prediction: Path | None = None

    @property
    def flat(self) -> tuple[int, ...]:
        """Shape of an example's outputs as the engine sees them."""
        return self.shape if self.packing is None else (self.packing.width,)


def output_form(model: Callable[[], nn.Module], x: Tensor) -> OutputForm:
    """The form of the outputs of a fresh model on the examples `x`."""
    wrapped = model if isinstance(model, Adapted) else Adapted(model, None, None)
    module = users_own(model()).eval()
    inputs = x if wrapped.packing is None else wrapped.packing.unpack(x)
    with torch.no_grad():
        outputs = module(**inputs) if isinstance(inputs, dict) else module(*(inputs if isinstance(inputs, tuple) else (inputs,)))  # fmt: skip
    chosen = "logits" if wrapped.output is None else wrapped.output
    if packed := wrapped.packed(outputs):
        leaves = tuple(Leaf(path, tuple(value.shape[1:]), torch.float32) for path, value in packed)
        has_it = wrapped.every and any(leaf.path == (chosen,) for leaf in leaves)
        return OutputForm((), Packing(leaves), prediction=(chosen,) if has_it else None)
    others = tuple(str(name) for name in _names(outputs) if name != chosen)
    return OutputForm(tuple(prediction(outputs, wrapped.output).shape[1:]), others=others)


def _names(outputs: Any) -> list[Any]:
    """The keys, or the positions, of several outputs; none of a tensor."""
    nested = outputs if isinstance(outputs, Tensor | Proxy) else as_nested(outputs)
    return list(nested) if isinstance(nested, Mapping) else list(range(len(nested))) if isinstance(nested, tuple) else []  # fmt: skip


def returns_several(model: Callable[[], nn.Module], x: Tensor) -> bool:
    """Whether a fresh model returns anything but one tensor for the examples `x`; False if it fails."""
    outputs = tried(model, x)
    return outputs is not FAILED and not isinstance(outputs, Tensor)


def prediction(outputs: Any, output: str | int | None) -> Tensor:
    """The tensor among a model's `outputs` that is its prediction. Raises InputError if that is ambiguous.

    output: a key of a mapping or an attribute (as of transformers' ModelOutput), or a position; None: the only tensor,
    or the one called "logits".
    """
    if isinstance(outputs, Tensor | Proxy):
        return outputs  # type: ignore[return-value]  # a Proxy stands for the tensor where the model is traced
    form, outputs = type(outputs).__name__, as_nested(outputs)
    names, asked = _names(outputs), output
    if output is None:
        output = "logits" if "logits" in names else names[0] if len(names) == 1 else None
    value = outputs[output] if output in names else getattr(outputs, str(output or "logits"), None)
    if not isinstance(value, Tensor | Proxy):
        listed = f" with {', '.join(map(repr, names))}" if names else ""
        if asked is not None and value is None:
            raise unknown("output of the model", str(asked), [str(name) for name in names])
        raise InputError(
            f"the model returned an object of type {form}{listed}, and nothing says which tensor is the prediction",
            hint='give output="NAME" or output=POSITION to the task, or return one tensor',
        )
    return value  # type: ignore[return-value]
