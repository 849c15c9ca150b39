"""A trick's settings, for K lanes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from ablate.records.trick import Trick, Value

Derived = TypeVar("Derived")


class Settings:
    """Attribute access to a trick's parameters as `[K]` tensors.

    Numbers are float32 (the weights' dtype) `[K]`, booleans bool `[K]`, choices a tuple of K values. `on` is bool `[K]`: the
    lanes that have the trick; `everywhere`: all lanes have it, `anywhere`: any. A lane that does not have it carries
    the neutral values (where the trick has them), so that most adapters need not look at `on` at all.

    Settings never change: lanes that come or go make new ones. What is worked out from them can so be kept (`once`).
    """

    def __init__(self, on: Tensor, values: Mapping[str, Tensor | tuple[Value, ...]]) -> None:
        self.on = on
        self.everywhere, self.anywhere = bool(on.all()), bool(on.any())
        self._values = dict(values)
        self._given = self
        self._kept: dict[tuple[Any, ...], Any] = {}

    @classmethod
    def stack(
        cls,
        trick: Trick,
        lanes: Iterable[Mapping[str, Value] | None],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> Settings:
        """From one mapping a lane (None: the lane does not have the trick)."""
        given = list(lanes)
        off = trick.neutral or trick.defaults
        rows = [off if lane is None else lane for lane in given]
        values: dict[str, Tensor | tuple[Value, ...]] = {}
        for parameter in trick.parameters:
            column = [row[parameter.name] for row in rows]
            if parameter.is_number:
                values[parameter.name] = torch.tensor(column, dtype=dtype, device=device)
            elif isinstance(parameter.default, bool):
                values[parameter.name] = torch.tensor(column, dtype=torch.bool, device=device)
            else:
                values[parameter.name] = tuple(column)
        on = torch.tensor([lane is not None for lane in given], dtype=torch.bool, device=device)
        return cls(on, values)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"no parameter '{name}'") from None

    def like(self, name: str, tensor: Tensor) -> Tensor:
        """Parameter `name` (or `on`) shaped `[K, 1, …]` so that it broadcasts against `tensor` `[K, …]`."""
        value = self.on if name == "on" else self._values[name]
        if name != "on" and value is not self._given._values[name]:
            return _like(value, tensor.ndim)
        kept = self._kept.get((name, tensor.ndim))
        if kept is None:
            kept = self._kept[name, tensor.ndim] = _like(value, tensor.ndim)
        return kept

    def once(self, make: Callable[..., Derived], *arguments: Any) -> Derived:
        """`make(settings, *arguments)`, worked out at the first step that asks and kept: what depends on the settings
        alone. `make` is a function of a module; it sees the settings as the recipe has them, without a schedule."""
        key = (make, *arguments)
        if key not in self._kept:
            self._kept[key] = make(self._given, *arguments)
        return self._kept[key]  # type: ignore[no-any-return]

    def value(self, name: str) -> Value:
        """The one value that all lanes share. For parameters declared `lane=False`."""
        column = self._values[name]
        first = column[0]
        assert all(bool(item == first) for item in column), f"{name} differs between lanes"
        return first.item() if isinstance(first, Tensor) else first

    def replaced(self, **values: Tensor) -> Settings:
        """The same with other values for this step; what `once` keeps stays as it is."""
        new = Settings.__new__(Settings)
        new.__dict__.update(self.__dict__, _values={**self._values, **values})
        return new

    def take(self, lanes: Tensor) -> Settings:
        """These settings for some of the lanes, in the order of `lanes` (int64)."""
        picks = lanes.tolist()
        return Settings(
            self.on[lanes],
            {
                name: value[lanes] if isinstance(value, Tensor) else tuple(value[i] for i in picks)
                for name, value in self._values.items()
            },
        )

    def extend(self, other: Settings) -> Settings:
        """These lanes' settings, and behind them those of `other`."""
        return Settings(
            torch.cat([self.on, other.on]),
            {
                name: torch.cat([value, other._values[name]])  # type: ignore[list-item]
                if isinstance(value, Tensor)
                else value + other._values[name]  # type: ignore[operator]
                for name, value in self._values.items()
            },
        )


def _like(value: Tensor | tuple[Value, ...], dimensions: int) -> Tensor:
    assert isinstance(value, Tensor)
    return value.reshape(-1, *[1] * (dimensions - 1))
