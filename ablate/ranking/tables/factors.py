"""Which factors a table of finished runs holds: levels, straight lines, and what has a meaning only within another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.ranking.designs.design import Factor, check_factors
from ablate.ranking.estimation.least_squares import Matrix
from ablate.ranking.tables.csv_reader import NONE_WORDS, labels, numbers, spellings
from ablate.ranking.tables.slopes import HALVES, slope, split
from ablate.records.errors import InputError, did_you_mean, unknown

MOST_LEVELS = 12
Mask = NDArray[np.bool_]
WAYS = ("slope", "linear", "log", "levels", "split")
_REFERENCES = ("off", "false", "0", *NONE_WORDS, "no", "baseline", "")


@dataclass(frozen=True, slots=True)
class Read:
    """`table` [n] of labels, one column a factor, NaN where a factor has no meaning; `slopes`: name -> column [n];
    `notes`: factor -> what its row must say; `told`: what was noticed."""

    table: pd.DataFrame
    factors: tuple[Factor, ...]
    slopes: Mapping[str, Matrix]
    notes: Mapping[str, str]
    told: tuple[str, ...]


def read_factors(
    frame: pd.DataFrame,
    given: Sequence[str | Factor],
    used: Mask,
    ways: Mapping[str, str] | None = None,
    orders: Mapping[str, Sequence[str]] | None = None,
) -> Read:
    """The factor columns of `frame` [n] as labels and straight lines. `used` [n]: the runs that have a value.

    `ways`: column -> one of WAYS (`split` may name where: `split:0.1`); a column of numbers with three or more
    values is a slope unless told otherwise, any other column has levels. `orders`: levels in order, the
    first being the reference where no level is called off, false, none … Raises InputError.
    """
    table = pd.DataFrame(index=range(len(frame)))
    found: list[Factor] = []
    slopes: dict[str, Matrix] = {}
    notes: dict[str, str] = {}
    told: list[str] = []
    check_ways(ways or {}, [item if isinstance(item, str) else item.name for item in given])
    for item in given:
        name = item if isinstance(item, str) else item.name
        column = labels(frame[name])
        if isinstance(item, Factor):
            table[name] = column
            found.append(item)
            continue
        values = numbers(frame[name])
        way, _, at = (ways or {}).get(name, "").partition(":")
        seen = sorted({str(value) for value in column[used].dropna()})
        if len(seen) < 2:
            raise InputError(
                f"column '{name}' has one value throughout, so it has no effect to measure",
                hint="leave it out of --factors",
            )
        if way in ("slope", "linear", "log", "split") and values is None:
            raise InputError(f"column '{name}' cannot be a {way}: it holds words", hint=f"--as {name}=levels")
        if values is not None and (way in ("slope", "linear", "log") or (not way and len(seen) > 2)):
            try:
                line = slope(values, used, log={"log": True, "linear": False}.get(way))
            except InputError as error:
                raise InputError(f"column '{name}': {error.message}", hint=f"--as {name}=linear") from error
            table[name], slopes[name], notes[name] = line.half, line.column, line.note
            found.append(Factor(name, HALVES))
            if not way:
                told.append(f"'{name}' is numeric ({len(seen)} values): {line.note}; other readings: --as {name}=levels or split")  # fmt: skip
            continue
        if values is not None and way == "split":
            table[name], pair = split(values, _number(at, name) if at else None)
            found.append(Factor(name, pair))
            continue
        told += spellings(name, seen)
        if len(seen) > MOST_LEVELS:
            raise InputError(
                f"column '{name}' has {len(seen)} different values, too many for a trick",
                hint="bin it, or name it as a setting within a trick",
            )
        table[name] = column
        order = [level for level in (orders or {}).get(name, ()) if level in seen]
        order += [lv for lv in (sorted(seen, key=float) if values is not None else seen) if lv not in order]
        reference = next((lv for word in _REFERENCES for lv in order if lv.lower() == word), order[0])
        found.append(Factor(name, (reference, *(level for level in order if level != reference))))
    check_factors(found)
    return Read(table, tuple(found), slopes, notes, tuple(told))


def within(read: Read, used: Mask) -> tuple[Read, list[str], list[str]]:
    """Settings that exist only within a level of another factor, recognised by where finished runs lack them.

    Empty exactly where another factor is at its reference: conditional on that factor. Empty for whole levels
    of another factor, or beyond some number: the effect is the one among the runs that have it. Returns as
    well the factors whose gaps hang on a number (see `presence`), and those whose gaps have no explanation.
    """
    factors, notes = list(read.factors), dict(read.notes)
    by_number, unexplained = [], []
    for i, factor in enumerate(factors):
        there = read.table[factor.name].notna().to_numpy()
        if factor.parent is not None or there[used].all():
            continue
        others = [other for other in factors if other.name != factor.name]
        parent = next((o for o in others if (there == _away(read.table, o))[used].all()), None)
        if parent is not None:
            factors[i] = Factor(factor.name, factor.levels, "conditional", parent.name)
            continue
        owner = next((o for o in others if _owns(read, o, there, used)), None)
        if owner is None:
            unexplained.append(factor.name)
            continue
        given = f"where {owner.name} calls for it"
        if owner.name in read.slopes:
            by_number.append(factor.name)
        else:
            having = read.table.loc[there & used, owner.name]
            given = f"within {owner.name} = {' or '.join(sorted(set(having)))}"
        notes[factor.name] = "; ".join([*([notes[factor.name]] if factor.name in notes else []), given])
    check_factors(factors)
    return replace(read, factors=tuple(factors), notes=notes), by_number, unexplained


def presence(read: Read, names: Sequence[str]) -> Matrix:
    """0/1 columns [n, c]: whether a run has the factor at all, to adjust for; one for each pattern."""
    patterns = {tuple(read.table[name].notna()) for name in names}
    columns = [np.array(pattern, dtype=float) for pattern in sorted(patterns)]
    return np.array(columns).reshape(len(columns), len(read.table)).T


def check_ways(ways: Mapping[str, str], names: Sequence[str]) -> None:
    """Raise InputError for a column that is no factor, or a way of reading that is none."""
    for name, way in ways.items():
        if name not in names:
            raise InputError(
                f"--as names '{name}', which is not among the factors", hint=did_you_mean(name, names)
            )
        if way.partition(":")[0] not in WAYS:
            raise unknown("way to read a column", way, WAYS)


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(
            f"--as {name}=split:{text} names no number", hint=f"for example {name}=split:0.1"
        ) from error


def _away(table: pd.DataFrame, factor: Factor) -> Mask:
    """Rows [n] where a factor is there and not at its reference."""
    column = table[factor.name]
    return (column.notna() & (column != factor.levels[0])).to_numpy()


def _owns(read: Read, owner: Factor, there: Mask, used: Mask) -> bool:
    """Whether every finished run of one level of `owner` has the setting, or none has; for numbers: above a threshold."""
    if read.table[owner.name][used].isna().any():
        return False
    if owner.name in read.slopes:
        inside, outside = read.slopes[owner.name][used & there], read.slopes[owner.name][used & ~there]
        apart = len(inside) > 0 and (inside.min() > outside.max() or inside.max() < outside.min())
        return bool(apart)
    shares = pd.Series(there[used].astype(float)).groupby(read.table[owner.name].to_numpy()[used]).mean()
    return bool(shares.isin([0.0, 1.0]).all() and shares.nunique() == 2)
