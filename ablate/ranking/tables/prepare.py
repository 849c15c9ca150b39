"""A table of finished runs made ready for the analysis: columns checked, levels read, rows that cannot enter left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ablate.ranking.designs.design import Factor
from ablate.ranking.estimation.coding import effect_columns, lines
from ablate.ranking.estimation.least_squares import Matrix
from ablate.ranking.tables.exploratory import setting_columns
from ablate.ranking.tables.factors import FactorTable, Mask, conditional_factors, presence, read_factors
from ablate.ranking.tables.slopes import PER_SD
from ablate.records.errors import InputError

SAME = 1 - 1e-9
FEWEST = 2
LARGEST_FIT = 5e8
"""Runs × seeds² up to which seeds are blocks: a fit's time grows so. 200,000 runs of 1,000 seeds took 200 s and 8 GiB, of 25 seeds 16 s."""


@dataclass(frozen=True, slots=True)
class PreparedTable:
    """A table ready for the analysis: labels, `run` (line in the file), metric, `outcome`, perhaps `seed`, `block` and
    `task`; `slopes` and `covariates` in its rows; `row_notes`: factor -> the note of its row; `notes`: what was done."""

    table: pd.DataFrame
    factors: tuple[Factor, ...]
    slopes: Mapping[str, Matrix]
    row_notes: Mapping[str, str]
    covariates: Matrix | None
    notes: tuple[str, ...]


def prepare(
    frame: pd.DataFrame,
    factors: Sequence[str | Factor],
    metric: str,
    values: Matrix,
    outcomes: Sequence[str],
    *,
    seed: str | None = None,
    task: str | None = None,
    parameters: Mapping[str, Sequence[str]] | None = None,
    encodings: Mapping[str, str] | None = None,
    orders: Mapping[str, Sequence[str]] | None = None,
    keep: bool = False,
    fewest: int = FEWEST,
) -> PreparedTable:
    """Read the factors of a table of runs, one row a run, and leave out what cannot enter.

    `values`, `outcomes` [n]: the metric and how each run ended. `seed`: a column whose values several runs share,
    which become blocks. `task`: a column that is kept as `task`. `keep`: a run stays though it lacks a factor for no
    visible reason; `fewest`: a level with fewer finished runs is left out. Raises InputError.
    """
    used = (np.asarray(outcomes, dtype=object) == "complete") & np.isfinite(values)
    read = read_factors(frame, factors, used, encodings, orders)
    read, by_number, unexplained = conditional_factors(read, used)
    adjusted = [*by_number, *(unexplained if keep else [])]
    table = read.table.copy()
    table["run"], table[metric], table["outcome"] = np.asarray(frame.index), values, list(outcomes)
    if seed is not None:
        table["seed"] = frame[seed].to_numpy()
    if task is not None:
        table["task"] = frame[task].to_numpy()
    for name in (name for several in (parameters or {}).values() for name in several):
        table[name] = frame[name].to_numpy()
    here, notes = _rows_kept(read, used, [] if keep else unexplained, fewest)
    table = table[here].reset_index(drop=True)
    if seed is not None and task is None:
        table, note = _blocks(table)
        notes.append(note)
    chosen = [f if f.name in read.slopes else _with_levels(f, table) for f in read.factors]
    remaining = replace(read, table=table)
    extra = [presence(remaining, adjusted)] if adjusted else []
    if parameters:
        extra.append(setting_columns(table, chosen, parameters))
    slopes = {name: column[here] for name, column in read.slopes.items()}
    notes += [*read.notes, *confounded_notes(table, chosen, slopes, used[here])]
    return PreparedTable(
        table,
        tuple(chosen),
        slopes,
        read.row_notes,
        np.concatenate(extra, axis=1) if extra else None,
        tuple(notes),
    )


