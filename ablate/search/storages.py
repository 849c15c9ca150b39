"""A finished Optuna study from its storage, as plain data. The storage is only read, never created or written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import OptunaError
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from ablate.records.addresses import shown_address, without_secrets
from ablate.records.errors import InputError, did_you_mean
from ablate.search.importance import FEWEST, FEWEST_IN_TOP, TOP

OUTCOMES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
INFEASIBLE = "infeasible"
"""The outcome of a complete trial that breaks a constraint: its value is meaningless."""
_LONGEST_REASON = 160


@dataclass(frozen=True, slots=True)
class Trials:
    """A study with one objective.

    `rows`: `trial, outcome`, the metric (NaN unless complete) and the parameters (None where absent; a choice is its
    label). `choices`: categorical parameter -> labels of its choices, in the study's order; `log`: numeric
    parameter -> whether its distribution is logarithmic. `importances`: rows `parameter, trick, importance,
    trick_importance`. `notes`: caveats about the storage.
    """

    study: str
    metric: str
    direction: str
    rows: tuple[dict[str, Any], ...]
    choices: Mapping[str, tuple[str, ...]]
    log: Mapping[str, bool]
    importances: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]


def read_trials(storage: str, name: str = "") -> Trials:
    """The study `name` of a storage, or its only one.

    `storage`: an URL (`sqlite:///x.db`, `mysql://…`), an SQLite file or a journal file. Raises InputError in one line.
    """
    study = open_study(storage, name)
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and is_feasible(trial)]
    metric = (study.metric_names or ["value"])[0]
    distributions = {
        key: distribution for trial in complete for key, distribution in trial.distributions.items()
    }
    if metric in {key for trial in trials for key in trial.params}:
        raise InputError(f"a parameter and the objective are both called '{metric}'", hint="rename one")
    categorical = {k: d.choices for k, d in distributions.items() if isinstance(d, CategoricalDistribution)}
    labels = {key: choice_labels(choices) for key, choices in categorical.items()}
    shares, notes = importances(study, complete)
    notes += [note for key, choices in categorical.items() if (note := merged_choices(key, choices))]
    return Trials(
        study.study_name, metric,
        "lower" if study.direction is optuna.study.StudyDirection.MINIMIZE else "higher",
        tuple(_row(trial, metric, labels) for trial in trials), labels,
        {k: bool(getattr(d, "log", False)) for k, d in distributions.items() if k not in categorical},
        shares, tuple(notes),
    )  # fmt: skip


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether no constraint of the trial is above zero (Optuna's convention); a trial without any is feasible."""
    return all(value <= 0 for value in trial.constraints.values())


def choice_labels(choices: Sequence[Any]) -> tuple[str, ...]:
    """One label per choice. Text that could be read as a choice of another type keeps its quotes: `1` and `'1'`."""
    mixed = any(not isinstance(choice, str) for choice in choices)
    labels: list[str] = []
    for choice in choices:
        quoted = isinstance(choice, str) and (
            choice.strip() != choice or not choice or (mixed and _is_literal(choice))
        )
        label = repr(choice) if quoted else str(choice)
        labels.append(f"{label} ({type(choice).__name__})" if label in labels else label)
    return tuple(labels)


def merged_choices(parameter: str, choices: Sequence[Any]) -> str:
    """A note if Optuna stores several choices as one: those that are equal in Python (1, 1.0 and True)."""
    twins = [f"{choice!r} as {choices[choices.index(choice)]!r}" for i, choice in enumerate(choices) if choice in choices[:i]]  # fmt: skip
    if not twins:
        return ""
    return f"'{parameter}': Optuna stores equal choices as one ({', '.join(twins)}), so their trials cannot be told apart"


