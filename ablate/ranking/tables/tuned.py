"""Each arm at its own best value of a nuisance setting, chosen on other runs than it is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.ranking.estimation.least_squares import Matrix
from ablate.ranking.tables.cells import labels, numbers
from ablate.ranking.tables.nuisance import binned
from ablate.records.errors import InputError

MOST_FOLDS = 10
WIDENED = 3.0
"""Factor of the variance of an arm's mean where its halves chose different values. The means of the
halves are then correlated, and the choice itself varies; simulated over curves from flat to steep and 3 to 40 runs, 3
gives 95 % intervals a coverage of 0.92 to 0.98, and no widening one of 0.81 to 0.92."""
_MOST_SHOWN = 6
_UNEQUAL = 1.5


@dataclass(frozen=True, slots=True)
class Tuning:
    """`judged` [n]: the runs by which arms are judged; `unsettled` [n]: those of arms whose folds chose different values.
    `choices`: rows `block, arm, value, folds, tried, edge`, one an
    arm, block and chosen value: in how many folds it was chosen, how many values the arm was tried at, and whether it
    is the least or greatest of them. `notes`: what was done."""

    judged: NDArray[np.bool_]
    unsettled: NDArray[np.bool_]
    choices: pd.DataFrame
    notes: tuple[str, ...]


def tune(
    frame: pd.DataFrame, factors: Sequence[str], settings: Sequence[str], values: Matrix, used: NDArray[np.bool_],
    failed: NDArray[np.bool_], *, seed: str | None = None, block: str | None = None,
    folds: int | None = None,
) -> Tuning:  # fmt: skip
    """Choose each arm's best `settings` by cross-fitting.

    `values` [n]: the metric, signed so that higher is better; `used`, `failed` [n]: see `RunMasks`. An arm is a combination
    of the levels of `factors`, within a `block` (a task, tuned separately). Runs are divided into `folds` (default: up to ten
    within blocks, where the scatter between blocks includes that of the choice; else two, see WIDENED): by `seed`
    if there is one, else by their number among the repetitions of a setting. In each fold an arm is judged by its runs
    at the setting whose mean over the other folds is best; a failed run counts there as the worst value of its
    block. So no run is judged by a choice that it took part in, and no arm gains by having tried more values
    (chosen and judged on the same runs, the best of k values is too good by up to √(2 ln k) standard errors).

    Where an arm has one run a setting, it is judged by the run that it was chosen by, which is noted; this needs
    blocks, between which the scatter is measured. Raises InputError if there are none.
    """
    setting, ordered, notes = _settings(frame, settings, used | failed)
    here = (used | failed) & setting.notna().to_numpy()
    arm_labels = [labels(frame[name]).fillna("–") for name in factors]
    arm = _joined(arm_labels, " · ")
    table = pd.DataFrame({
        "block": labels(frame[block]).to_numpy() if block else "", "arm": arm.to_numpy(), "setting": setting.to_numpy(),
        "value": np.where(used, values, np.nan), "row": np.arange(len(frame)),
    })[here]  # fmt: skip
    floor = table.groupby("block")["value"].transform("min")
    table["score"] = table["value"].fillna(floor).fillna(0.0)
    most = folds or (MOST_FOLDS if block else 2)
    table["fold"], count = _folds(table, frame[seed].to_numpy()[here] if seed else None, most)
    rank = {value: i for i, value in enumerate(ordered)}
    table["order"] = table["setting"].map(rank)
    chosen = _choose(table)
    alone = _alone(table, chosen)
    if len(alone):
        name = ", ".join(settings)
        if block is None:
            raise InputError(
                f"'{alone['arm'].iloc[0]}' has one run at each value of '{name}': it would be judged by the run that chose the value",
                hint="add runs with other seeds, or name the column of tasks with --block",
            )
        chosen = pd.concat([chosen, alone], ignore_index=True)
        notes.append(
            f"{len(alone)} of {len(chosen.groupby(['block', 'arm']))} arms have one run at each value of '{name}': they are judged "
            "by the run that chose the value, which flatters them by some noise"
        )
    judged, unsettled = np.zeros(len(frame), dtype=bool), np.zeros(len(frame), dtype=bool)
    chosen["unsettled"] = chosen.groupby(["block", "arm"])["setting"].transform("nunique") > 1
    kept = table.merge(
        chosen[["block", "arm", "fold", "setting", "unsettled"]], on=["block", "arm", "fold", "setting"]
    )
    judged[kept["row"].to_numpy()] = True
    unsettled[kept["row"].to_numpy()] = kept["unsettled"].to_numpy()
    choices = _choices(table, chosen)
    others = ~judged & (used | failed)
    notes.append(
        f"{int(judged.sum())} of {int((used | failed).sum())} runs are at a chosen value and judge; of the others {int((failed & others).sum())} failed"
    )
    if block is None and unsettled.any():
        unsure = sorted(set(kept.loc[kept["unsettled"], "arm"]))
        notes.append(f"the best value is not settled for {_listed(unsure)} (both halves of the runs chose another): intervals are widened")  # fmt: skip
    summary = _summary(choices, ", ".join(settings), count, blocks=block is not None)
    return Tuning(judged, unsettled, choices, (*summary, *notes))


def _settings(
    frame: pd.DataFrame, names: Sequence[str], here: NDArray[np.bool_]
) -> tuple[pd.Series, list[str], list[str]]:
    """Each run's setting [n] as text, NaN if it has none; all of them in order; notes on ranges."""
    columns, notes = [], []
    for name in names:
        values = numbers(frame[name])
        column = labels(frame[name])
        if values is not None:
            # Ranges only where values do not repeat: a random search, not a grid.
            repeated = column[here].nunique() <= here.sum() / 4
            grouped = binned(values, np.isfinite(values) & here)
            if grouped is None:
                raise InputError(f"'{name}' has one value in all runs, so there is nothing to tune")
            if not repeated and grouped[here].nunique() < column[here].nunique():
                column = grouped
                notes.append(
                    f"'{name}' has hardly a value twice: it is tuned over {column[here].nunique()} ranges of equal counts"
                )
            order = pd.Series(values).groupby(column.to_numpy()).min().sort_values()
            column = pd.Series(pd.Categorical(column, categories=list(order.index), ordered=True))
        else:
            column = pd.Series(pd.Categorical(column, ordered=True))
        columns.append(column)
    if len(columns) == 1:
        return columns[0].astype(object), list(columns[0].cat.categories), notes
    joined = _joined([column.astype(object) for column in columns], ", ")
    codes = np.stack([column.cat.codes.to_numpy() for column in columns])
    rows = np.lexsort(codes[::-1])
    return joined, list(dict.fromkeys(joined.iloc[rows].dropna())), notes