def annotated(table: pd.DataFrame, ready: PreparedTable) -> pd.DataFrame:
    """The effects with slopes marked as such, and each factor's encoding in its note."""
    table = table.copy()
    table["level"] = [PER_SD if row["trick"] in ready.slopes else row["level"] for row in lines(table)]
    table["note"] = [
        "; ".join(text for text in (ready.row_notes.get(row["trick"], ""), row["note"]) if text)
        for row in lines(table)
    ]
    return table


def is_balanced(
    table: pd.DataFrame, factors: Sequence[Factor], slopes: Mapping[str, Matrix] | None = None
) -> bool:
    """No two effects' columns correlate by more than 0.1, and no level has less than 40 % of its fair share."""
    varied = [factor for factor in factors if table[factor.name].nunique() > 1]
    _, columns = effect_columns(table, varied, slopes)
    centred = np.ascontiguousarray(columns.T)
    centred -= centred.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1)
    correlation = (centred @ centred.T) / np.outer(norm, norm) if (norm > 0).all() else np.ones((2, 2))
    owners = [f.name for f in varied for _ in f.levels[1:]]
    different = np.array([[one != other for other in owners] for one in owners], dtype=bool)
    if correlation.shape != different.shape or (np.abs(correlation[different]) > 0.1).any():
        return False
    for factor in factors:
        shares = table[factor.name].value_counts(normalize=True)
        if factor.parent is None and factor.name not in (slopes or {}) and shares.min() * len(factor.levels) < 0.8:  # fmt: skip
            return False
    return True


def confounded_notes(
    table: pd.DataFrame, factors: Sequence[Factor], slopes: Mapping[str, Matrix], used: Mask
) -> list[str]:
    """Pairs of factors that change together in every finished run: their effects cannot be separated."""
    terms, columns = effect_columns(table, factors, slopes)
    unit = np.ascontiguousarray(columns.T)[:, used]
    unit -= unit.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(unit, axis=1, keepdims=True)
    unit /= np.where(norm > 0, norm, 1.0)
    first, second = np.nonzero(np.triu(np.abs(unit @ unit.T) >= SAME, 1))
    return [
        f"'{terms[i].label}' and '{terms[j].label}' always change together: their effects cannot be told apart"
        for i, j in zip(first, second, strict=True)
    ]


def _rows_kept(read: FactorTable, used: Mask, needed: Sequence[str], fewest: int) -> tuple[Mask, list[str]]:
    """Rows that have a level of every `needed` factor, and no level that hardly a finished run has."""
    missing = read.table[list(needed)].isna().any(axis=1).to_numpy()
    notes = []
    if missing.any():
        notes.append(
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
                notes.append(
                    f"'{level}' of '{factor.name}' has {counts.get(level, 0)} finished run{'s' if counts.get(level, 0) != 1 else ''}, too few to "
                    "compare: left out"
                )
    for factor in read.factors:
        if read.table[factor.name][here & used].nunique() < 2 and factor.name not in read.slopes:
            raise InputError(f"column '{factor.name}' has one value in the rows that are complete")
    return here, notes


def _with_levels(factor: Factor, table: pd.DataFrame) -> Factor:
    """The factor with the levels that are left."""
    seen = set(table[factor.name].unique())
    return replace(factor, levels=tuple(level for level in factor.levels if level in seen))


def _blocks(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Seeds that several runs share become blocks; seeds of single runs cannot."""
    shared = table["seed"].map(table["seed"].value_counts())
    count = table["seed"].nunique()
    if table["seed"].isna().any():
        raise InputError(f"the seed column is empty in {int(table['seed'].isna().sum())} rows")
    if (shared < 2).any() or count > len(table) / 2 or count < 2:
        return table, "seeds are not shared evenly enough to be blocks: runs count as independent"
    if len(table) * count**2 > LARGEST_FIT:
        return (
            table,
            f"{count:,} seeds are too many to be blocks of {len(table):,} runs: runs count as independent, and intervals are somewhat wider",
        )
    return table.assign(
        block=table["seed"].rank(method="dense").astype(int)
    ), f"{count} seeds enter as blocks"
