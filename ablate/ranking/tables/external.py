"""A table of runs that another program trained, balanced or not: from the file's columns to effects and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.ranking.designs.design import RESERVED, Factor
from ablate.ranking.estimation.analysis import Analysis, Declaration, analyse
from ablate.ranking.estimation.coding import require
from ablate.ranking.estimation.least_squares import Matrix
from ablate.ranking.estimation.outcomes import FAILURES, check_direction
from ablate.ranking.tables.blocks import BlockAnalysis, analyse_blocks
from ablate.ranking.tables.cells import metric_values
from ablate.ranking.tables.nuisance import nuisance_warnings
from ablate.ranking.tables.one_hot import merge_dummies
from ablate.ranking.tables.prepare import PreparedTable, annotated, is_balanced, prepare
from ablate.ranking.tables.repeated_rows import drop_duplicates, one_row_per_run
from ablate.ranking.tables.run_states import COMPLETE, Finished, run_outcomes
from ablate.ranking.tables.slopes import curvature_notes
from ablate.ranking.tables.tuned import Tuning, tune
from ablate.ranking.tables.widening import widened
from ablate.ranking.verdicts.verdicts import largest_margin
from ablate.records.errors import InputError


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How a table is read. Names are columns; "" means none, or found by its usual name.

    `seed`: runs that share a value become a block. `tune`: nuisance settings; each arm is judged at its best value,
    see `tuned.tune`. `block`: the task of a run, see `blocks.analyse_blocks`. `finished`: see `run_states`. `run`,
    `epoch`: see `repeated_rows`. `encodings`: factor -> one of `factors.ENCODINGS`. `parameters`: factor -> columns of
    settings within it, adjusted for. `margin`: the smallest effect that matters; `collapse`: a metric this bad is a
    failed run.
    """

    seed: str = ""
    tune: tuple[str, ...] = ()
    block: str = ""
    finished: Finished = field(default_factory=Finished)
    run: str = ""
    epoch: str = ""
    encodings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    margin: float | None = None
    collapse: float | None = None

    @property
    def columns(self) -> list[str]:
        """The columns with a role of their own."""
        return [name for name in (self.seed, *self.tune, self.block) if name]


@dataclass(frozen=True, slots=True)
class TableAnalysis:
    """`analysis`: effects, verdicts and warnings. `frame`: one row a run, with `outcomes` [n]; `factors`: its columns.
    `blocks`, `tuning`: if requested."""

    analysis: Analysis
    frame: pd.DataFrame
    factors: tuple[str, ...]
    outcomes: NDArray[np.object_]
    blocks: BlockAnalysis | None = None
    tuning: Tuning | None = None


def analyse_runs(
    frame: pd.DataFrame, factors: Sequence[str | Factor], metric: str, direction: str, options: TableOptions | None = None
) -> TableAnalysis:  # fmt: skip
    """Effects, verdicts and warnings from a table of runs.

    `factors`: columns that hold a trick's level (text, true/false, 0/1); the reference level is "off",
    "false", "0", "none", "no" or "baseline" where there is one, else the first in order. A column of
    numbers with three or more values is a straight line, its effect that of one standard deviation. A column that
    is empty exactly where another factor is at its reference is conditional on that one. One look at 5 %. Where
    the table is unbalanced the intervals are heteroscedasticity-robust (HC3), a choice made from the factor
    columns alone. Raises InputError in one line for every wrong column.
    """
    asked = options or TableOptions()
    check_direction(direction)
    names = [factor if isinstance(factor, str) else factor.name for factor in factors]
    check_columns(frame, names, metric, asked)
    whole = [*names, *asked.columns]
    frame, notes = one_row_per_run(frame, whole, metric, run=asked.run, counter=asked.epoch)
    frame, more = drop_duplicates(frame, asked.seed or None)
    notes += more
    values, more = metric_values(frame[metric], metric)
    notes += more
    outcomes, more = run_outcomes(frame, asked.finished, {metric, *whole})
    check_values(frame, metric, values, outcomes, more)
    notes += more
    if all(isinstance(factor, str) for factor in factors):
        frame, names, more = merge_dummies(frame, names)
        factors = names
        notes += more
    used, failed = _used_and_failed(values, outcomes)
    tuning = None
    everything, all_outcomes = frame, outcomes
    if asked.tune:
        signed = values if direction == "higher" else -values
        tuning = tune(
            frame, names, asked.tune, signed, used, failed, seed=asked.seed or None, block=asked.block or None
        )
        notes += tuning.notes
        keep = tuning.judged
        frame, values, outcomes, used, failed = (
            frame[keep],
            values[keep],
            outcomes[keep],
            used[keep],
            failed[keep],
        )
    declared = {metric, *asked.columns, *asked.encodings}
    notes += nuisance_warnings(frame, values, used, failed, declared, names)
    ready = prepare(
        frame, factors, metric, values, list(outcomes), seed=asked.seed or None, task=asked.block or None,
        parameters=asked.parameters, encodings=asked.encodings,
    )  # fmt: skip
    analysis, blocks = _analysed(ready, metric, direction, asked, notes)
    if tuning is not None and blocks is None and tuning.unsettled.any():
        lines_unsettled = everything.index[tuning.unsettled]
        analysis = widened(analysis, ready, ready.table["run"].isin(lines_unsettled).to_numpy())
    if tuning is not None:
        unjudged = len(everything) - analysis.runs
        analysis = replace(analysis, runs=len(everything), excluded=analysis.excluded + unjudged)
    return TableAnalysis(analysis, everything, tuple(names), all_outcomes, blocks, tuning)


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
    encodings: Mapping[str, str] | None = None,
) -> Analysis:
    """`analyse_runs` with the options most used; `outcome` names the column of states."""
    options = TableOptions(
        seed=seed or "", margin=margin, finished=Finished(column=outcome or ""), parameters=parameters or {},
        collapse=collapse, encodings=encodings or {},
    )  # fmt: skip
    return analyse_runs(frame, factors, metric, direction, options).analysis


