"""Nested inputs (dicts and tuples of tensors) as the columns of one tensor, and the model that unpacks them.

So everything that handles examples (splits, batches, order, checkpoints) handles one tensor `[N, F]`. A column holds its
numbers exactly: int64 if all leaves are integers, float32 if all are floats, else float64. A single tensor under a name, such as
the images of a data set, keeps its shape, and is an image or a table as it would be without the name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from ablate.records.errors import InputError, unknown
from ablate.tasks.user_code import FAILED, tried

Convert = Callable[[Any, str], Tensor]
EXACT = 2**53
"""Largest integer up to which float64 holds all integers."""


@dataclass(frozen=True)
class Leaf:
    """One tensor of nested inputs: `path` of keys (positions in a tuple), shape of an example, type."""

    path: tuple[str | int, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype

    def __str__(self) -> str:
        return "".join(f"[{key!r}]" for key in self.path)

    @property
    def title(self) -> str:
        """`tokens` of a dict, `[0]` of a tuple, `text['mask']` further in."""
        first = self.path[0] if self.path else ""
        inner = "".join(f"[{key!r}]" for key in self.path[1:])
        return f"{first}{inner}" if isinstance(first, str) else str(self)


@dataclass(frozen=True)
class Packing:
    """The layout of nested inputs in the columns of one tensor, leaf after leaf."""

    leaves: tuple[Leaf, ...]

    @property
    def width(self) -> int:
        """F, the columns of all leaves."""
        return sum(prod(leaf.shape) for leaf in self.leaves)

    @property
    def dtype(self) -> torch.dtype:
        """The type that holds all leaves exactly."""
        floats = [leaf.dtype.is_floating_point for leaf in self.leaves]
        return torch.float32 if all(floats) else torch.float64 if any(floats) else torch.int64

    def __str__(self) -> str:
        types = (str(leaf.dtype).removeprefix("torch.") for leaf in self.leaves)
        return ", ".join(
            f"{leaf.title} {dtype} {list(leaf.shape)}" for leaf, dtype in zip(self.leaves, types, strict=True)
        )

    def unpack(self, x: Tensor) -> Any:
        """`[B, F]` -> the nested inputs, each leaf `[B, *shape]` of its own type."""
        if len(self.leaves) == 1:
            (leaf,) = self.leaves
            return nested([(leaf.path, x.reshape(-1, *leaf.shape).to(leaf.dtype))])
        start, leaves = 0, []
        for leaf in self.leaves:
            stop = start + prod(leaf.shape)
            leaves.append((leaf.path, x[:, start:stop].reshape(-1, *leaf.shape).to(leaf.dtype)))
            start = stop
        return nested(leaves)


def is_nested(x: Any) -> bool:
    """Whether inputs are a mapping or a tuple of several tensors or arrays. (A list is one array.)"""
    return isinstance(x, Mapping | tuple)


def leaves_of(x: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """(path, value) of the leaves of nested inputs, i.e. all but mappings and tuples, in order."""
    if isinstance(x, Mapping):
        for key in x:
            yield from leaves_of(x[key], (*path, str(key)))
    elif isinstance(x, tuple):
        for position, value in enumerate(x):
            yield from leaves_of(value, (*path, position))
    else:
        yield path, x


def nested(leaves: list[tuple[tuple[str | int, ...], Any]]) -> Any:
    """The inverse of `leaves_of`: integer keys make a tuple."""
    if len(leaves) == 1 and not leaves[0][0]:
        return leaves[0][1]
    groups: dict[str | int, list[tuple[tuple[str | int, ...], Any]]] = {}
    for path, value in leaves:
        groups.setdefault(path[0], []).append((path[1:], value))
    values = {key: nested(group) for key, group in groups.items()}
    return tuple(values.values()) if all(isinstance(key, int) for key in values) else values


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


def pack(x: Any, where: str, convert: Convert, letter: str = "x") -> tuple[Tensor, Packing]:
    """Nested inputs (or targets, `letter` "y"), each leaf `[N, ...]`, as one tensor `[N, F]`; of a single leaf as it is. `convert`: a leaf and its
    name -> a tensor.

    Raises InputError if leaves differ in length, and for integers beside floats that float64 does not hold. Floats and pixels (uint8 `[N, C, H, W]`) become float32; integers and booleans keep their type.
    """
    values: list[Tensor] = []
    leaves: list[Leaf] = []
    for path, value in leaves_of(x):
        name = f"{where} {letter}" + "".join(f"[{key!r}]" for key in path)
        tensor = convert(value, name)
        if tensor.ndim == 0:
            raise InputError(f"{name} is one number", hint="give one entry for each example")
        real = tensor.is_floating_point() or _are_pixels(value, tensor.ndim)
        dtype = torch.float32 if real else torch.bool if tensor.dtype == torch.bool else torch.int64
        if values and len(tensor) != len(values[0]):
            raise InputError(f"{name} has {len(tensor)} rows and {where} {letter}{leaves[0]} has {len(values[0])}", hint="give one entry for each example")  # fmt: skip
        leaves.append(Leaf(path, tuple(tensor.shape[1:]), dtype))
        values.append(tensor.to(dtype))
    if not leaves:
        raise InputError(f"{where} {letter} is empty", hint="give at least one tensor")
    packing = Packing(tuple(leaves))
    if packing.dtype == torch.float64:
        for leaf, value in zip(leaves, values, strict=True):
            if leaf.dtype == torch.int64 and value.numel() and value.abs().max() > EXACT:
                raise InputError(f"{where} {letter}{leaf} has integers beyond 2^53 beside inputs that are floats", hint="number them from 0, or leave them out")  # fmt: skip
    if len(values) == 1 and values[0].ndim > 1:
        return values[0].to(packing.dtype).contiguous(), packing
    return torch.cat([value.reshape(len(value), -1).to(packing.dtype) for value in values], dim=1), packing


def _are_pixels(value: Any, dims: int) -> bool:
    """Whether `value` holds images of bytes."""
    return dims == 4 and str(getattr(value, "dtype", "")).removeprefix("torch.") == "uint8"


@dataclass(frozen=True)
class Adapted:
    """A model factory whose modules take packed inputs and return one tensor. It makes the user's modules, with the class
    changed to a subclass that differs in `forward` only, so that names and state are the user's.

    packing: of the inputs; None if they are one tensor. output: which of several outputs is the prediction. whole: if
    `output` says nothing and several outputs have no "logits", all of them are packed into one tensor `[B, F]`; `logits`: "logits" is one of them.
    """

    factory: Callable[[], nn.Module]
    packing: Packing | None
    output: str | int | None
    whole: bool = False
    logits: bool = False

    def __call__(self) -> nn.Module:
        module = self.factory()
        if isinstance(module, nn.Module):  # anything else is rejected by `check`
            module.__class__ = _subclass(type(module), self)
        return module


def _subclass(kind: type[nn.Module], adapted: Adapted) -> type[nn.Module]:
    packing, output = adapted.packing, adapted.output

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        inputs = x if packing is None else packing.unpack(x)
        if isinstance(inputs, dict):
            outputs = kind.forward(self, **inputs)
        else:
            outputs = kind.forward(self, *(inputs if isinstance(inputs, tuple) else (inputs,)))
        if adapted.whole and (several := several_outputs(outputs, logits=adapted.logits)):
            return torch.cat([value.reshape(value.shape[0], -1) for _, value in several], dim=1)
        return prediction(outputs, output)

    body = {"forward": forward, "users_class": kind, "__module__": kind.__module__, "__qualname__": kind.__qualname__}  # fmt: skip
    return type(kind.__name__, (kind,), body)


def users_own(module: nn.Module) -> nn.Module:
    """`module` with its original class, which takes inputs in the user's form."""
    if (users_class := getattr(type(module), "users_class", None)) is not None:
        module.__class__ = users_class
    return module


