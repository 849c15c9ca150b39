"""The trials of somebody's search as a table of finished runs: signed effects, exploratory all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ablate.ranking.designs.design import RESERVED
from ablate.ranking.tables.exploratory import exploratory
from ablate.ranking.tables.external import annotated, prepare
from ablate.ranking.tables.factors import MOST_LEVELS
from ablate.ranking.tables.slopes import bent
from ablate.records.errors import InputError

FEWEST, FEWEST_OF_A_LEVEL = 10, 3
"""Complete trials below which nothing is told, and complete trials that a level needs."""
ADAPTIVE = (
    "exploratory: a search usually chooses its trials by the results of earlier ones, so no verdict rests on these "
    "effects; a designed ranking (ablate rank) gives verdicts"
)


@dataclass(frozen=True, slots=True)
class Suggested:
    """What a search suggests. `table`: of `exploratory`. `counts`: runs, used, failed, excluded."""

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
    ways: Mapping[str, str] | None = None,
) -> Suggested:
    """Signed exploratory effects of every parameter of a search.

    `rows`: `trial, outcome`, the metric and parameters, one a trial. `choices`: categorical parameter -> its
    choices, `log`: numeric parameter -> whether it enters as a logarithm. A parameter that only some trials have is
    measured among those. `ways`: how columns are read otherwise, see `factors.WAYS`. Raises InputError in one line.
    """
    names = [*choices, *log]
    frame = pd.DataFrame(
        {name: pd.Series([row.get(name) for row in rows], dtype=object) for name in ["outcome", *sorted(names)]}
    )  # fmt: skip
    frame[metric] = [row[metric] for row in rows]
    frame.index = pd.Index([row["trial"] for row in rows])
    complete = frame[(frame["outcome"] == "complete").to_numpy()]
    if len(complete) < FEWEST:
        raise InputError(
            f"the study has {len(complete)} complete trials of {len(frame)}",
            hint=f"{FEWEST} are needed before they suggest anything",
        )
    chosen, left_out = _factors(complete, sorted(names), choices)
    if not chosen:
        raise InputError(f"no parameter of the study varies over its {len(complete)} complete trials")
    own = {name: "levels" if name in choices else "log" if log[name] else "linear" for name in chosen}
    ready = prepare(
        frame, chosen, metric, outcome="outcome", keep=True, fewest=FEWEST_OF_A_LEVEL,
        ways={**own, **(ways or {})}, orders=choices,
    )  # fmt: skip
    table = exploratory(
        ready.table, ready.factors, metric, direction, slopes=ready.slopes, covariates=ready.covariates
    )
    outcomes = frame["outcome"].value_counts()
    used = int((ready.table["outcome"] == "complete").sum())
    failed = int(outcomes.get("failed", 0))
    counts = {"runs": len(frame), "used": used, "failed": failed, "excluded": len(frame) - used - failed}
    told = [ADAPTIVE, *_unfinished({str(k): int(v) for k, v in outcomes.items()}, len(frame)), *left_out, *ready.told]  # fmt: skip
    told += bent(ready.table, ready.factors, ready.slopes, metric, direction)
    return Suggested(annotated(table, ready), counts, tuple(told))


def _factors(
    complete: pd.DataFrame, names: Sequence[str], choices: Mapping[str, Sequence[str]]
) -> tuple[list[str], list[str]]:
    """The parameters that can be ranked, and why each other cannot."""
    chosen, told = [], []
    for name in names:
        had = [repr(value) for value in complete[name] if value is not None]
        if name in (*RESERVED, "trial"):
            told.append(f"'{name}' is left out: a factor cannot be called so")
        elif len(set(had)) < 2:
            told.append(f"'{name}' is left out: it has one value in all complete trials")
        elif len(had) < 2 * FEWEST_OF_A_LEVEL:
            told.append(f"'{name}' is left out: {len(had)} complete trials have it")
        elif name in choices and len(set(had)) > MOST_LEVELS:
            told.append(f"'{name}' is left out: {len(set(had))} choices are too many to tell apart")
        elif name in choices and _rare(had):
            told.append(f"'{name}' is left out: all but one of its choices have too few complete trials")
        else:
            chosen.append(name)
    return chosen, told


def _rare(had: Sequence[str]) -> bool:
    return sum(had.count(value) >= FEWEST_OF_A_LEVEL for value in set(had)) < 2


def _unfinished(counts: Mapping[str, int], total: int) -> list[str]:
    """Pruned trials bias what is left: said with their number."""
    told = []
    if counts.get("pruned"):
        told.append(
            f"{counts['pruned']} of {total} trials were pruned and do not enter: effects are those among trials that were "
            "promising early"
        )
    if counts.get("failed"):
        told.append(f"{counts['failed']} of {total} trials failed: counted, no value")
    unfinished = counts.get("running", 0) + counts.get("waiting", 0)
    if unfinished:
        told.append(f"{unfinished} of {total} trials are not finished and do not enter")
    return told
