"""Tables that others made: any table of finished runs, balanced or not, analysed the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ablate.ranking.designs.design import RESERVED, Factor
from ablate.ranking.estimation.analysis import Analysis, Declaration, analyse
from ablate.ranking.estimation.coding import effect_columns, lines, require
from ablate.ranking.estimation.least_squares import Matrix
from ablate.ranking.estimation.outcomes import check_direction
from ablate.ranking.tables.csv_reader import metric_values, outcomes, without_copies
from ablate.ranking.tables.exploratory import setting_columns
from ablate.ranking.tables.factors import Mask, Read, presence, read_factors, within
from ablate.ranking.tables.slopes import PER_SD, bent
from ablate.records.errors import InputError

SAME = 1 - 1e-9
_FEWEST = 2


@dataclass(frozen=True, slots=True)
class Prepared:
    """A table ready for the analysis: labels, `run` (line in the file), metric, `outcome`, perhaps `seed` and
    `block`; `slopes` and `covariates` in its rows; `told`: what was done to it."""

    table: pd.DataFrame
    factors: tuple[Factor, ...]
    slopes: Mapping[str, Matrix]
    notes: Mapping[str, str]
    covariates: Matrix | None
    told: tuple[str, ...]


def analyse_table(
    frame: pd.DataFrame,
    factors: Sequence[str | Factor],
    metric: str,
    direction: str,
    seed: str | None = None,
    margin: float | None = None,
    *,
    outcome: str | None = None,
    parameters: Mapping[str, Sequence[str]] | None = None,
    collapse: float | None = None,
    ways: Mapping[str, str] | None = None,
) -> Analysis:
    """Effects, verdicts and warnings from a table with one row a run.

    `factors`: columns that hold a trick's level (text, true/false, 0/1); the reference level is "off",
    "false", "0", "none", "no" or "baseline" where there is one, else the first in order. A column of
    numbers with three or more values is a straight line, its effect that of one standard deviation; `ways`
    reads it otherwise (`factors.WAYS`). A column that is empty exactly where another factor is at its
    reference is conditional on that one. `seed`: a column whose value several runs share; they become a
    block. `outcome`: a column of states (default: one called `outcome`, `state` or `status`). `parameters`:
    factor -> columns of settings within it, adjusted for. One look at 5 %. Where the table is unbalanced the
    intervals are heteroscedasticity-robust (HC3), a choice made from the factor columns alone. Raises
    InputError in one line for every wrong column.
    """
    check_direction(direction)
    ready = prepare(frame, factors, metric, seed=seed, outcome=outcome, parameters=parameters, ways=ways)
    table, told = ready.table, list(ready.told)
    balanced = is_balanced(table, ready.factors, ready.slopes)
    if not balanced:
        told.append("the table is not balanced: effects are adjusted for the other tricks, intervals are HC3")
    said = Declaration(metric, direction, margin, looks=1, collapse=collapse)
    found = analyse(
        table, ready.factors, said, robust=not balanced, covariates=ready.covariates, slopes=ready.slopes
    )
    told += bent(table, ready.factors, ready.slopes, metric, direction)
    if found.used and found.sigma == 0 and np.ptp(table[metric].dropna()) == 0:
        told.append(f"'{metric}' is the same in every run: nothing can be told apart")
    marked = annotated(found.table, ready)
    return replace(found, table=marked, warnings=(*told, *found.warnings))


def prepare(
    frame: pd.DataFrame,
    factors: Sequence[str | Factor],
    metric: str,
    *,
    seed: str | None = None,
    outcome: str | None = None,
    parameters: Mapping[str, Sequence[str]] | None = None,
    ways: Mapping[str, str] | None = None,
    orders: Mapping[str, Sequence[str]] | None = None,
    keep: bool = False,
    fewest: int = _FEWEST,
) -> Prepared:
    """Check and read a table of runs. `keep`: a run stays though it lacks a factor for no visible reason;
    `fewest`: a level with fewer finished runs is left out. Raises InputError."""
    names = [factor if isinstance(factor, str) else factor.name for factor in factors]
    _check_columns(frame, names, metric, seed, outcome, parameters or {})
    frame, told = without_copies(frame, seed)
    values, words = metric_values(frame[metric], metric)
    told += words
    states = outcomes(frame, outcome)
    used = np.array([state == "complete" for state in states]) & np.isfinite(values)
    if not used.any():
        raise InputError(f"no complete run has a finite '{metric}'")
    if used.sum() < 2:
        raise InputError(
            f"1 run of {len(frame)} has a value of '{metric}'", hint="an effect needs runs with and without"
        )
    read = read_factors(frame, factors, used, ways, orders)
    read, by_number, unexplained = within(read, used)
    adjusted = [*by_number, *(unexplained if keep else [])]
    table = read.table.copy()
    table["run"], table[metric], table["outcome"] = np.asarray(frame.index), values, states
    if seed is not None:
        table["seed"] = frame[seed].to_numpy()
    for name in (name for several in (parameters or {}).values() for name in several):
        table[name] = frame[name].to_numpy()
    here, left_out = _rows_kept(read, used, [] if keep else unexplained, fewest)
    told += left_out
    table = table[here].reset_index(drop=True)
    if seed is not None:
        table, note = _blocks(table)
        told.append(note)
    chosen = [f if f.name in read.slopes else _with_levels(f, table) for f in read.factors]
    there = replace(read, table=table)
    extra = [presence(there, adjusted)] if adjusted else []
    if parameters:
        extra.append(setting_columns(table, chosen, parameters))
    slopes = {name: column[here] for name, column in read.slopes.items()}
    told += [*read.told, *together(table, chosen, slopes, used[here])]
    return Prepared(
        table,
        tuple(chosen),
        slopes,
        read.notes,
        np.concatenate(extra, axis=1) if extra else None,
        tuple(told),
    )


def annotated(table: pd.DataFrame, ready: Prepared) -> pd.DataFrame:
    """The effects with slopes called so, and what each factor's reading was in its note."""
    table = table.copy()
    table["level"] = [PER_SD if row["trick"] in ready.slopes else row["level"] for row in lines(table)]
    table["note"] = [
        "; ".join(text for text in (ready.notes.get(row["trick"], ""), row["note"]) if text)
        for row in lines(table)
    ]
    return table


