"""One dimension of the search space: a number in a range or a categorical choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite

from ablate.records.errors import InputError
from ablate.records.study_space import Override
from ablate.records.trick import Parameter, Trick, Value

DECADE = 10.0


@dataclass(frozen=True, slots=True)
class Dimension:
    """`name`: a slot, a trick, or `trick.parameter`; `choices`: empty for a number in [low, high].

    `structural`: the lanes of a group must have the same value.
    """

    name: str
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    integer: bool = False
    structural: bool = False

    @property
    def constant(self) -> Value | None:
        """The only possible value, or None if there are several."""
        if self.choices:
            return self.choices[0] if len(self.choices) == 1 else None
        if self.low < self.high:
            return None
        return int(self.low) if self.integer else self.low

    def contains(self, value: Value) -> bool:
        """Whether `value` is a choice or in the range."""
        if self.choices:
            return any(choice == value and type(choice) is type(value) for choice in self.choices)
        if isinstance(value, str | bool) or (self.integer and value != int(value)):
            return False
        return self.low <= value <= self.high


def dimension(trick: Trick, parameter: Parameter, override: Override | None) -> Dimension:
    """The dimension of `parameter`: the study file's override, else the range in the record."""
    name = f"{trick.name}.{parameter.name}"
    structural = not parameter.lane
    if override and override.choices:
        return Dimension(name, override.choices, structural=structural)
    if not parameter.is_number:
        return Dimension(name, parameter.choices or (False, True), structural=structural)
    low, high = parameter.low, parameter.high
    if override:
        low = low if override.low is None else override.low
        high = high if override.high is None else override.high
    assert low is not None
    assert high is not None
    if structural and parameter.log and parameter.is_integer:
        return Dimension(name, doublings(int(low), int(high)), structural=True)
    return Dimension(name, (), low, high, parameter.log, parameter.is_integer, structural)


def doublings(low: int, high: int) -> tuple[int, ...]:
    """`low`, 2 · `low`, 4 · `low`, …, and `high`.

    For structural parameters such as the batch size: only runs with equal values can train together, and
    the difference between 100 and 101 examples per batch does not matter.
    """
    values = []
    while low < high:
        values.append(low)
        low *= 2
    return (*values, high)


def lr_range(dim: Dimension, centers: Sequence[float]) -> Dimension:
    """A learning rate's range, restricted to a decade on either side of all `centers`.

    The baseline's optimizer has one center, the rate that lr-find found for it. Another optimizer has two:
    its record's default d, and d · (found rate ÷ default of the baseline's optimizer). A task for which one update
    rule needs three times the usual rate often needs more of another too, but rules scale
    differently with the size of gradients; the range covers both cases.
    """
    inside = [min(max(center, dim.low), dim.high) for center in centers]
    low = max(dim.low, min(inside) / DECADE)
    return replace(dim, low=low, high=min(dim.high, max(inside) * DECADE))


def widen_to(dim: Dimension, value: Value, *, fixed: bool) -> Dimension:
    """`dim` extended to contain the baseline's `value`. Raises InputError if it does not and the user set the range."""
    if dim.contains(value):
        return dim
    if fixed or isinstance(value, str) or not isfinite(value) or (dim.log and value <= 0):
        raise InputError(
            f"the baseline's {dim.name} = {value} lies outside the search range",
            hint="widen the range in [space] or change the baseline",
        )
    if dim.choices:
        return replace(dim, choices=(*dim.choices, value))
    return replace(dim, low=min(dim.low, value), high=max(dim.high, value))
