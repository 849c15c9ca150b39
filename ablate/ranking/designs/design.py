"""The declaration of a design before its first run: factors, rows, and their JSON form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from ablate.records.designs import DesignName
from ablate.records.errors import InputError, unknown
from ablate.records.trick import PLACEBO

if TYPE_CHECKING:
    import pandas as pd

Role = Literal["ordinary", "must_have", "conditional", "needs_retune"]
Kind = Literal[DesignName, "pilot"]
RESERVED = ("run", "seed", "block", "wave", "outcome")
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Factor:
    """One trick (or slot) as a column of a design. `levels[0]` is the reference, usually "off".

    Roles: `must_have` is fixed at `levels[1]` in an array and tested apart; `conditional` acts only where
    `parent` is not at its reference level, and its effect is the one given the parent on; `needs_retune`
    shifts the best learning rate, so its effect at a fixed rate carries a warning.
    """

    name: str
    levels: tuple[str, ...] = ("off", "on")
    role: Role = "ordinary"
    parent: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(self.levels))
        if not self.name or self.name in RESERVED:
            raise InputError(f"a factor cannot be called '{self.name}'", hint="rename it")
        if len(self.levels) < 2 or len(set(self.levels)) != len(self.levels):
            raise InputError(f"factor '{self.name}' needs two or more different levels, not {self.levels}")
        if self.role not in get_args(Role):
            raise unknown("role", self.role, get_args(Role))
        if (self.role == "conditional") != (self.parent is not None):
            raise InputError(f"factor '{self.name}': the role 'conditional' and a parent go together")


@dataclass(frozen=True, slots=True)
class Row:
    """One run of a design: factor -> level, the training seed, its block and its wave (from 1)."""

    levels: Mapping[str, str]
    seed: int
    block: int
    wave: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", MappingProxyType(dict(self.levels)))


@dataclass(frozen=True, slots=True)
class Design:
    """A list of rows and how it came about. Plain data: stored in the ledger before the first run."""

    kind: Kind
    factors: tuple[Factor, ...]
    rows: tuple[Row, ...]
    note: str = ""

    def frame(self) -> pd.DataFrame:
        """One line a run: a column per factor (level labels), `seed`, `block`, `wave`."""
        import pandas as pd  # a search needs of this module no more than seeds

        data: dict[str, list[Any]] = {
            factor.name: [row.levels[factor.name] for row in self.rows] for factor in self.factors
        }
        for name in ("seed", "block", "wave"):
            data[name] = [getattr(row, name) for row in self.rows]
        return pd.DataFrame(data)

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and integers."""
        return {
            "version": _VERSION,
            "kind": self.kind,
            "note": self.note,
            "factors": [
                {"name": f.name, "levels": list(f.levels), "role": f.role, "parent": f.parent}
                for f in self.factors
            ],
            "rows": [
                {"levels": dict(row.levels), "seed": row.seed, "block": row.block, "wave": row.wave}
                for row in self.rows
            ],
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Design:
        """The inverse of `to_json`. Raises InputError where the stored form is not a design."""
        if plain.get("version") != _VERSION:
            raise InputError(f"a design of version {plain.get('version')!r} cannot be read here")
        if plain.get("kind") not in get_args(Kind):
            raise unknown("kind of design", str(plain.get("kind")), get_args(Kind))
        try:
            factors = tuple(
                Factor(f["name"], tuple(f["levels"]), f["role"], f["parent"]) for f in plain["factors"]
            )
            rows = tuple(Row(r["levels"], r["seed"], r["block"], r["wave"]) for r in plain["rows"])
        except (KeyError, TypeError) as error:
            raise InputError(f"the stored design is damaged: {error}") from error
        check_factors(factors)
        for row in rows:
            for factor in factors:
                if row.levels.get(factor.name) not in factor.levels:
                    raise InputError(f"the stored design is damaged: a row has no level of '{factor.name}'")
        return cls(cast(Kind, plain["kind"]), factors, rows, plain.get("note", ""))


def with_placebo(factors: Sequence[Factor]) -> tuple[Factor, ...]:
    """The factors and one that does nothing, against which every other is judged."""
    return (*(factor for factor in factors if factor.name != PLACEBO), Factor(PLACEBO))


def check_factors(factors: Iterable[Factor]) -> None:
    """Raise InputError for a duplicate name, a missing parent, or a cycle of parents."""
    listed = list(factors)
    by_name = {factor.name: factor for factor in listed}
    if not listed:
        raise InputError("there is no trick to rank", hint="include at least one")
    if len(by_name) != len(listed):
        twice = next(f.name for f in listed if sum(g.name == f.name for g in listed) > 1)
        raise InputError(f"factor '{twice}' is listed twice")
    for factor in listed:
        seen = {factor.name}
        parent = factor.parent
        while parent is not None:
            if parent not in by_name:
                raise unknown(f"parent of '{factor.name}'", parent, by_name)
            if parent in seen:
                raise InputError(f"factor '{factor.name}' is its own parent")
            seen.add(parent)
            parent = by_name[parent].parent


def effective(levels: Mapping[str, str], factors: Sequence[Factor]) -> dict[str, str]:
    """`levels` with every conditional factor at its reference where its parent is."""
    by_name = {factor.name: factor for factor in factors}

    def on(name: str) -> bool:
        factor = by_name[name]
        return levels[name] != factor.levels[0] and (factor.parent is None or on(factor.parent))

    return {f.name: levels[f.name] if f.parent is None or on(f.parent) else f.levels[0] for f in factors}


def training_seed(*key: int) -> int:
    """A training seed (31 bits) that is a pure function of `key`, e.g. (study seed, wave, block)."""
    return int(np.random.SeedSequence([value & 0xFFFFFFFF for value in key]).generate_state(1)[0] >> 1)


def rows_of(
    table: Sequence[Mapping[str, str]], factors: Sequence[Factor], key: Sequence[int], block: int, wave: int
) -> list[Row]:
    """One block: every row with the block's seed.

    Rows that become equal (children of a parent that is off) or differ in the placebo alone would be one and
    the same training, which counted twice would exaggerate the precision; each such repeat gets another seed.
    """
    seen: dict[tuple[str, ...], int] = {}
    rows = []
    for levels in table:
        acting = effective(levels, factors)
        label = tuple(acting[factor.name] for factor in factors if factor.name != PLACEBO)
        repeat = seen.get(label, 0)
        seen[label] = repeat + 1
        rows.append(Row(acting, training_seed(*key, repeat), block, wave))
    return rows
