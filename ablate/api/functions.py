"""The functions of `import ablate`: `study`, `lr_find`, `rank`, `confirm`, `compare`, `train`, `load_study`.

Each takes objects where the command line takes paths, returns an object, shows progress on standard error and resumes by being
called again. Bad input raises `ablate.InputError`, one line that says what to do; failures in training raise `ablate.AblateError`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from ablate.api.arguments import checked
from ablate.api.open_task import opened_for
from ablate.api.result import Study
from ablate.api.settings import StudySettings
from ablate.api.stages import run_ranking, run_stages
from ablate.records.arguments import known_arguments
from ablate.records.errors import InputError
from ablate.records.names import check_name
from ablate.records.study import StudyFile
from ablate.study.request import Options


@checked
def study(
    task: Any = None,
    *,
    model: Callable[[], Any] | None = None,
    data: Any = None,
    criterion: str = "",
    trials: int | None = None,
    budget: str = "",
    stages: str | Sequence[str] = (),
    force: bool = False,
    resume_from: str | os.PathLike[str] | Study = "",
    **settings: Unpack[StudySettings],
) -> Study:
    """Find a learning rate, search, rank every trick, confirm, report. Call it again to resume.

        study = ablate.study(model=MyNet, data=(x, y), trials=100, budget="10m")
        study.ranking, study.recommended, study.report()

    task: a name ("digits"), a path as on the command line ("my_task.py:task", "data.csv:target", "study.toml") or an
        `ablate.Task`. Or `model`, a function that makes a fresh module, and `data`: a pair (x, y) or a Dataset for
        training, or a dictionary of those by split (train, validation, test).
    criterion: "classification" or "regression"; by default from the type of the targets.
    budget: of the whole study, "90s", "10m" or "2h"; "2000runs" limits the ranking alone. stages: of lr-find, search, rank, confirm,
        costs, report; all if empty.
    force: continue if a step of lr-find fails. resume_from: another study, whose best recipes a new search tries first: its name,
        the path of its ledger, or the object that this function returned. settings: see `StudySettings`.

    A task that is an object is sent to worker processes by value (cloudpickle); one that cannot be pickled is trained in this process,
    and a line says so.
    """
    opened, options = opened_for(task, settings, model, data, criterion, trials=trials)
    other = resume_from.name if isinstance(resume_from, Study) else resume_from
    if not isinstance(other, str | os.PathLike):
        raise InputError(
            f"resume_from cannot be {other!r}",
            hint="give a study's name, the path of its ledger, or the Study",
        )
    options = replace(options, resume_from=os.fspath(other))
    if isinstance(stages, str):
        stages = [stage.strip() for stage in stages.split(",") if stage.strip()]
    return run_stages(
        opened, options, stages, budget=budget, force=force, quiet=bool(settings.get("quiet", False))
    )


@checked
def rank(
    task: Any = None,
    *,
    model: Callable[[], Any] | None = None,
    data: Any = None,
    criterion: str = "",
    around: Any = "",
    design: str = "",
    budget: str = "",
    margin: float | None = None,
    force: bool = False,
    **settings: Unpack[StudySettings],
) -> Study:
    """Give each trick a signed effect, an interval and a verdict, from runs that are designed for it.

    task, model, data, criterion: as for `study`; or the `Study` that found the learning rate (and the recipe). around: "best", "baseline", or
    the path of a recipe. design, budget, margin: as on the command line. force: continue if a step of lr-find fails, which
    is run first where no learning rate is known.
    """
    from ablate.api.design import check_options, checked_design

    def change(file: StudyFile) -> StudyFile:
        asked = file.rank
        kind = checked_design(design) or asked.design
        check_options(kind, budget, {})
        limit = asked.margin if margin is None else margin
        return replace(
            file,
            rank=replace(
                asked, around=str(around) or asked.around, design=kind, margin=limit,
                budget=budget.strip() or asked.budget,
            ),
        )  # fmt: skip

    opened, options = opened_for(task, settings, model, data, criterion, change=change)
    return run_ranking(opened, options, force=force, quiet=bool(settings.get("quiet", False)))


@checked
def confirm(
    task: Any = None, *, seeds: int | None = None, around: Any = "", **settings: Unpack[StudySettings]
) -> Study:
    """Train winner and baseline on fresh paired seeds and score them on the test split, which nothing else uses.

    around: the winner: "best", "baseline", or the path of a recipe; by default what was ranked last.
    """

    def change(file: StudyFile) -> StudyFile:
        section = file.confirm
        return replace(
            file, confirm=replace(section, seeds=seeds or section.seeds, around=str(around) or section.around)
        )

    opened, options = opened_for(task, settings, change=change)
    return run_stages(opened, options, ["confirm", "report"], quiet=bool(settings.get("quiet", False)))


@known_arguments()
def load_study(name: str, *, studies: str | Path = "studies", out: str | Path = "reports") -> Study:
    """The results of a study from its ledger, `studies/NAME.db` (or the path of a ledger). Trains nothing. Raises InputError."""
    from ablate.ledger.store import Ledger
    from ablate.report.collect import collect

    path = Path(name) if name.endswith(".db") else Path(studies) / f"{check_name(name)}.db"
    with Ledger.open(path, write=False) as ledger:
        data = collect(ledger)
    page = Path(out) / path.stem / "index.html"
    options = Options(studies=path.parent, reports=Path(out))
    return Study(path.stem, (), data, page if page.is_file() else None, options=options)
