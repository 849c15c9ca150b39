"""Tables that others made: any CSV of finished runs, balanced or not, analysed the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from ablate.ranking.analysis import Analysis, Declaration, analyse
from ablate.ranking.coding import effect_columns, require
from ablate.ranking.design import RESERVED, Factor, check_factors
from ablate.ranking.exploratory import setting_columns
from ablate.records.errors import InputError

MOST_LEVELS = 12
_REFERENCES = ("off", "false", "0", "none", "no", "baseline", "")
_FINISHED = {"complete": "complete", "completed": "complete", "finished": "complete", "success": "complete"}
_CRASHED = {
    "crashed": "failed",
    "fail": "failed",
    "failure": "failed",
    "nan": "diverged",
    "oom": "out_of_memory",
}
_UNFINISHED = ("pruned", "running", "waiting", "killed", "interrupted", "queued", "preempted")


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
) -> Analysis:
    """Effects, verdicts and warnings from a table with one row a run.

    `factors`: columns that hold a trick's level (text, true/false, 0/1); the reference level is "off",
    "false", "0", "none", "no" or "baseline" where there is one, else the first in order. A column that is
    empty exactly where another factor is at its reference is conditional on that one. `seed`: a column
    whose value several runs share; they become a block. `outcome`: a column of states (default: one called
    `outcome` or `state`). `parameters`: factor -> columns of settings within it, adjusted for.
    One look at 5 %. Where the table is unbalanced the intervals are heteroscedasticity-robust (HC3), a
    choice made from the factor columns alone. Raises InputError in one line for every wrong column.
    """
    names = [factor if isinstance(factor, str) else factor.name for factor in factors]
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
    table = pd.DataFrame({name: _labels(frame[name]) for name in names})
    table[metric] = frame[metric].to_numpy()
    chosen = _factors(table, factors)
    told: list[str] = []
    table["outcome"] = _outcomes(frame, outcome)
    if seed is not None:
        table["seed"] = frame[seed].to_numpy()
        table, note = _blocks(table)
        told.append(note)
    for trick, columns in (parameters or {}).items():
        if trick not in names:
            raise InputError(f"settings are named for '{trick}', which is not among the factors")
        require(frame, columns, "settings column")
        for column in columns:
            table[column] = frame[column].to_numpy()
    table, lacking = _fill(table, chosen)
    told += lacking
    covariates = setting_columns(table, chosen, parameters) if parameters else None
    balanced = is_balanced(table, chosen)
    if not balanced:
        told.append("the table is not balanced: effects are adjusted for the other tricks, intervals are HC3")
    said = Declaration(metric, direction, margin, looks=1, collapse=collapse)
    found = analyse(table, chosen, said, robust=not balanced, covariates=covariates)
    return replace(found, warnings=(*told, *found.warnings))


def is_balanced(table: pd.DataFrame, factors: Sequence[Factor]) -> bool:
    """No two effects' columns correlate by more than 0.1, and no level has less than 40 % of its fair share."""
    _, columns = effect_columns(table, [factor for factor in factors if table[factor.name].nunique() > 1])
    centred = columns - columns.mean(axis=0)
    norm = np.linalg.norm(centred, axis=0)
    correlation = (centred.T @ centred) / np.outer(norm, norm) if (norm > 0).all() else np.ones((2, 2))
    owners = [f.name for f in factors if table[f.name].nunique() > 1 for _ in f.levels[1:]]
    different = np.array([[one != other for other in owners] for one in owners], dtype=bool)
    if correlation.shape != different.shape or (np.abs(correlation[different]) > 0.1).any():
        return False
    for factor in factors:
        shares = table[factor.name].value_counts(normalize=True)
        if factor.parent is None and shares.min() * len(factor.levels) < 0.8:
            return False
    return True


def _labels(column: pd.Series) -> pd.Series:
    """Level labels as text; a number that is whole loses its ".0"; missing stays missing."""

    def label(value: object) -> object:
        if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
            return np.nan
        if isinstance(value, float | np.floating) and float(value).is_integer():
            return str(int(value))
        return str(value).strip()

    return pd.Series([label(value) for value in column.to_numpy()], dtype=object)


def _factors(table: pd.DataFrame, given: Sequence[str | Factor]) -> list[Factor]:
    """The factors with their levels read off the table, and conditional ones recognised."""
    found: list[Factor] = []
    for item in given:
        if isinstance(item, Factor):
            found.append(item)
            continue
        levels = sorted({str(value) for value in table[item].dropna()})
        if len(levels) < 2:
            raise InputError(f"column '{item}' has one value throughout, so it has no effect to measure")
        if len(levels) > MOST_LEVELS:
            raise InputError(
                f"column '{item}' has {len(levels)} different values, too many for a trick",
                hint="bin it, or name it as a setting within a trick",
            )
        reference = next((lv for word in _REFERENCES for lv in levels if lv.lower() == word), levels[0])
        found.append(Factor(item, (reference, *(level for level in levels if level != reference))))
    check_factors(found)
    for i, factor in enumerate(found):
        empty = table[factor.name].isna().to_numpy()
        if factor.parent is not None or not empty.any():
            continue
        for parent in found:
            if parent is not factor and (empty == (table[parent.name] == parent.levels[0]).to_numpy()).all():
                found[i] = Factor(factor.name, factor.levels, "conditional", parent.name)
                break
    check_factors(found)
    return found


def _outcomes(frame: pd.DataFrame, column: str | None) -> list[str]:
    """Our words for the states of a tracker's export; unknown words are an error."""
    if column is None:
        column = next((name for name in ("outcome", "state") if name in frame.columns), None)
    if column is None:
        return ["complete"] * len(frame)
    words = []
    for value in frame[column]:
        word = str(value).strip().lower()
        if word in _FINISHED:
            words.append("complete")
        elif word in ("diverged", "failed", "out_of_memory"):
            words.append(word)
        elif word in _CRASHED:
            words.append(_CRASHED[word])
        elif word in _UNFINISHED:
            words.append("pruned")
        else:
            raise InputError(
                f"column '{column}' holds the state '{value}', which is not known",
                hint="use complete, diverged, failed, out_of_memory or pruned",
            )
    return words


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


def _fill(table: pd.DataFrame, factors: list[Factor]) -> tuple[pd.DataFrame, list[str]]:
    """Conditional factors at reference where the parent is; rows that still lack a level go, and are told."""
    by_name = {factor.name: factor for factor in factors}
    depth = sorted(factors, key=lambda factor: _depth(factor, by_name))
    for factor in depth:
        if factor.parent is not None:
            above = (table[factor.parent] == by_name[factor.parent].levels[0]).to_numpy()
            table[factor.name] = table[factor.name].mask(above, factor.levels[0])
    missing = table[[factor.name for factor in factors]].isna().any(axis=1)
    told = (
        [f"{int(missing.sum())} of {len(table)} rows lack the level of a factor and were left out"]
        if missing.any()
        else []
    )
    kept = table[~missing].reset_index(drop=True)
    if kept.empty:
        raise InputError("every row lacks the level of some factor", hint="name fewer factors")
    for factor in factors:
        if kept[factor.name].nunique() < 2:
            raise InputError(f"column '{factor.name}' has one value in the rows that are complete")
    return kept, told


def _depth(factor: Factor, by_name: Mapping[str, Factor]) -> int:
    return 0 if factor.parent is None else 1 + _depth(by_name[factor.parent], by_name)
