"""A trick's settings in K lanes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from ablate.records.trick import Trick, Value
from ablate.seams.facts import Facts

Derived = TypeVar("Derived")


class Settings:
    """Attribute access to a trick's parameters as `[K]` tensors.

    Numbers are float32 (the weights' dtype) `[K]`, booleans bool `[K]`, choices a tuple of K values. `on` is bool `[K]`: the
    lanes that have the trick; `everywhere`: all lanes have it, `anywhere`: any. A lane without it has
    the neutral values (if the trick has them), so that most ports can ignore `on`. `facts`: of the task and the training.

    Immutable: when lanes are added or removed there is a new object. Values derived from the settings can therefore be
    cached (`once`).
    """

    def __init__(
        self, on: Tensor, values: Mapping[str, Tensor | tuple[Value, ...]], facts: Facts | None = None
    ) -> None:
        self.on = on
        self.facts = facts or Facts()
        self.everywhere, self.anywhere = bool(on.all()), bool(on.any())
        self._values = dict(values)
        self._recipe_settings = self
        self._cache: dict[tuple[Any, ...], Any] = {}

    @classmethod
    def stack(
        cls,
        trick: Trick,
        lanes: Iterable[Mapping[str, Value] | None],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        facts: Facts | None = None,
    ) -> Settings:
        """Settings from one mapping per lane (None: the lane does not have the trick)."""
        settings = list(lanes)
        off = trick.neutral or trick.defaults
        rows = [off if lane is None else lane for lane in settings]
        values: dict[str, Tensor | tuple[Value, ...]] = {}
        for parameter in trick.parameters:
            column = [row[parameter.name] for row in rows]
            if parameter.is_number:
                values[parameter.name] = torch.tensor(column, dtype=dtype, device=device)
            elif isinstance(parameter.default, bool):
                values[parameter.name] = torch.tensor(column, dtype=torch.bool, device=device)
            else:
                values[parameter.name] = tuple(column)
        on = torch.tensor([lane is not None for lane in settings], dtype=torch.bool, device=device)
        return cls(on, values, facts)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"no parameter '{name}'") from None

    def like(self, name: str, tensor: Tensor) -> Tensor:
        """Parameter `name` (or `on`) shaped `[K, 1, …]` so that it broadcasts against `tensor` `[K, …]`."""
        value = self.on if name == "on" else self._values[name]
        if name != "on" and value is not self._recipe_settings._values[name]:
            return _like(value, tensor.ndim)
        shaped = self._cache.get((name, tensor.ndim))
        if shaped is None:
            shaped = self._cache[name, tensor.ndim] = _like(value, tensor.ndim)
        return shaped

    def once(self, make: Callable[..., Derived], *arguments: Any) -> Derived:
        """`make(settings, *arguments)`, computed at the first call and cached: for values that depend on the settings
        alone. `make` is a module-level function; it gets the recipe's settings, without the effect of a schedule."""
        key = (make, *arguments)
        if key not in self._cache:
            self._cache[key] = make(self._recipe_settings, *arguments)
        return self._cache[key]  # type: ignore[no-any-return]

    def value(self, name: str) -> Value:
        """The value that all lanes share, of a parameter declared `lane=False`; read from the device once."""
        column = self._values[name]
        if column is not self._recipe_settings._values[name]:
            return _shared(name, column)
        return self.once(_shared_value, name)

    def replaced(self, **values: Tensor) -> Settings:
        """These settings with other values for this step; the cache of `once` is shared."""
        new = Settings.__new__(Settings)
        new.__dict__.update(self.__dict__, _values={**self._values, **values})
        return new

    def take(self, lanes: Tensor) -> Settings:
        """The settings of the given `lanes` (int64), in that order."""
        picks = lanes.tolist()
        return Settings(
            self.on[lanes],
            {
                name: value[lanes] if isinstance(value, Tensor) else tuple(value[i] for i in picks)
                for name, value in self._values.items()
            },
            self.facts,
        )

    def extend(self, other: Settings) -> Settings:
        """The settings of these lanes followed by those of `other`."""
        return Settings(
            torch.cat([self.on, other.on]),
            {
                name: torch.cat([value, other._values[name]])  # type: ignore[list-item]
                if isinstance(value, Tensor)
                else value + other._values[name]  # type: ignore[operator]
                for name, value in self._values.items()
            },
            self.facts,
        )


def _like(value: Tensor | tuple[Value, ...], dimensions: int) -> Tensor:
    assert isinstance(value, Tensor)
    return value.reshape(-1, *[1] * (dimensions - 1))


def _shared_value(p: Settings, name: str) -> Value:
    return _shared(name, p._values[name])


def _shared(name: str, column: Tensor | tuple[Value, ...]) -> Value:
    items: list[Value] = column.tolist() if isinstance(column, Tensor) else list(column)
    assert all(item == items[0] for item in items), f"{name} differs between lanes"
    return items[0]