def several_outputs(outputs: Any, *, logits: bool = False) -> list[tuple[tuple[str | int, ...], Tensor]]:
    """(path, tensor `[B, …]`) of all outputs of a model that returns several; nothing if one is called "logits", unless these are wanted with the others."""
    outputs = outputs if isinstance(outputs, Tensor | Proxy) else as_nested(outputs)
    if (
        isinstance(outputs, Tensor | Proxy)
        or not isinstance(outputs, Mapping | tuple)
        or (not logits and isinstance(outputs, Mapping) and "logits" in outputs)
    ):
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
    """The form of one example's outputs: `shape` as the model returns them, `packing` if there are several. `others`: names of outputs that are
    not used, as "logits" is the prediction."""

    shape: tuple[int, ...]
    packing: Packing | None = None
    others: tuple[str, ...] = ()

    @property
    def flat(self) -> tuple[int, ...]:
        """Shape of an example's outputs as the engine sees them."""
        return self.shape if self.packing is None else (self.packing.width,)


def output_form(model: Callable[[], nn.Module], x: Tensor) -> OutputForm:
    """The form of the outputs of a fresh model on the examples `x`."""
    module = model()
    if isinstance(model, Adapted) and model.whole:
        module, inputs = users_own(module), x if model.packing is None else model.packing.unpack(x)
    else:
        inputs = x
    with torch.no_grad():
        outputs = module.eval()(**inputs) if isinstance(inputs, dict) else module.eval()(*(inputs if isinstance(inputs, tuple) else (inputs,)))  # fmt: skip
    if several := several_outputs(outputs, logits=isinstance(model, Adapted) and model.logits):
        leaves = tuple(Leaf(path, tuple(value.shape[1:]), torch.float32) for path, value in several)
        return OutputForm((), Packing(leaves))
    output = model.output if isinstance(model, Adapted) else None
    outputs = outputs if isinstance(outputs, Tensor) else as_nested(outputs)
    others = tuple(name for name in outputs if name != "logits") if output is None and isinstance(outputs, Mapping) else ()  # fmt: skip
    return OutputForm(tuple(prediction(outputs, output).shape[1:]), others=others)


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
    names: list[Any] = list(outputs) if isinstance(outputs, Mapping) else list(range(len(outputs))) if isinstance(outputs, tuple | list) else []  # fmt: skip
    asked = output
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