def open_study(storage: str, name: str = "") -> optuna.Study:
    """The study `name` of a storage, or its only one; one objective. Raises InputError."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    shown = shown_address(storage)
    try:
        opened = _open(storage)
        names = sorted(optuna.get_all_study_names(opened))
        if not names:
            raise InputError(f"{shown} holds no Optuna study")
        if name and name not in names:
            raise InputError(
                f"{shown} holds no study '{name}'",
                hint=did_you_mean(name, names) or f"known: {_quoted(names)}",
            )
        if not name and len(names) > 1:
            raise InputError(
                f"{shown} holds {len(names)} studies: {_quoted(names)}",
                hint="choose with --optuna-study NAME",
            )
        study = optuna.load_study(study_name=name or names[0], storage=opened)
        objectives = len(study.directions)
    except (SQLAlchemyError, OptunaError, RuntimeError, ImportError, ValueError, KeyError, OSError) as error:
        raise _unreadable(storage, error) from None
    if objectives > 1:
        raise InputError(
            f"the study '{study.study_name}' has {objectives} objectives, and a ranking needs one",
            hint="export it with study.trials_dataframe().to_csv('trials.csv', index=False) and rank --table trials.csv "
            "--metric values_0",
        )
    return study


def importances(
    study: optuna.Study, trials: Sequence[FrozenTrial]
) -> tuple[tuple[dict[str, Any], ...], list[str]]:
    """Optuna's importances over the complete, feasible `trials` with a finite value, and a note if there are none.

    PED-ANOVA (2304.10255) over the whole space, summed over the part of a parameter's name before the dot.
    Unsigned, without interval: never a verdict.
    """
    finite = [trial for trial in trials if trial.value is not None and math.isfinite(trial.value)]
    if len(finite) < FEWEST:
        return (), [f"no importances: {len(finite)} trials with a value, Optuna needs about {FEWEST}"]
    evaluator = PedAnovaImportanceEvaluator(
        target_quantile=max(TOP, FEWEST_IN_TOP / len(finite)), evaluate_on_local=False
    )
    chosen = optuna.create_study(direction=study.direction)
    try:
        chosen.add_trials(finite)
        shares = get_param_importances(chosen, evaluator=evaluator)
    except (ValueError, RuntimeError, TypeError) as error:  # TypeError: choices that cannot be hashed
        return (), [f"no importances: {' '.join(str(error).split())[:_LONGEST_REASON]}"]
    sums: dict[str, float] = {}
    for parameter in sorted(shares):
        sums[trick_of(parameter)] = sums.get(trick_of(parameter), 0.0) + shares[parameter]
    rows: list[dict[str, Any]] = [
        {"parameter": parameter, "trick": trick_of(parameter), "importance": share, "trick_importance": sums[trick_of(parameter)]}
        for parameter, share in shares.items()
    ]  # fmt: skip
    rows.sort(key=lambda row: (-row["trick_importance"], row["trick"], -row["importance"]))
    return tuple(rows), []


def trick_of(parameter: str) -> str:
    """`mixup` of `mixup.alpha`."""
    return parameter.partition(".")[0] or parameter


def _open(storage: str) -> BaseStorage:
    """The storage, read-only if it is a file. A missing file is an error and not created."""
    if "://" not in storage:
        path = Path(storage)
        if not _existing(path).read_bytes()[:16].startswith(b"SQLite format 3"):
            return _journal(path)
        storage = f"sqlite:///{path}"
    url = make_url(storage)
    if url.get_backend_name() == "sqlite":
        path = _existing(Path(str(url.database or "").removeprefix("file:").partition("?")[0]))
        storage = f"sqlite:///file:{quote(str(path.resolve()))}?mode=ro&uri=true"
    return RDBStorage(storage, skip_table_creation=True)


def _unreadable(storage: str, error: Exception) -> InputError:
    """The error for a storage that cannot be opened. The driver's own is not chained: it may quote the password."""
    reason = " ".join(str(getattr(error, "orig", None) or error).split())
    return InputError(
        f"{shown_address(storage)} cannot be read as an Optuna storage: "
        f"{without_secrets(reason, storage)[:_LONGEST_REASON]}",
        hint="for example sqlite:///study.db",
    )


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(
            f"there is no file {shown_address(str(path))}",
            hint="give its path relative to the current folder",
        )
    return path


def _journal(path: Path) -> JournalStorage:
    """A journal file, if its first line is one: opening another file as a journal would hide the real error."""
    with path.open("rb") as file:
        first = file.readline(1 << 16)
    try:
        is_journal = "op_code" in json.loads(first)
    except (ValueError, TypeError):
        is_journal = False
    if not is_journal:
        raise InputError(f"{path} is neither an SQLite file nor an Optuna journal")
    return JournalStorage(JournalFileBackend(str(path)))


def _row(trial: FrozenTrial, metric: str, labels: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    complete = trial.state is TrialState.COMPLETE
    feasible = not complete or is_feasible(trial)
    has_value = complete and feasible and trial.value is not None
    return {
        "trial": trial.number,
        "outcome": OUTCOMES[trial.state] if feasible else INFEASIBLE,
        metric: trial.value if has_value else float("nan"),
        **{key: _parameter(trial, key, labels.get(key, ())) for key in trial.params},
    }


def _parameter(trial: FrozenTrial, key: str, labels: Sequence[str]) -> Any:
    """A number, or the label of a choice, by the index under which Optuna stores it."""
    value, distribution = trial.params[key], trial.distributions[key]
    if not isinstance(distribution, CategoricalDistribution):
        return value
    same = (i for i, choice in enumerate(distribution.choices) if choice is value or (type(choice) is type(value) and choice == value))  # fmt: skip
    position = next(same, None)
    if position is None:
        position = int(distribution.to_internal_repr(value))
    return labels[position] if labels else str(value)


def _is_literal(text: str) -> bool:
    """Whether `text` reads like a number, a truth value or nothing."""
    try:
        float(text)
    except ValueError:
        return text.casefold() in ("none", "null", "true", "false")
    return True


def _quoted(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(f"'{name}'" for name in names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")  # fmt: skip
