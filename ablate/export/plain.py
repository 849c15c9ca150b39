"""Single-run versions of the engine's classes for many runs, which scripts use in their place.

Nothing here imports the engine, and the engine imports nothing from here. Tensors keep their first dimension, of size 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.seams.draws import mix, stream_number
from ablate.seams.facts import Facts
from ablate.seams.tensors import Spec


class Settings:
    """A trick's settings: numbers and booleans as tensors `[1]`, choices as tuples of one."""

    def __init__(self, facts: Facts, **values: Any) -> None:
        self.facts = facts
        self.on = torch.ones(1, dtype=torch.bool)
        self.values = {name: _column(value) for name, value in values.items()}
        self.made: dict[Any, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name == "values" or name not in self.values:
            raise AttributeError(name)
        return self.values[name]

    def like(self, name: str, tensor: Tensor) -> Tensor:
        """The setting shaped `[1, 1, …]`, to be broadcast against `tensor`."""
        column: Tensor = self.on if name == "on" else self.values[name]
        return column.reshape(1, *[1] * (tensor.ndim - 1))

    def value(self, name: str) -> Any:
        """The setting as a plain number or text."""
        column = self.values[name]
        return column.item() if isinstance(column, Tensor) else column[0]

    def once(self, make: Callable[..., Any], *arguments: Any) -> Any:
        """`make(settings, *arguments)`, computed at the first call."""
        key = (make, *arguments)
        if key not in self.made:
            self.made[key] = make(self, *arguments)
        return self.made[key]

    def at_rate(self, lr: Tensor) -> Settings:
        """These settings with the learning rate of a step, `[1]`."""
        new = Settings.__new__(Settings)
        new.__dict__.update(self.__dict__, values={**self.values, "lr": lr})
        return new


def _column(value: Any) -> Any:
    if isinstance(value, bool):
        return torch.tensor([value])
    if isinstance(value, int | float):
        return torch.tensor([float(value)])
    return value if isinstance(value, tuple) else (value,)


class Tensors(Mapping[str, Tensor]):
    """All parameters of the model as one row: name -> view `[1, *shape]` of `flat` `[1, P]`."""

    def __init__(self, specs: dict[str, Spec], flat: Tensor) -> None:
        self.specs, self.flat = specs, flat

    @classmethod
    def of(cls, specs: dict[str, Spec], tensors: Mapping[str, Tensor]) -> Tensors:
        """The tensors `[1, *shape]` by name, put together; zeros where one is missing."""
        parts = [
            tensors[name].reshape(1, -1) if name in tensors else torch.zeros(1, spec.size)
            for name, spec in specs.items()
        ]
        return cls(specs, torch.cat(parts, dim=1))

    def __getitem__(self, name: str) -> Tensor:
        start = 0
        for other, spec in self.specs.items():
            if other == name:
                return self.flat[:, start : start + spec.size].view(1, *spec.shape)
            start += spec.size
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    @property
    def lanes(self) -> int:
        """How many runs there are: one."""
        return 1

    def spec(self, name: str) -> Spec:
        """What is known of a parameter."""
        return self.specs[name]

    def like(self, flat: Tensor) -> Tensors:
        """These parameters with other numbers, `[1, P]`."""
        return Tensors(self.specs, flat)

    def map(self, change: Callable[[Spec, Tensor], Tensor]) -> Tensors:
        """`change(spec, tensor)` of every tensor."""
        return Tensors.of(self.specs, {name: change(self.specs[name], self[name]) for name in self})

    def norm(self) -> Tensor:
        """Global L2 norm, `[1]`."""
        return self.flat.square().sum(dim=1).sqrt()


def tensor_norms(tensors: Tensors) -> Tensor:
    """L2 norm of every tensor, `[1, T]`."""
    return torch.stack([tensor.flatten(1).square().sum(dim=1).sqrt() for tensor in tensors.values()], dim=1)


def scaled_by_tensor(tensors: Tensors, factors: Tensor) -> Tensors:
    """Every tensor times its own number; `factors` `[1, T]`."""
    scaled = {name: tensor * factors[:, i].reshape(1, *[1] * (tensor.ndim - 1)) for i, (name, tensor) in enumerate(tensors.items())}  # fmt: skip
    return Tensors.of(tensors.specs, scaled)


@cache
def keep_tables(count: int) -> tuple[Tensor, Tensor]:
    """Two tables of random numbers of 16 bits with a window of `count` from each of 65,536 places."""
    numbers = torch.arange((1 << 16) + count, dtype=torch.int32)
    first, second = (mix(numbers ^ stream_number(f"keep/{name}")) >> 16 for name in ("first", "second"))
    return first.to(torch.int16), second.to(torch.int16)


def keep_mask(key: Tensor, least: Tensor, shape: tuple[int, ...]) -> Tensor:
    """1 where a draw of 16 bits is `least` or more, else 0: float32 of `shape`. `key` int32, a scalar.

    A draw is the exclusive or of two windows of random tables; the key says where the windows begin.
    """
    count, number = 1, int(key)
    for size in shape:
        count *= size
    first, second = keep_tables(count)
    start, other = number & 0xFFFF, (number >> 16) & 0xFFFF
    drawn = first[start : start + count].bitwise_xor(second[other : other + count])
    return (drawn >= least).to(torch.float32).view(shape)


class Site(nn.Module):
    """A convolution or linear layer with what the recipe puts around it: before → layer, its weight transformed → after.

    `dead_bias`: the bias is left out, since the norm behind the layer would cancel it. `skip`: the input is added.
    """

    def __init__(
        self,
        layer: nn.Module,
        *,
        before: Sequence[nn.Module] = (),
        weight: Sequence[nn.Module] = (),
        after: Sequence[nn.Module] = (),
        dead_bias: bool = False,
        skip: bool = False,
    ) -> None:
        super().__init__()
        self.before, self.layer, self.transforms = nn.ModuleList(before), layer, nn.ModuleList(weight)
        self.after, self.dead_bias, self.skip = nn.ModuleList(after), dead_bias, skip

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__"):
                raise
            return getattr(super().__getattr__("layer"), name)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for module in self.before:
            y = module(y)
        y = self.transformed(y) if len(self.transforms) or self.dead_bias else self.layer(y)
        for module in self.after:
            y = module(y)
        return y + x if self.skip else y

    def transformed(self, x: Tensor) -> Tensor:
        """The layer's output with its weight passed through the transforms."""
        weight, bias = self.layer.weight, self.layer.bias
        assert isinstance(weight, Tensor)
        assert bias is None or isinstance(bias, Tensor)
        for module in self.transforms:
            weight = module(weight)
        if bias is not None and self.dead_bias:
            bias = bias * 0
        if isinstance(self.layer, nn.Linear):
            return F.linear(x, weight, bias)
        convolved: Tensor = self.layer._conv_forward(x, weight, bias)  # type: ignore[operator]
        return convolved


class ChannelsFirst(nn.Module):
    """A layer that takes channels as dimension 1, where the model has them last: tokens `[B, T, C]`."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        moved: Tensor = self.layer(x.movedim(-1, 1)).movedim(1, -1)
        return moved


class PlainInputError(ValueError):
    """What a trick cannot work with."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} ({hint})" if hint else message)


def prediction(outputs: Any, output: str | int | None) -> Tensor:
    """The tensor among a model's `outputs`: the only one, "logits", or the one at the key, attribute or position `output`."""
    if isinstance(outputs, Tensor):
        return outputs
    if output is None:
        output = "logits" if isinstance(outputs, str) or not isinstance(outputs, tuple | list) else 0
    if isinstance(outputs, Mapping) or isinstance(output, int):
        only = list(outputs.values()) if isinstance(outputs, Mapping) else list(outputs)
        tensor: Tensor = only[0] if len(only) == 1 else outputs[output]
        return tensor
    attribute: Tensor = getattr(outputs, output)
    return attribute
