"""The trials of a search by another program as a table of finished runs: signed effects, all exploratory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.ranking.designs.design import RESERVED
from ablate.ranking.tables.cells import HUGE
from ablate.ranking.tables.exploratory import exploratory
from ablate.ranking.tables.factors import MOST_LEVELS
from ablate.ranking.tables.prepare import annotated, prepare
from ablate.ranking.tables.slopes import curvature_notes
from ablate.records.errors import InputError

FEWEST, FEWEST_OF_A_LEVEL = 10, 3
"""The fewest complete trials of a study, and of a level."""
ADAPTIVE = (
    "exploratory: a search usually chooses its trials by the results of earlier ones, so no verdict rests on these "
    "effects; a designed ranking (ablate rank) gives verdicts"
)


@dataclass(frozen=True, slots=True)
class ExploratoryResult:
    """The exploratory result of a search. `table`: of `exploratory`. `counts`: runs, used, failed, excluded."""

    table: pd.DataFrame
    counts: Mapping[str, int]
    warnings: tuple[str, ...]


def explore_trials(
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    direction: str,
    *,
    choices: Mapping[str, Sequence[str]],
    log: Mapping[str, bool],
    encodings: Mapping[str, str] | None = None,
) -> ExploratoryResult:
    """Signed exploratory effects of every parameter of a search.

    `rows`: `trial, outcome`, the metric and parameters, one a trial. `choices`: categorical parameter -> its
    choices, `log`: numeric parameter -> whether it enters as a logarithm. A parameter that only some trials have is
    measured among those. `encodings`: how columns are read otherwise, see `factors.ENCODINGS`. Raises InputError in one line.
    """
    names = sorted([*choices, *log])
    frame = pd.DataFrame(
        {name: _column([row.get(name) for row in rows], choices.get(name)) for name in names},
        index=pd.Index([row["trial"] for row in rows]),
    )
    values = np.array([row[metric] for row in rows], dtype=float)
    outcomes = np.array([row["outcome"] for row in rows], dtype=object)
    counts = Counter(str(outcome) for outcome in outcomes)
    infinite = (outcomes == "complete") & ~(np.abs(values) < HUGE)
    outcomes[infinite] = "failed"
    complete = frame[outcomes == "complete"]
    if len(complete) < FEWEST:
        raise InputError(
            f"the study has {len(complete)} complete trials of {len(frame)}{_but(counts)}",
            hint=f"{FEWEST} are needed before they suggest anything",
        )
    chosen, left_out = _factors(complete, names, choices)
    if not chosen:
        raise InputError(f"no parameter of the study varies over its {len(complete)} complete trials")
    defaults = {name: "levels" if name in choices else "log" if log[name] else "linear" for name in chosen}
    entering = outcomes != "infeasible"
    ready = prepare(
        frame[entering], chosen, metric, values[entering], outcomes[entering], keep=True, fewest=FEWEST_OF_A_LEVEL,
        encodings={**defaults, **(encodings or {})}, orders=choices,
    )  # fmt: skip
    table = exploratory(
        ready.table, ready.factors, metric, direction, slopes=ready.slopes, covariates=ready.covariates
    )
    used = int((ready.table["outcome"] == "complete").sum())
    failed = int((outcomes == "failed").sum())
    notes = [ADAPTIVE, *_not_entering(counts, int(infinite.sum()), len(frame)), *left_out, *ready.notes]
    notes += curvature_notes(ready.table, ready.factors, ready.slopes, metric, direction)
    sizes = {"runs": len(frame), "used": used, "failed": failed, "excluded": len(frame) - used - failed}
    return ExploratoryResult(annotated(table, ready), sizes, tuple(notes))


def _column(values: Sequence[Any], labels: Sequence[str] | None) -> NDArray[np.object_] | pd.Categorical:
    """The values of one parameter, None if a trial lacks it; choices as a categorical with unchanged labels."""
    if labels is None:
        return np.array(values, dtype=object)
    return pd.Categorical(values, categories=list(labels))


def _factors(
    complete: pd.DataFrame, names: Sequence[str], choices: Mapping[str, Sequence[str]]
) -> tuple[list[str], list[str]]:
    """The parameters that can be ranked, and why each other cannot."""
    chosen, notes = [], []
    for name in names:
        had = [str(value) for value in complete[name].dropna()]
        if name in (*RESERVED, "trial"):
            notes.append(f"'{name}' is left out: a factor cannot be called so")
        elif len(set(had)) < 2:
            notes.append(f"'{name}' is left out: it has one value in all complete trials")
        elif len(had) < 2 * FEWEST_OF_A_LEVEL:
            notes.append(f"'{name}' is left out: {len(had)} complete trials have it")
        elif name in choices and len(set(had)) > MOST_LEVELS:
            notes.append(f"'{name}' is left out: {len(set(had))} choices are too many to tell apart")
        elif name in choices and _rare(had):
            notes.append(f"'{name}' is left out: all but one of its choices have too few complete trials")
        else:
            chosen.append(name)
    return chosen, notes


def _rare(had: Sequence[str]) -> bool:
    return sum(had.count(value) >= FEWEST_OF_A_LEVEL for value in set(had)) < 2


def _not_entering(counts: Mapping[str, int], infinite: int, total: int) -> list[str]:
    """How many trials have no value that could enter, by reason."""
    unfinished = counts.get("running", 0) + counts.get("waiting", 0)
    reasons = (
        (
            counts.get("infeasible", 0),
            "break a constraint and do not enter: their values are not results of the search",
        ),
        (
            counts.get("pruned", 0),
            "were pruned and do not enter: effects are those among trials that were promising early",
        ),
        (counts.get("failed", 0), "failed: counted, no value"),
        (infinite, "have an infinite value: counted as failed"),
        (unfinished, "are not finished and do not enter"),
    )
    return [f"{number} of {total} trials {reason}" for number, reason in reasons if number]


def _but(counts: Mapping[str, int]) -> str:
    """The other outcomes, for an error."""
    others = [f"{number} {outcome}" for outcome, number in sorted(counts.items()) if outcome != "complete"]
    return f" ({', '.join(others)})" if others else ""
