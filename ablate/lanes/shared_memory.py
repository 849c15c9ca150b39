"""Tensors of a model that lie in the same memory: a write to one shows in the other.

A run's parameters are kept in memory of their own, lanes first, so that what else lies in the memory that they had before would no
longer see them change.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.lib.array_utils import byte_bounds
from torch import Tensor, nn

from ablate.lanes.python_state import state_of
from ablate.lanes.side_effects import OWN, run_both_modes
from ablate.records.errors import InputError
from ablate.tasks.user_code import repeatable

SAME_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Types that NumPy has, by bytes an element."""

Named = tuple[str, object, np.ndarray]
"""Name, tensor or array, and the memory that it occupies."""


def in_memory_of_parameters(module: nn.Module) -> list[tuple[str, str, object]]:
    """(name, the parameter's name, tensor or array) of what lies in the memory of a parameter to train."""
    trained = {id(p) for p in module.parameters() if p.requires_grad}
    overlaps = []
    for (name, one, _), (other_name, other, _) in overlapping([*_registered(module), *_attributes(module)]):
        if id(one) in trained:
            overlaps.append((other_name, name, other))
        elif id(other) in trained:
            overlaps.append((name, other_name, one))
    return overlaps


def check_memory(module: nn.Module, before: list[tuple[str, str, object]]) -> None:
    """Raises InputError if the memory of a parameter to train is also that of another tensor of `module`, which has been run, or of several
    of its elements. `before`: those of before it ran, which `forward` may have replaced.
    """
    for name, parameter in module.named_parameters():
        strides = zip(parameter.shape, parameter.stride(), strict=True)
        if parameter.requires_grad and any(size > 1 and stride == 0 for size, stride in strides):
            raise InputError(
                f"several elements of the model's '{name}' lie in the same memory, which torch cannot train",
                hint="make it of a copy: nn.Parameter(tensor.clone())",
            )
    for name, parameters_name, tensor in in_memory_of_parameters(module):
        if any(tensor is earlier for _, _, earlier in before):
            raise InputError(
                f"the model's '{name}' lies in the memory of '{parameters_name}', which training changes",
                hint="compute it from the parameter in forward, or register one parameter under both names",
            )


def writes_shared_buffer(module: nn.Module, x: Tensor) -> str:
    """Why lanes of `module` cannot be stacked: a pass on `x` `[B, …]` changes a buffer that is another's too. Empty if there is none.

    Stacked, every name would have a buffer of its own.
    """
    tensors = {f"{path}.{name}" if path else name: b for path, name, b in _buffers(module)}
    first: dict[int, str] = {}
    pairs = [(first.setdefault(id(buffer), name), name) for name, buffer in tensors.items()]
    pairs += [(one[0], other[0]) for one, other in overlapping([e for n, b in tensors.items() for e in _memory(n, b)])]  # fmt: skip
    before = {name: tensors[name].clone() for name, other in pairs if name != other}
    if before:
        with repeatable():
            run_both_modes(module, x)
    for name, other in pairs:
        if name != other and not torch.equal(before[name], module.get_buffer(name)):
            return f"forward writes to '{name}', which is '{other}' too"
    return ""


def overlapping(entries: list[Named]) -> Iterator[tuple[Named, Named]]:
    """The pairs of different objects that have memory in common."""
    ordered = sorted(entries, key=lambda entry: byte_bounds(entry[2])[0])
    for index, one in enumerate(ordered):
        end = byte_bounds(one[2])[1]
        for other in ordered[index + 1 :]:
            if byte_bounds(other[2])[0] >= end:
                break
            if one[1] is not other[1] and np.shares_memory(one[2], other[2]):
                yield one, other


def _buffers(module: nn.Module) -> Iterator[tuple[str, str, Tensor]]:
    """(path, name, buffer) of each layer, a buffer that two layers hold twice."""
    for path, layer in module.named_modules():
        for name, buffer in layer._buffers.items():
            if buffer is not None:
                yield path, name, buffer


def _registered(module: nn.Module) -> Iterator[Named]:
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        yield from _memory(name, tensor)


def _attributes(module: nn.Module) -> Iterator[Named]:
    """Tensors and arrays in the layers' attributes, in containers, objects and closures that they hold."""
    for path, layer in module.named_modules():
        for name, value in vars(layer).items():
            if name not in OWN:
                for one in state_of(value):
                    yield from _memory(f"{path}.{name}" if path else name, one)


def _memory(name: str, value: object) -> Iterator[Named]:
    if isinstance(value, np.ndarray) and value.size:
        yield name, value, value
    elif isinstance(value, Tensor) and type(value) in (Tensor, nn.Parameter, nn.Buffer) and value.numel():
        dtype = SAME_SIZE.get(value.element_size())
        if dtype and value.layout is torch.strided and value.device.type == "cpu" and not value.is_conj():
            yield name, value, value.detach().view(dtype).numpy()
