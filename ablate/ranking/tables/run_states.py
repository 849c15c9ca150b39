"""States of runs as trackers, schedulers and samplers write them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.ranking.tables.cells import CRASH_WORDS, labels, numbers
from ablate.records.errors import InputError, did_you_mean, unknown

COMPLETE, UNFINISHED, INFEASIBLE = "complete", "unfinished", "infeasible"
_FINISHED = frozenset({"complete", "completed", "finished", "success", "succeeded", "successful", "done", "ok", "closed", "published"})  # fmt: skip
_FAILED = {
    **{word.replace("_", ""): outcome for word, outcome in CRASH_WORDS.items()},
    **dict.fromkeys(("errored", "exception", "died", "broken", "invalid", "upstreamfailed"), "failed"),
    **dict.fromkeys(("oomkilled", "memoryout", "memout"), "out_of_memory"),
}
_UNFINISHED = frozenset({
    "pruned", "running", "waiting", "killed", "interrupted", "queued", "preempted", "preempting", "pending", "scheduled",
    "cancelled", "canceled", "usercanceled", "syscanceled", "cancelrequested", "abandoned", "earlystopped", "stopped", "stop", "stopping",
    "abort", "aborted", "timeout", "timedout", "deadline", "paused", "suspended", "resuming", "created", "new",
    "initialized", "starting", "started", "preparing", "provisioning", "finalizing", "inprogress", "active", "idle", "staged",
    "candidate", "stale", "skipped", "retrying", "requeued", "requested", "capped", "donotadvance", "evicted",
    "terminating", "notresponding", "nodefail", "bootfail", "metricsunavailable", "completing", "configuring", UNFINISHED, INFEASIBLE,
})  # fmt: skip
_RAY_FINISHED = "terminated"
"""Ray Tune's word for a trial that ended; in tables with another word for that, it means one that was stopped."""
_STATE_COLUMNS = ("outcome", "state", "status", "trialstatus", "runstatus", "jobstatus", "infostatus", "sysstate", "runstate", "jobstate")  # fmt: skip
_FLAG_COLUMNS = {"done": True, "finished": True, "completed": True, "failed": False, "crashed": False, "diverged": False}  # fmt: skip
"""Columns of true and false: the value of a run that ended well."""
_ENUM = re.compile(r"<?\w+\.(\w+)(?:\s*:.*>)?")
_MOST_SHOWN = 6
ANY = "any"


@dataclass(frozen=True, slots=True)
class Finished:
    """The value of `--finished`. `column`: the column of states ("": found by its name); `words`: the states of runs that
    ended well (none: by the known words); `ignore`: every run counts, whatever its state."""

    column: str = ""
    words: tuple[str, ...] = ()
    ignore: bool = False


def parse_finished(text: str) -> Finished:
    """`1,COMPLETE`, `phase=Succeeded` or `any`. Raises InputError."""
    column, equals, words = text.rpartition("=")
    states = tuple(word.strip() for word in words.split(",") if word.strip())
    if (text.strip() or equals) and not states:
        raise InputError(
            f"--finished does not understand '{text}'", hint="for example --finished 1,COMPLETE or state=1"
        )
    if states == (ANY,) and not equals:
        return Finished(ignore=True)
    return Finished(column.strip(), states)


def run_outcomes(
    frame: pd.DataFrame, finished: Finished | None = None, roles: Collection[str] = ()
) -> tuple[NDArray[np.object_], list[str]]:
    """The outcome [n] of each run and notes: complete, diverged, failed, out_of_memory, unfinished or infeasible.

    The states are in the column that `finished` names, else in one with a usual name (`state`, `status`,
    `outcome` …) that is none of `roles`, the columns with another purpose. A run without a state is complete.
    Trials that break an Optuna constraint (`system_attrs_constraints`) are infeasible. Raises InputError for
    states that are not known, for coded ones (numbers, true and false), and for a column that is not there.
    """
    asked = finished or Finished()
    outcomes = np.full(len(frame), COMPLETE, dtype=object)
    if asked.ignore:
        return outcomes, []
    notes: list[str] = []
    column = asked.column or _state_column(frame, roles)
    if asked.column and asked.column not in frame.columns:
        raise unknown("column of states", asked.column, [str(name) for name in frame.columns])
    if asked.words and not column:
        raise InputError("--finished needs a column of states, and none has a usual name", hint="name it: --finished COLUMN=WORDS")  # fmt: skip
    if column:
        outcomes, notes = _by_state(frame[column], column, asked.words)
    elif (flag := _flag_column(frame, roles)) is not None:
        good = labels(frame[flag]).map({"True": True, "False": False}) == _FLAG_COLUMNS[_plain(flag)]
        ended_badly = ~good.to_numpy() & frame[flag].notna().to_numpy()
        outcomes[ended_badly] = UNFINISHED if _FLAG_COLUMNS[_plain(flag)] else "failed"
        if ended_badly.any():
            notes.append(f"{int(ended_badly.sum())} runs count as {outcomes[ended_badly][0]} by column '{flag}'; --finished any ignores it")  # fmt: skip
    broken = _breaks_constraints(frame) & (outcomes == COMPLETE)
    if broken.any():
        outcomes[broken] = INFEASIBLE
        notes.append(f"{int(broken.sum())} of {len(frame)} trials break a constraint and do not enter")
    return outcomes, notes