def check_columns(frame: pd.DataFrame, factors: Sequence[str], metric: str, options: TableOptions) -> None:
    """Raise InputError for a column that is missing, doubled or named twice."""
    if not factors:
        raise InputError("no factor column was named", hint="--factors a,b,c")
    if len(frame) == 0:
        raise InputError("the table has no rows")
    require(frame, factors, "factor column")
    require(frame, [metric], "metric column")
    roles = [*options.columns, *([options.finished.column] if options.finished.column else [])]
    require(frame, roles)
    named = [*factors, metric, *roles]
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise InputError(f"the column '{twice}' is named for two purposes", hint="name it once")
    if twice := next((name for name in named if list(frame.columns).count(name) > 1), None):
        raise InputError(f"the table has two columns called '{twice}'", hint="rename one")
    if metric in RESERVED:
        raise InputError(f"a metric cannot be called '{metric}'", hint="rename the column")
    for trick, columns in options.parameters.items():
        if trick not in factors:
            raise InputError(f"settings are named for '{trick}', which is not among the factors")
        require(frame, columns, "settings column")


def check_values(
    frame: pd.DataFrame, metric: str, values: Matrix, outcomes: NDArray[np.object_], states: Sequence[str]
) -> None:
    """Raise InputError where fewer than two finished runs have a value. `states`: how states were read."""
    used = int(((outcomes == COMPLETE) & np.isfinite(values)).sum())
    if not used:
        raise InputError(f"no complete run has a finite '{metric}'", hint="; ".join(states))
    if used < 2:
        raise InputError(
            f"1 run of {len(frame)} has a value of '{metric}'", hint="an effect needs runs with and without"
        )


def _analysed(
    ready: PreparedTable, metric: str, direction: str, asked: TableOptions, notes: Sequence[str]
) -> tuple[Analysis, BlockAnalysis | None]:
    """The analysis of a prepared table, with all notes among its warnings."""
    table, warnings = ready.table, [*notes, *ready.notes]
    balanced = is_balanced(table, ready.factors, ready.slopes)
    if not balanced:
        warnings.append(
            "the table is not balanced: effects are adjusted for the other tricks"
            + ("" if asked.block else ", intervals are HC3")
        )
    declaration = Declaration(
        metric,
        direction,
        asked.margin,
        looks=1,
        collapse=asked.collapse,
        large=largest_margin(table[metric], direction),
    )
    blocks = None
    if asked.block:
        blocks = analyse_blocks(
            table,
            ready.factors,
            declaration,
            slopes=ready.slopes,
            covariates=ready.covariates,
            robust=not balanced,
        )
        analysis = blocks.analysis
    else:
        analysis = analyse(
            table,
            ready.factors,
            declaration,
            robust=not balanced,
            covariates=ready.covariates,
            slopes=ready.slopes,
        )
        warnings += curvature_notes(table, ready.factors, ready.slopes, metric, direction)
    if analysis.used and analysis.sigma == 0 and np.ptp(table[metric].dropna()) == 0:
        warnings.append(f"'{metric}' is the same in every run: nothing can be told apart")
    analysis = replace(
        analysis, table=annotated(analysis.table, ready), warnings=(*warnings, *analysis.warnings)
    )
    return analysis, None if blocks is None else replace(blocks, analysis=analysis)


def _used_and_failed(
    values: Matrix, outcomes: NDArray[np.object_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    complete, finite = outcomes == COMPLETE, np.isfinite(values)
    return complete & finite, np.isin(outcomes, FAILURES) | (complete & ~finite)
