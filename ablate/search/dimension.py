"""One dimension of the search space: a number in a range, or one of some choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite

from ablate.records.errors import InputError
from ablate.records.study_space import Override
from ablate.records.trick import Parameter, Trick, Value

LR = "lr"
DECADE = 10.0


@dataclass(frozen=True, slots=True)
class Dimension:
    """`name` is a slot, a trick, or `trick.parameter`; `choices` are empty for a number in [low, high].

    `structural` says that the lanes of one group must agree in it.
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
        """The only value that there is, or None where there are several."""
        if self.choices:
            return self.choices[0] if len(self.choices) == 1 else None
        if self.low < self.high:
            return None
        return int(self.low) if self.integer else self.low

    def holds(self, value: Value) -> bool:
        if self.choices:
            return any(choice == value and type(choice) is type(value) for choice in self.choices)
        if isinstance(value, str | bool) or (self.integer and value != int(value)):
            return False
        return self.low <= value <= self.high


def dimension(trick: Trick, parameter: Parameter, override: Override | None) -> Dimension:
    """Where to look for `parameter`: the study file's override, else the record's range."""
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

    Where lanes must agree (a batch size), few values are searched: runs of one value train together, and nobody
    tells 100 examples a batch from 101.
    """
    values = []
    while low < high:
        values.append(low)
        low *= 2
    return (*values, high)


def lr_range(dim: Dimension, centers: Sequence[float]) -> Dimension:
    """A learning rate's range cut to a decade on either side of all `centers`.

    The baseline's optimizer has one center, the rate that lr-find found for it. Another optimizer has two:
    its record's default d, and d · (found rate ÷ the default of the baseline's optimizer), because a task
    that wants three times the usual rate of one rule often wants more of another too, but rules scale
    differently with the size of gradients; the range covers both readings.
    """
    inside = [min(max(center, dim.low), dim.high) for center in centers]
    low = max(dim.low, min(inside) / DECADE)
    return replace(dim, low=low, high=min(dim.high, max(inside) * DECADE))


def widen_to(dim: Dimension, value: Value, *, fixed: bool) -> Dimension:
    """`dim`, made to hold the baseline's own `value`. Raises InputError where the user set the range."""
    if dim.holds(value):
        return dim
    if fixed or isinstance(value, str) or not isfinite(value) or (dim.log and value <= 0):
        raise InputError(
            f"the baseline's {dim.name} = {value} lies outside the range that is searched",
            hint="widen the range in [space] or change the baseline",
        )
    if dim.choices:
        return replace(dim, choices=(*dim.choices, value))
    return replace(dim, low=min(dim.low, value), high=max(dim.high, value))