def _by_state(
    states: pd.Series, column: str, finished: Sequence[str]
) -> tuple[NDArray[np.object_], list[str]]:
    """Outcomes [n] by the words of a column, and a note on what counts as what."""
    texts = labels(states)
    distinct = [str(word) for word in pd.unique(texts.dropna())]
    if not finished and distinct and (numbers(states) is not None or set(distinct) <= {"True", "False"}):
        raise InputError(
            f"column '{column}' codes states as {_list(sorted(distinct))}, and trackers differ in their codes",
            hint=f"say which are finished runs (for example --finished {texts.value_counts().idxmax()}), or --finished any to ignore the column",
        )
    meaning = _meanings(distinct, finished)
    for word in distinct:
        if meaning[word] is None:
            line = states.index[np.flatnonzero((texts == word).to_numpy())[0]]
            guess = did_you_mean(word, [*sorted(_FINISHED), *CRASH_WORDS, *sorted(_UNFINISHED)])
            raise InputError(
                f"column '{column}' holds the state '{word}', which is not known (line {line})",
                hint=f"{guess + ' if not, ' if guess else ''}name the words of finished runs: --finished {word}",
            )
    outcomes = texts.map(lambda word: meaning[word] if isinstance(word, str) else COMPLETE).to_numpy(
        dtype=object
    )
    counts = texts.value_counts()
    readings = [
        f"{', '.join(f'{word} ({counts[word]})' for word in words)} as {'unfinished' if kind == UNFINISHED else kind}"
        for kind in dict.fromkeys(meaning[word] for word in distinct)
        if (
            words := [
                w for w in distinct if meaning[w] == kind and (kind != COMPLETE or _plain(w) == _RAY_FINISHED)
            ]
        )
    ]
    note = f"states in '{column}' were read: {'; '.join(readings)}; --finished WORDS says otherwise"
    return outcomes, [note] if readings else []


def _meanings(words: Iterable[str], finished: Sequence[str]) -> Mapping[str, str | None]:
    """The outcome behind each word; None for one that is not known."""
    words = list(words)
    plain = {word: _plain(word) for word in words}
    if finished:
        wanted = {_code(word) for word in finished}
        if not wanted & {_code(word) for word in words}:
            raise InputError(f"no run has a state that --finished names; there are {_list(words)}")
        return {w: COMPLETE if _code(w) in wanted else _FAILED.get(plain[w], UNFINISHED) for w in words}
    proper = any(word in _FINISHED for word in plain.values())

    def meaning(word: str) -> str | None:
        if word in _FINISHED:
            return COMPLETE
        if word == _RAY_FINISHED:
            return UNFINISHED if proper else COMPLETE
        return _FAILED.get(word) or (UNFINISHED if word in _UNFINISHED else None)

    return {word: meaning(plain[word]) for word in words}


def _plain(word: str) -> str:
    """`complete` of `TrialState.COMPLETE`, `nodefail` of `NODE_FAIL`, `cancelled` of `CANCELLED by 1000`."""
    text = re.sub(r"\s*\(.*\)$|\s+by\s.*$", "", str(word).strip())
    enum = _ENUM.fullmatch(text)
    return re.sub(r"[^a-z0-9]", "", (enum[1] if enum else text).lower())


def _code(word: str) -> str:
    """A word or a number to compare by: 1 and 1.0 are one."""
    try:
        return str(float(word))
    except ValueError:
        return _plain(word)


def _state_column(frame: pd.DataFrame, roles: Collection[str]) -> str | None:
    names = {_plain(str(name)): str(name) for name in reversed(list(frame.columns)) if name not in roles}
    return next(
        (names[word] for word in _STATE_COLUMNS if word in names and frame[names[word]].notna().any()), None
    )


def _flag_column(frame: pd.DataFrame, roles: Collection[str]) -> str | None:
    for name in frame.columns:
        if (
            name not in roles
            and _plain(str(name)) in _FLAG_COLUMNS
            and set(labels(frame[name]).dropna()) <= {"True", "False"}
        ):
            return str(name)
    return None


def _breaks_constraints(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Rows [n] with a constraint above zero, in the columns of `study.trials_dataframe()`: numbers, or lists of them."""
    broken = np.zeros(len(frame), dtype=bool)
    for name in frame.columns:
        if str(name).startswith("system_attrs_constraints"):
            for i, value in enumerate(frame[name].to_numpy()):
                values = re.findall(r"[+-]?(?:inf|\d+\.?\d*(?:e[+-]?\d+)?|\.\d+)", str(value), re.IGNORECASE)
                broken[i] |= any(float(number) > 0 for number in values)
    return broken


def _list(words: Sequence[str]) -> str:
    return ", ".join(words[:_MOST_SHOWN]) + (" …" if len(words) > _MOST_SHOWN else "")
