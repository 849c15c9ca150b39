"""The section [space] of a study file: which tricks are searched, and the ranges of their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from ablate.records import toml
from ablate.records.errors import unknown
from ablate.records.recipe import TORCH, Catalogue, torch_name
from ablate.records.table import Table
from ablate.records.trick import SLOW, Parameter, Trick, Value


@dataclass(frozen=True, slots=True)
class Override:
    """The search range of one parameter: `low` and `high` (None: the trick's own), or `choices`."""

    low: float | None = None
    high: float | None = None
    choices: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class SpaceSection:
    """`include`, `exclude`: glob patterns of names, seams or slots; a slow trick is included by its name alone. `overrides`: trick -> parameter ->
    range."""

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    overrides: Mapping[str, Mapping[str, Override]] = field(default_factory=dict)

    def includes(self, trick: Trick) -> bool:
        """Whether the trick is searched."""
        return self._selects(trick) and not self.waits_for_its_name(trick)

    def waits_for_its_name(self, trick: Trick) -> bool:
        """Whether the trick is left out because it is slow and not named."""
        return SLOW in trick.roles and trick.name not in self.include and self._selects(trick)

    def _selects(self, trick: Trick) -> bool:
        """Whether a pattern includes the trick and none excludes it."""
        return any(matches(pattern, trick) for pattern in self.include) and not any(
            matches(pattern, trick) for pattern in self.exclude
        )


def matches(pattern: str, trick: Trick) -> bool:
    """Whether the glob `pattern` matches the trick's name, seam or slot."""
    return any(fnmatchcase(name, pattern) for name in (trick.name, trick.seam, trick.slot) if name)


def check_pattern(pattern: str, catalogue: Catalogue) -> None:
    """Raise InputError for a glob that matches no trick, seam or slot."""
    if not any(matches(pattern, trick) for trick in catalogue.values()):
        names = {
            name for trick in catalogue.values() for name in (trick.name, trick.seam, trick.slot) if name
        }
        raise unknown("trick, seam or slot", pattern, names)


def read_space(table: Table, catalogue: Catalogue) -> SpaceSection:
    """Parse the section. Raises InputError with the line."""
    patterns = {key: table.strings(key, default) for key, default in (("include", ("*",)), ("exclude", ()))}
    for key, globs in patterns.items():
        for i, pattern in enumerate(globs):
            with table.at(key, i):
                check_pattern(pattern, catalogue)
    overrides = {}
    for name in table.data:
        if name in patterns:
            continue
        inner = table.table(name)
        given = inner.data.get(TORCH)
        trick = torch_name(given) if isinstance(given, str) else name
        if trick not in catalogue:
            with table.at(name):
                raise unknown("trick", trick, [*catalogue, *patterns])
        overrides[trick] = {
            key: _override(inner, key, catalogue[trick]) for key in inner.data if key != TORCH
        }
    return SpaceSection(patterns["include"], patterns["exclude"], overrides)


def _override(tricks: Table, key: str, trick: Trick) -> Override:
    with tricks.at(key):
        parameter = trick.parameter(key)
    where = f"{trick.name}.{key}"
    if not isinstance(tricks.data[key], Mapping):
        hint = f"write {key} = {{ low = …, high = … }} or {{ choices = [{toml.value(parameter.default)}] }}"
        raise tricks.fail(f"{where} must be a table, not {tricks.data[key]!r}", key, hint=hint)
    table = tricks.table(key)
    table.check_keys(("low", "high", "choices"))
    if "choices" in table.data:
        return Override(choices=_choices(table, parameter, where))
    if not parameter.is_number:
        raise tricks.fail(f"{where} is not a number, so it has no range", key, hint="write { choices = […] }")
    ends = {}
    for end in ("low", "high"):
        if (number := table.number(end)) is not None:
            with table.at(end):
                ends[end] = float(parameter.check(number, f"{where}.{end}"))
    low, high = (ends.get(end, getattr(parameter, end)) for end in ("low", "high"))
    if low >= high:
        hint = f"{key} = {{ choices = [{toml.value(low)}] }} fixes it" if low == high else "swap them"
        raise tricks.fail(
            f"the range of {where} is empty: low {low} is not below high {high}", key, hint=hint
        )
    if parameter.log and low <= 0:
        raise tricks.fail(f"{where} is searched on a log scale, so low must be above 0, not {low}", key)
    return Override(ends.get("low"), ends.get("high"))


def _choices(table: Table, parameter: Parameter, where: str) -> tuple[Value, ...]:
    values = table.data["choices"]
    if len(table.data) > 1:
        raise table.fail(f"{where} has both a range and choices", hint="keep one of them")
    if not isinstance(values, list) or not values:
        raise table.fail(f"{where}.choices must be a list of values, not {values!r}", "choices")
    choices: list[Value] = []
    for i, item in enumerate(values):
        with table.at("choices", i):
            checked = parameter.check(item, where)
        if checked in choices:
            raise table.fail(f"{where}.choices has {item!r} twice", "choices", i)
        choices.append(checked)
    return tuple(choices)


def overrides_to_dict(overrides: Mapping[str, Override]) -> dict[str, Any]:
    """One trick's overrides as a TOML table; unset ends are left out."""
    return {
        name: {
            end: value for end in Override.__slots__ if (value := getattr(override, end)) not in (None, ())
        }
        for name, override in overrides.items()
    }