def is_balanced(
    table: pd.DataFrame, factors: Sequence[Factor], slopes: Mapping[str, Matrix] | None = None
) -> bool:
    """No two effects' columns correlate by more than 0.1, and no level has less than 40 % of its fair share."""
    varied = [factor for factor in factors if table[factor.name].nunique() > 1]
    _, columns = effect_columns(table, varied, slopes)
    centred = columns - columns.mean(axis=0)
    norm = np.linalg.norm(centred, axis=0)
    correlation = (centred.T @ centred) / np.outer(norm, norm) if (norm > 0).all() else np.ones((2, 2))
    owners = [f.name for f in varied for _ in f.levels[1:]]
    different = np.array([[one != other for other in owners] for one in owners], dtype=bool)
    if correlation.shape != different.shape or (np.abs(correlation[different]) > 0.1).any():
        return False
    for factor in factors:
        shares = table[factor.name].value_counts(normalize=True)
        if factor.parent is None and factor.name not in (slopes or {}) and shares.min() * len(factor.levels) < 0.8:  # fmt: skip
            return False
    return True


def together(
    table: pd.DataFrame, factors: Sequence[Factor], slopes: Mapping[str, Matrix], used: Mask
) -> list[str]:
    """Pairs of factors that change together in every finished run: nothing tells their effects apart."""
    terms, columns = effect_columns(table, factors, slopes)
    centred = columns[used] - columns[used].mean(axis=0)
    norm = np.linalg.norm(centred, axis=0)
    unit = centred / np.where(norm > 0, norm, 1.0)
    first, second = np.nonzero(np.triu(np.abs(unit.T @ unit) >= SAME, 1))
    return [
        f"'{terms[i].label}' and '{terms[j].label}' always change together: their effects cannot be told apart"
        for i, j in zip(first, second, strict=True)
    ]


def _check_columns(
    frame: pd.DataFrame,
    names: Sequence[str],
    metric: str,
    seed: str | None,
    outcome: str | None,
    parameters: Mapping[str, Sequence[str]],
) -> None:
    if not names:
        raise InputError("no factor column was named", hint="--factors a,b,c")
    if len(frame) == 0:
        raise InputError("the table has no rows")
    require(frame, names, "factor column")
    require(frame, [metric], "metric column")
    require(frame, [name for name in (seed, outcome) if name is not None])
    named = [*names, metric, *(name for name in (seed, outcome) if name is not None)]
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise InputError(f"the column '{twice}' is named for two purposes", hint="name it once")
    if twice := next((name for name in named if list(frame.columns).count(name) > 1), None):
        raise InputError(f"the table has two columns called '{twice}'", hint="rename one")
    if metric in RESERVED:
        raise InputError(f"a metric cannot be called '{metric}'", hint="rename the column")
    for trick, columns in parameters.items():
        if trick not in names:
            raise InputError(f"settings are named for '{trick}', which is not among the factors")
        require(frame, columns, "settings column")


def _rows_kept(read: Read, used: Mask, needed: Sequence[str], fewest: int) -> tuple[Mask, list[str]]:
    """Rows that have a level of every `needed` factor, and no level that hardly a finished run has."""
    missing = read.table[list(needed)].isna().any(axis=1).to_numpy()
    told = []
    if missing.any():
        told.append(
            f"{int(missing.sum())} of {len(missing)} rows lack the level of a factor and were left out"
        )
    here = ~missing
    if not here.any():
        raise InputError("every row lacks the level of some factor", hint="name fewer factors")
    for factor in read.factors:
        if factor.name in read.slopes:
            continue
        column = read.table[factor.name]
        counts = column[used & here].value_counts()
        for level in factor.levels:
            if counts.get(level, 0) < fewest and (column == level).any() and len(factor.levels) > 2:
                here &= (column != level).to_numpy()
                told.append(
                    f"'{level}' of '{factor.name}' has {counts.get(level, 0)} finished run{'s' if counts.get(level, 0) != 1 else ''}, too few to "
                    "compare: left out"
                )
    for factor in read.factors:
        if read.table[factor.name][here & used].nunique() < 2 and factor.name not in read.slopes:
            raise InputError(f"column '{factor.name}' has one value in the rows that are complete")
    return here, told


def _with_levels(factor: Factor, table: pd.DataFrame) -> Factor:
    """The factor with the levels that are left."""
    seen = set(table[factor.name].dropna())
    return replace(factor, levels=tuple(level for level in factor.levels if level in seen))


def _blocks(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Seeds that several runs share become blocks; seeds of single runs cannot."""
    shared = table["seed"].map(table["seed"].value_counts())
    count = table["seed"].nunique()
    if table["seed"].isna().any():
        raise InputError(f"the seed column is empty in {int(table['seed'].isna().sum())} rows")
    if (shared < 2).any() or count > len(table) / 2 or count < 2:
        return table, "seeds are not shared evenly enough to be blocks: runs count as independent"
    return table.assign(
        block=table["seed"].rank(method="dense").astype(int)
    ), f"{count} seeds enter as blocks"
