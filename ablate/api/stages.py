"""Run stages of a study: open it, train with progress shown, and return the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Thread

from ablate.api.notebook import NotebookProgress, in_notebook
from ablate.api.progress import ProgressDisplay
from ablate.api.result import Study, TimeSpent
from ablate.catalogue.own_tricks import OwnTricks, own_tricks, using_tricks
from ablate.ledger.store import Ledger
from ablate.records.errors import InputError
from ablate.records.names import check_name
from ablate.records.study import StudyFile
from ablate.study.driver import STAGES, bound_of, check_stages, run_study
from ablate.study.preflight import check_ready, context_of
from ablate.study.request import Opened, Options, find
from ablate.study.resume import facts_so_far, session_of
from ablate.tasks.metric_table import unit_of

STARTING = 10.0
"""Seconds over a budget that are not told: workers start, pictures are drawn."""
PYTHON = "python:"
"""Prefix of the ledger's record of a task that was an object."""
Change = Callable[[StudyFile], StudyFile]


def open_study(given: str, options: Options, *changes: Change) -> Opened:
    """The study that `given` names, under `options.name` if there is one, after `changes`. Raises InputError."""
    check_not_from_python(given, options)
    opened = find(given, options)
    if options.name:
        opened = replace(opened, name=check_name(options.name), named=options.name)
    return changed(with_tricks(opened, options.tricks), *changes)


def check_not_from_python(given: str, options: Options) -> None:
    """Raise InputError for the name of a study whose task was an object: no command can load it."""
    path = options.studies / f"{given}.db"
    if "/" in given or not path.is_file():
        return
    task = (Ledger.facts_of(path).get("study") or {}).get("task", "")
    if task.startswith(PYTHON):
        raise InputError(
            f"the task of '{given}' is an object of the Python program that studied it",
            hint=f"call the same function there again; results: ablate report {given}",
        )


def changed(opened: Opened, *changes: Change) -> Opened:
    """`opened` with `changes` made to its study file. The user's text is kept if nothing differs."""
    study = opened.study
    with using_tricks(opened.tricks):
        for change in changes:
            study = change(study)
    return opened if study == opened.study else replace(opened, study=study, text=study.to_toml())


def with_tricks(opened: Opened, references: Sequence[str]) -> Opened:
    """`opened` with further tricks of the user: paths and dotted paths, as in a study file. Raises InputError."""
    if not references:
        return opened
    names = tuple(dict.fromkeys((*opened.study.tricks, *references)))
    added = own_tricks(references)
    files = dict.fromkeys((*opened.tricks.files, *added.files))
    optimizers = dict.fromkeys((*opened.tricks.optimizers, *added.optimizers))
    opened = changed(opened, lambda study: replace(study, tricks=names))
    return replace(opened, tricks=OwnTricks(tuple(files), tuple(optimizers)))


def run_stages(
    opened: Opened,
    options: Options,
    stages: Sequence[str] = (),
    *,
    budget: str = "",
    lr_find_budget: str = "",
    force: bool = False,
    quiet: bool = False,
) -> Study:
    """Run `stages` of a study (by default all) and collect the results.

    `budget`: of the whole study; the rank stage gets what the other stages leave. `lr_find_budget`: of the stage
    lr-find, by default a tenth of a `budget` that is a time. `force`: go on where a step
    of lr-find fails. `quiet`: no progress. Raises InputError before anything is written, AblateError for a failed stage.
    """
    bound_of(lr_find_budget)
    with using_tricks(opened.tricks):
        return _run_stages(
            opened, options, check_stages(stages or STAGES), budget, lr_find_budget, force=force, quiet=quiet
        )


def _run_stages(
    opened: Opened,
    options: Options,
    chosen: tuple[str, ...],
    budget: str,
    lr_find_budget: str,
    *,
    force: bool,
    quiet: bool,
) -> Study:
    division, looked_at, begun = None, None, time.perf_counter()
    if budget and {"lr-find", "search", "rank", "confirm"} & set(chosen):
        from ablate.api.design import check_options
        from ablate.study.budget import SHORTEST, divided, lr_find_budget_of
        from ablate.study.ranking.budget import seconds_in

        check_options(opened.study.rank.design, budget, {})
        looked_at = context_of(opened, options)
        if (seconds_in(budget) or 0.0) >= SHORTEST:
            with shown_for(opened, quiet=quiet) as progress:
                progress.say("measuring how long a run takes with each trick, to divide the budget")
        division = divided(budget, opened, options, chosen, looked_at, begun)
        lr_find_budget = lr_find_budget or lr_find_budget_of(budget)
        opened, chosen = changed(opened, division.applied), division.stages(chosen)
    context = check_ready(opened, options, chosen, looked_at)
    with (
        shown_for(opened, quiet=quiet) as progress,
        session_of(opened, options, progress, context) as session,
    ):
        started = time.perf_counter()
        if division is not None:
            session.ledger.put("budget", division.to_json())
            for line in division.words.splitlines():
                progress.say(line)
        session.overlap = Thread(target=import_report if "report" in chosen else import_statistics).start
        page = run_study(session, options, chosen, force=force, lr_find_budget=lr_find_budget)
        wall = time.perf_counter() - started
        if line := over_budget(budget, time.perf_counter() - begun):
            progress.say(line)
        spent = TimeSpent(dict(session.spent), wall, session.workers) if options.profile else None
        from ablate.report.collect import collect

        data = collect(session.ledger)
    return Study(opened.name, chosen, data, page, spent, opened, options)


def over_budget(budget: str, seconds: float) -> str:
    """The line about a study that took longer than its budget allows; "" for one that did not, and for a budget of runs."""
    from ablate.study.ranking.budget import OVER, seconds_in
    from ablate.study.remaining_time import minutes

    allowed = seconds_in(budget)
    if allowed is None or seconds <= OVER * allowed + STARTING:
        return ""
    return (
        f"the study took {minutes(seconds)}, more than its budget of {budget}: runs took longer than those that were timed before, "
        "as they do where other programs use the machine, or the smallest ranking takes as long"
    )


def run_ranking(opened: Opened, options: Options, *, force: bool = False, quiet: bool = False) -> Study:
    """Rank, and report. The learning rate is found first where the study leaves it to lr-find and the ledger has none, within a tenth of a budget that is a
    time. Otherwise as `run_stages`."""
    from ablate.study.budget import lr_find_budget_of

    found = (facts_so_far(options.studies / f"{opened.name}.db").get("lr-find") or {}).get("learning_rate")
    before = ["lr-find"] if opened.study.needs_lr_find and found is None else []
    bound = lr_find_budget_of(opened.study.rank.budget)
    stages = [*before, "rank", "report"]
    return run_stages(opened, options, stages, lr_find_budget=bound, force=force, quiet=quiet)


def shown_for(opened: Opened, *, quiet: bool) -> ProgressDisplay:
    """The progress of a study: a bar on a terminal and in a notebook, plain lines elsewhere."""
    kind = NotebookProgress if in_notebook() else ProgressDisplay
    metric = opened.study.metric or opened.task.metric
    higher = opened.task.metric_info(metric).direction == "higher"
    return kind(metric, higher=higher, quiet=quiet, unit=unit_of(metric, opened.task.target_deviation))


def import_report() -> None:
    """Import what writes the report as well (matplotlib, seaborn), which takes two seconds more."""
    import_statistics()
    import ablate.report.build  # noqa: F401


def import_statistics() -> None:
    """Import what only the end of a command needs, which takes a second (pandas, SciPy's statistics)."""
    import ablate.report.collect
    import ablate.report.verdict  # noqa: F401
