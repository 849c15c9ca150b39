"""Several rows of one run: a row for every epoch, as trackers export histories, and copies of rows."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.ranking.tables.cells import numbers
from ablate.records.errors import InputError, unknown

EVERY_ROW = "none"
"""The value of `--run` for which each row is a separate run."""
_IDS = ("id", "runid", "infoid", "inforunid", "uid", "uuid", "runuuid", "trialid", "jobid", "taskid", "sysid", "experimentkey", "configid")  # fmt: skip
_NAMES = ("run", "runname", "name", "trial", "trialname", "displayname", "number", "version", "job", "jobname", "logdir", "outputdir", "savedir", "path", "file", "filename", "dir")  # fmt: skip
_TIMES = ("created", "createdat", "timestamp", "runtime", "starttime", "datetimestart")
_COUNTERS = ("step", "globalstep", "trainerglobalstep", "epoch", "iteration", "iter", "trainingiteration", "timestep", "timestepstotal", "round", "update")  # fmt: skip
_SEEDS = ("seed", "randomseed", "configseed", "paramsseed", "replicate", "repeat")
_MOST_TWICE = 0.5
_HISTORY = 3


def one_row_per_run(
    frame: pd.DataFrame, whole: Sequence[str], metric: str, *, run: str = "", counter: str = ""
) -> tuple[pd.DataFrame, list[str]]:
    """The last row of each run, and a note if there were several.

    `whole`: columns that belong to a whole run (factors, seed, …). `run`: the columns, by commas, that name a run, or
    "none" where each row is one; else a column with a usual name (`run_id`, `trial_id`, `name` …) whose values repeat.
    `counter`: the column that counts within a run (epoch, step). A blank cell of the last row takes the last known
    value of its run, since loggers write training and validation into rows of their own. Raises InputError where
    rows look like epochs of runs that no column names for certain, and where a factor changes within a run.
    """
    if run.strip().lower() == EVERY_ROW or len(frame) < 2:
        return frame, []
    if counter and counter not in frame.columns:
        raise unknown("column of epochs", counter, [str(name) for name in frame.columns])
    named = [name.strip() for name in run.split(",") if name.strip()]
    for name in named:
        if name not in frame.columns:
            raise unknown("column of runs", name, [str(column) for column in frame.columns])
    if not named:
        named = _run_columns(frame, whole, metric, counter)
    if not named:
        return frame, []
    keys = _codes(frame, named)
    if len(np.unique(keys)) == len(frame):
        return frame, []
    _check_constant(frame, keys, [name for name in whole if name not in named], named)
    counter = counter or _counter(frame, keys, (*whole, metric, *named)) or ""
    last = _last_rows(frame, keys, counter)
    by = f"by '{counter}'" if counter else "in the order of the file"
    return last, [
        f"{len(frame)} rows belong to {len(last)} runs ({_quoted(named)}): each run counts once, by its last row {by}; "
        "--run COLUMN or --run none says otherwise"
    ]


def drop_duplicates(frame: pd.DataFrame, seed: str | None) -> tuple[pd.DataFrame, list[str]]:
    """The rows without those that equal an earlier one in every column, if a column identifies runs.

    Where none does (no name, no time, no seed), equal rows may be two runs: they stay, with a note.
    """
    copies = _copies(frame)
    if not copies.any():
        return frame, []
    count = f"{int(copies.sum())} of {len(frame)} rows equal an earlier row in every column"
    if seed is not None or {_plain(name) for name in frame.columns} & {*_IDS, *_NAMES, *_TIMES}:
        return frame[~copies], [f"{count}: taken for copies, each run counts once"]
    return frame, [f"{count}: if a run was exported twice its interval is too narrow; add a column that names the run"]  # fmt: skip


def _copies(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows [n] equal an earlier one in every column."""
    texts = {name: str for name in frame.columns if frame[name].dtype == object}
    return np.asarray(frame.astype(texts).duplicated())


