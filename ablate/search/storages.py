"""A finished Optuna study from its storage, as plain data. The storage is read and never written, not even made."""

from __future__ import annotations

import json
import re
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

from ablate.records.errors import InputError, did_you_mean
from ablate.search.importance import FEWEST, FEWEST_IN_TOP, TOP

OUTCOMES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True, slots=True)
class Trials:
    """A study with one objective. `rows`: `trial, outcome`, the metric (NaN unless complete) and the parameters
    (None where absent; a choice that is None itself is the word "None"). `choices`: categorical parameter -> its
    choices as words; `log`: numeric parameter -> whether its distribution is logarithmic. `importances`: rows
    `parameter, trick, importance, trick_importance`, or `without`: why there are none."""

    study: str
    metric: str
    direction: str
    rows: tuple[dict[str, Any], ...]
    choices: Mapping[str, tuple[str, ...]]
    log: Mapping[str, bool]
    importances: tuple[dict[str, Any], ...]
    without: str


def read_trials(storage: str, name: str = "") -> Trials:
    """The study `name` of a storage, or its only one.

    `storage`: an URL (`sqlite:///x.db`, `mysql://…`), an SQLite file or a journal file. Raises InputError in one line.
    """
    study = open_study(storage, name)
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    metric = (study.metric_names or ["value"])[0]
    distributions = {key: found for trial in complete for key, found in trial.distributions.items()}
    if metric in {key for trial in trials for key in trial.params}:
        raise InputError(f"a parameter and the objective are both called '{metric}'", hint="rename one")
    shares, without = importances(study, len(complete))
    return Trials(
        study.study_name, metric,
        "lower" if study.direction is optuna.study.StudyDirection.MINIMIZE else "higher",
        tuple(_row(trial, metric) for trial in trials),
        {k: tuple(map(str, d.choices)) for k, d in distributions.items() if isinstance(d, CategoricalDistribution)},
        {k: bool(getattr(d, "log", False)) for k, d in distributions.items() if not isinstance(d, CategoricalDistribution)},
        shares, without,
    )  # fmt: skip


def open_study(storage: str, name: str = "") -> optuna.Study:
    """The study `name` of a storage, or its only one; one objective. Raises InputError."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    shown = hidden(storage)
    try:
        opened = _open(storage)
        names = sorted(optuna.get_all_study_names(opened))
        if not names:
            raise InputError(f"{shown} holds no Optuna study")
        if name and name not in names:
            raise InputError(
                f"{shown} holds no study '{name}'", hint=did_you_mean(name, names) or f"known: {_list(names)}"
            )
        if not name and len(names) > 1:
            raise InputError(
                f"{shown} holds {len(names)} studies: {_list(names)}", hint="choose with --optuna-study NAME"
            )
        study = optuna.load_study(study_name=name or names[0], storage=opened)
        objectives = len(study.directions)
    except (SQLAlchemyError, OptunaError, RuntimeError, ImportError, ValueError, KeyError, OSError) as error:
        reason = hidden(" ".join(str(getattr(error, "orig", None) or error).split())[:160])
        raise InputError(
            f"{shown} cannot be read as an Optuna storage: {reason}", hint="for example sqlite:///study.db"
        ) from error
    if objectives > 1:
        raise InputError(
            f"the study '{study.study_name}' has {objectives} objectives, and a ranking needs one",
            hint="export it with study.trials_dataframe().to_csv('trials.csv', index=False) and rank --table trials.csv "
            "--metric values_0",
        )
    return study


def importances(study: optuna.Study, complete: int) -> tuple[tuple[dict[str, Any], ...], str]:
    """Optuna's importances (PED-ANOVA, 2304.10255, over the whole space), summed over what stands before the dot of
    a parameter's name; and why there are none. Unsigned, without interval: never a verdict."""
    if complete < FEWEST:
        return (), f"no importances: {complete} complete trials, Optuna needs about {FEWEST}"
    evaluator = PedAnovaImportanceEvaluator(
        target_quantile=max(TOP, FEWEST_IN_TOP / complete), evaluate_on_local=False
    )
    try:
        shares = get_param_importances(study, evaluator=evaluator)
    except (ValueError, RuntimeError) as error:
        return (), f"no importances: {' '.join(str(error).split())[:160]}"
    sums: dict[str, float] = {}
    for parameter in sorted(shares):
        sums[trick_of(parameter)] = sums.get(trick_of(parameter), 0.0) + shares[parameter]
    rows: list[dict[str, Any]] = [
        {"parameter": parameter, "trick": trick_of(parameter), "importance": share, "trick_importance": sums[trick_of(parameter)]}
        for parameter, share in shares.items()
    ]  # fmt: skip
    rows.sort(key=lambda row: (-row["trick_importance"], row["trick"], -row["importance"]))
    return tuple(rows), ""


def trick_of(parameter: str) -> str:
    """`mixup` of `mixup.alpha`."""
    return parameter.partition(".")[0] or parameter


def hidden(text: str) -> str:
    """`text` without the password of a URL."""
    return re.sub(r"(://[^/\s:@]*:)[^@\s]*@", r"\1***@", text)


def _open(storage: str) -> BaseStorage:
    """The storage, read-only where it is a file. A file that is missing is told, not made."""
    if "://" not in storage:
        path = Path(storage)
        if not _there(path).read_bytes()[:16].startswith(b"SQLite format 3"):
            return _journal(path)
        storage = f"sqlite:///{path}"
    url = make_url(storage)
    if url.get_backend_name() == "sqlite":
        path = _there(Path(str(url.database or "").removeprefix("file:").partition("?")[0]))
        storage = f"sqlite:///file:{quote(str(path.resolve()))}?mode=ro&uri=true"
    return RDBStorage(storage, skip_table_creation=True)


def _there(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"there is no file {path}", hint="give its path from the folder you are in")
    return path


def _journal(path: Path) -> JournalStorage:
    """A journal file, if its first line is one: opening another file as a journal would hide what is wrong."""
    with path.open("rb") as file:
        first = file.readline(1 << 16)
    try:
        whole = "op_code" in json.loads(first)
    except (ValueError, TypeError):
        whole = False
    if not whole:
        raise InputError(f"{path} is neither an SQLite file nor an Optuna journal")
    return JournalStorage(JournalFileBackend(str(path)))


def _row(trial: FrozenTrial, metric: str) -> dict[str, Any]:
    known = trial.state is TrialState.COMPLETE and trial.value is not None
    return {
        "trial": trial.number,
        "outcome": OUTCOMES[trial.state],
        metric: trial.value if known else float("nan"),
        **{key: "None" if value is None else value for key, value in trial.params.items()},
    }


def _list(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(f"'{name}'" for name in names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")  # fmt: skip