def _joined(columns: Sequence[pd.Series], separator: str) -> pd.Series:
    """The columns as one text per row, NaN if one is missing."""
    joined = columns[0]
    for column in columns[1:]:
        joined = joined + separator + column
    return joined


def _folds(table: pd.DataFrame, seeds: NDArray[np.object_] | None, most: int) -> tuple[NDArray[np.intp], int]:
    """The fold of each run, and how many there are."""
    number = (
        table.groupby(["block", "arm", "setting"]).cumcount()
        if seeds is None
        else pd.factorize(seeds, sort=True)[0]
    )
    fold = np.asarray(number, dtype=np.intp)
    count = min(most, int(fold.max()) + 1)
    return fold % count, count


def _choose(table: pd.DataFrame) -> pd.DataFrame:
    """`block, arm, fold, setting`: the best setting by the runs outside the fold, of those that have runs inside it."""
    keys = ["block", "arm", "setting", "order"]
    inside = table.groupby([*keys, "fold"], as_index=False).agg(
        total=("score", "sum"), runs=("score", "size")
    )
    others = _of_other_folds(inside, keys, "runs")
    cells = inside.assign(mean=_of_other_folds(inside, keys, "total") / others.where(others > 0))[others > 0]
    return _first_best(cells, ["block", "arm", "fold"])