def _run_columns(frame: pd.DataFrame, whole: Sequence[str], metric: str, counter: str) -> list[str]:
    """The columns that name a run where rows repeat one; empty where each row is a run. Raises InputError if unsure."""
    free = [str(name) for name in frame.columns if name not in (*whole, metric, counter)]
    seeds = [name for name in free if _plain(name) in _SEEDS]
    ids = _usable(frame, [name for name in free if _plain(name) in _IDS])
    names = _usable(frame, [name for name in free if _plain(name) in _NAMES])
    if any(frame[name].is_unique for name in [*ids, *names]):
        return []
    finest = next(iter(sorted(ids or names, key=lambda name: -frame[name].nunique())), None)
    fixed = [*whole, *seeds]
    columns = [finest] if finest else []
    keys = _codes(frame, [*columns, *fixed]) if columns or fixed else np.zeros(len(frame), dtype=np.intp)
    if len(np.unique(keys)) == len(frame):
        return []
    identifying = finest is not None and len(np.unique(_codes(frame, columns))) == len(np.unique(keys))
    count = counter or _counter(frame, keys, (*fixed, metric, *columns))
    if identifying and count and (ids or _is_history(frame, keys, count)):
        return columns
    settings = len(np.unique(_codes(frame, fixed))) if fixed else 1
    several = len(np.unique(keys)) < len(frame) - int(_copies(frame).sum())
    finer = (
        identifying and several and len(np.unique(keys)) > settings
    )  # a name that distinguishes more runs than settings do
    if (ids and (identifying or count)) or finer:
        what = f"rows share a value of '{finest}' ({len(frame)} rows, {frame[finest].nunique()} values)"
    elif count and _is_history(frame, keys, count):
        what = f"'{count}' seems to count within runs ({len(frame)} rows, {len(np.unique(keys))} runs)"
    else:
        return []
    raise InputError(
        f"{what}: a run would count several times",
        hint="name the columns of a run (--run COLUMN,COLUMN: its last row counts) and what counts within it (--epoch COLUMN), "
        "or say --run none if each row is a run of its own",
    )


def _usable(frame: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """The columns that may name runs and have no gap."""
    return [name for name in names if frame[name].notna().all()]


def _counter(frame: pd.DataFrame, keys: NDArray[np.intp], taken: Sequence[str]) -> str | None:
    """The column that counts within runs: numbers, hardly one of them twice in a run; the finest one."""
    best, distinct = None, 1 - _MOST_TWICE
    for name in frame.columns:
        if name in taken or _plain(name) not in _COUNTERS or (values := numbers(frame[name])) is None:
            continue
        present = np.isfinite(values)
        pairs = len(np.unique(np.stack([keys[present].astype(float), values[present]]), axis=1).T)
        if present.any() and pairs / present.sum() > distinct:
            best, distinct = str(name), pairs / present.sum()
    repeats = len(np.unique(keys)) < len(frame)
    return best if repeats else None


def _is_history(frame: pd.DataFrame, keys: NDArray[np.intp], counter: str) -> bool:
    """Whether most runs have several rows that count from the same number on."""
    values = numbers(frame[counter])
    if values is None:
        return False
    runs = pd.Series(values).groupby(keys).agg(["min", "nunique", "size"])
    common = (runs["min"] == runs["min"].mode().iloc[0]).mean()
    return bool(runs["size"].median() >= _HISTORY and common >= 0.8 and runs["nunique"].median() >= _HISTORY)


def _check_constant(
    frame: pd.DataFrame, keys: NDArray[np.intp], whole: Sequence[str], named: Sequence[str]
) -> None:
    """Raise InputError for a column of the whole run that changes within one."""
    for name in whole:
        several = frame[name].groupby(keys).nunique()
        if (several > 1).any():
            code = several.index[several > 1][0]
            inside = frame[name][keys == code].dropna()
            other = inside.index[(inside != inside.iloc[0]).to_numpy()][0]
            raise InputError(
                f"'{name}' changes within a run of {_quoted(named)} (lines {inside.index[0]} and {other})",
                hint=f"name all columns that make a run, for example --run {','.join([*named, name])}",
            )


def _last_rows(frame: pd.DataFrame, keys: NDArray[np.intp], counter: str) -> pd.DataFrame:
    """One row a run in the order in which runs begin: the last known value of every column."""
    values = numbers(frame[counter]) if counter else np.zeros(len(frame))
    if values is None:
        raise InputError(
            f"column '{counter}' does not hold numbers", hint="name a column that counts: --epoch COLUMN"
        )
    order = np.lexsort((np.arange(len(frame)), np.where(np.isfinite(values), values, -np.inf), keys))
    ordered = frame.iloc[order]
    rows = ordered.groupby(keys[order], sort=True).last()
    ends = np.append(np.flatnonzero(np.diff(keys[order])), len(order) - 1)
    rows.index = ordered.index[ends]
    return rows[list(frame.columns)]


def _codes(frame: pd.DataFrame, names: Sequence[str]) -> NDArray[np.intp]:
    """The number [n] of each row's combination of values, in the order of the first appearance."""
    return np.asarray(frame.groupby(list(names), sort=False, dropna=False).ngroup(), dtype=np.intp)


def _plain(name: object) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
