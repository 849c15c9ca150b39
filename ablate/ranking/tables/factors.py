"""The factors of a table of finished runs: levels, straight lines, and settings that exist only within another factor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.ranking.designs.design import Factor, check_factors
from ablate.ranking.estimation.least_squares import Matrix
from ablate.ranking.tables.cells import NONE_WORDS, case_variants, labels, numbers
from ablate.ranking.tables.slopes import HALVES, slope, split
from ablate.records.errors import InputError, did_you_mean, unknown

MANY_LEVELS, MOST_LEVELS = 12, 500
"""Levels above which a note is given, and above which a column is refused."""
Mask = NDArray[np.bool_]
ENCODINGS = ("slope", "linear", "log", "levels", "split")
_REFERENCES = ("off", "false", "0", *NONE_WORDS, "no", "baseline", "")


@dataclass(frozen=True, slots=True)
class FactorTable:
    """`table` [n] of labels, one column a factor, NaN where a factor has no meaning; `slopes`: name -> column [n];
    `row_notes`: factor -> the note of its row; `notes`: observations."""

    table: pd.DataFrame
    factors: tuple[Factor, ...]
    slopes: Mapping[str, Matrix]
    row_notes: Mapping[str, str]
    notes: tuple[str, ...]


def read_factors(
    frame: pd.DataFrame,
    given: Sequence[str | Factor],
    used: Mask,
    encodings: Mapping[str, str] | None = None,
    orders: Mapping[str, Sequence[str]] | None = None,
) -> FactorTable:
    """The factor columns of `frame` [n] as labels and straight lines. `used` [n]: the runs that have a value.

    `encodings`: column -> one of ENCODINGS (`split` may say where: `split:0.1`); a column of numbers with three or
    more values is a slope unless asked otherwise, any other column has levels. `orders`: levels in order, the
    first being the reference where no level is called off, false, none … Raises InputError.
    """
    table = pd.DataFrame(index=range(len(frame)))
    factors: list[Factor] = []
    slopes: dict[str, Matrix] = {}
    row_notes: dict[str, str] = {}
    notes: list[str] = []
    check_encodings(encodings or {}, [item if isinstance(item, str) else item.name for item in given])
    for item in given:
        name = item if isinstance(item, str) else item.name
        if isinstance(item, Factor):
            table[name] = labels(frame[name])
            factors.append(item)
            continue
        values = numbers(frame[name])
        encoding, _, at = (encodings or {}).get(name, "").partition(":")
        distinct = (
            labels(frame[name])[used].nunique() if values is None else len(_finite_values(values[used]))
        )
        if distinct < 2:
            raise InputError(
                f"column '{name}' has one value throughout, so it has no effect to measure",
                hint="leave it out of --factors",
            )
        if encoding in ("slope", "linear", "log", "split") and values is None:
            raise InputError(
                f"column '{name}' cannot be a {encoding}: it holds words", hint=f"--as {name}=levels"
            )
        if values is not None and (encoding in ("slope", "linear", "log") or (not encoding and distinct > 2)):
            try:
                line = slope(values, used, log={"log": True, "linear": False}.get(encoding))
            except InputError as error:
                raise InputError(f"column '{name}': {error.message}", hint=f"--as {name}=linear") from error
            table[name], slopes[name], row_notes[name] = line.half, line.column, line.note
            factors.append(Factor(name, HALVES))
            if not encoding:
                notes.append(f"'{name}' is numeric ({distinct} values): {line.note}; otherwise: --as {name}=levels or split")  # fmt: skip
            continue
        if values is not None and encoding == "split":
            table[name], pair = split(values, _number(at, name) if at else None)
            factors.append(Factor(name, pair))
            continue
        column = labels(frame[name])
        counts = column[used].value_counts()
        seen = sorted(str(value) for value in counts.index)
        notes += [*case_variants(name, seen), *_many_levels(name, counts)]
        table[name] = column
        order = [level for level in (orders or {}).get(name, ()) if level in counts.index]
        ordered = set(order)
        order += [lv for lv in (sorted(seen, key=float) if values is not None else seen) if lv not in ordered]
        reference = next((lv for word in _REFERENCES for lv in order if lv.lower() == word), order[0])
        factors.append(Factor(name, (reference, *(level for level in order if level != reference))))
    check_factors(factors)
    return FactorTable(table, tuple(factors), slopes, row_notes, tuple(notes))


def _many_levels(name: str, counts: pd.Series) -> list[str]:
    """A note on a column of many levels. Raises InputError where hardly a value has two runs, or for too many."""
    if len(counts) <= MANY_LEVELS:
        return []
    repeated = int((counts > 1).sum())
    if repeated < 2:
        raise InputError(
            f"column '{name}' has {len(counts)} different values, hardly one of them in two runs: it names runs, not a trick",
            hint="leave it out, or bin it",
        )
    if repeated > MOST_LEVELS:
        raise InputError(
            f"column '{name}' has {len(counts)} different values, and at most {MOST_LEVELS} are compared",
            hint="bin it, or name it with --block or --tune",
        )
    return [f"'{name}' has {len(counts)} levels: Holm's adjustment over that many asks much of each; fewer levels decide sooner"]  # fmt: skip


def conditional_factors(read: FactorTable, used: Mask) -> tuple[FactorTable, list[str], list[str]]:
    """Settings that exist only within a level of another factor, recognised by where finished runs lack them.

    Empty exactly where another factor is at its reference: conditional on that factor. Empty for whole levels
    of another factor, or beyond some number: the effect is the one among the runs that have it. Returns as
    well the factors whose gaps depend on a number (see `presence`), and those whose gaps have no explanation.
    """
    factors, row_notes = list(read.factors), dict(read.row_notes)
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
        row_notes[factor.name] = "; ".join(
            [*([row_notes[factor.name]] if factor.name in row_notes else []), given]
        )
    check_factors(factors)
    return replace(read, factors=tuple(factors), row_notes=row_notes), by_number, unexplained


def presence(read: FactorTable, names: Sequence[str]) -> Matrix:
    """0/1 columns [n, c]: whether a run has the factor at all, to adjust for; one for each pattern."""
    patterns = {tuple(read.table[name].notna()) for name in names}
    columns = [np.array(pattern, dtype=float) for pattern in sorted(patterns)]
    return np.array(columns).reshape(len(columns), len(read.table)).T


def check_encodings(encodings: Mapping[str, str], names: Sequence[str]) -> None:
    """Raise InputError for a column that is not a factor, or an unknown encoding."""
    for name, encoding in encodings.items():
        if name not in names:
            raise InputError(
                f"--as names '{name}', which is not among the factors", hint=did_you_mean(name, names)
            )
        if encoding.partition(":")[0] not in ENCODINGS:
            raise unknown("encoding of a column", encoding, ENCODINGS)


def _finite_values(values: Matrix) -> Matrix:
    return np.unique(values[np.isfinite(values)])


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


def _owns(read: FactorTable, owner: Factor, there: Mask, used: Mask) -> bool:
    """Whether every finished run of one level of `owner` has the setting, or none has; for numbers: above a threshold."""
    if read.table[owner.name][used].isna().any():
        return False
    if owner.name in read.slopes:
        inside, outside = read.slopes[owner.name][used & there], read.slopes[owner.name][used & ~there]
        apart = len(inside) > 0 and (inside.min() > outside.max() or inside.max() < outside.min())
        return bool(apart)
    shares = pd.Series(there[used].astype(float)).groupby(read.table[owner.name].to_numpy()[used]).mean()
    return bool(shares.isin([0.0, 1.0]).all() and shares.nunique() == 2)