def _of_other_folds(cells: pd.DataFrame, keys: list[str], name: str) -> pd.Series:
    """Sums of a column over the other folds of a cell. The fold's own value is not subtracted from a total: of a diverged run only rounding would be left."""
    parts = []
    for ordered in (cells, cells[::-1]):
        before = ordered.groupby(keys, sort=False)[name].cumsum()
        parts.append(before.groupby([ordered[key] for key in keys], sort=False).shift(1, fill_value=0))
    return parts[0] + parts[1].reindex(cells.index)


def _alone(table: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """The best run of each arm that no other runs could choose for."""
    done = set(zip(chosen["block"], chosen["arm"], strict=True))
    remaining = table[[(b, a) not in done for b, a in zip(table["block"], table["arm"], strict=True)]]
    return _first_best(remaining.rename(columns={"score": "mean"}), ["block", "arm"])


def _first_best(cells: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The row with the greatest `mean` in each group; of equal ones the first setting."""
    ordered = cells.sort_values(
        [*by, "mean", "order"], ascending=[True] * len(by) + [False, True], kind="stable"
    )
    return ordered.drop_duplicates(by)[["block", "arm", "fold", "setting", "order"]]


def _choices(table: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    tried = table.groupby(["block", "arm"])["order"].agg(["nunique", "min", "max"]).reset_index()
    counted = chosen.groupby(["block", "arm", "setting", "order"], as_index=False).agg(folds=("fold", "size"))
    choices = counted.merge(tried, on=["block", "arm"])
    choices["edge"] = (choices["nunique"] > 1) & (
        (choices["order"] == choices["min"]) | (choices["order"] == choices["max"])
    )
    choices = choices.sort_values(
        ["arm", "block", "folds", "order"], ascending=[True, True, False, True], kind="stable"
    )
    return choices.rename(columns={"setting": "value", "nunique": "tried"})[["block", "arm", "value", "folds", "tried", "edge"]].reset_index(drop=True)  # fmt: skip


def _summary(choices: pd.DataFrame, name: str, folds: int, *, blocks: bool) -> list[str]:
    """Notes: the choice for each arm, arms tried at fewer values, best values at the end of their range."""
    main = choices.drop_duplicates(["block", "arm"])
    parts = []
    for arm, rows in main.groupby("arm", sort=True):
        counts = (rows if blocks else choices[choices["arm"] == arm]).groupby("value", sort=False)
        counted = (counts.size() if blocks else counts["folds"].sum()).sort_values(
            ascending=False, kind="stable"
        )
        if len(counted) == 1:
            parts.append(f"{arm}: {counted.index[0]}")
        else:
            parts.append(
                f"{arm}: " + ", ".join(f"{value} ({count}×)" for value, count in counted.head(3).items())
            )
    shown = "; ".join(parts[:_MOST_SHOWN])
    shown += f"; {len(parts) - _MOST_SHOWN} more arms" if len(parts) > _MOST_SHOWN else ""
    how = "chosen on other runs than it is judged on" if folds > 1 else "chosen and judged on the same runs"
    unit = "times chosen, by block" if blocks else f"runs dealt into {folds} folds"
    notes = [f"each arm is judged at its best '{name}', {how} ({unit}): {shown}"]
    tried = main.groupby("arm")["tried"].median()
    if tried.max() > _UNEQUAL * tried.min():
        notes.append(
            f"tuned unequally: '{tried.idxmax()}' was tried at {tried.max():g} values of '{name}', '{tried.idxmin()}' at {tried.min():g}"
        )
    edges = main[main["edge"]].groupby("arm").size() / main.groupby("arm").size()
    if len(often := edges[edges >= 0.5]):
        notes.append(f"the best '{name}' of {_listed(list(often.index))} is the least or greatest that was tried: a better one may lie beyond")  # fmt: skip
    return notes


def _listed(names: Sequence[object]) -> str:
    return ", ".join(map(str, names[:_MOST_SHOWN])) + (" …" if len(names) > _MOST_SHOWN else "")
