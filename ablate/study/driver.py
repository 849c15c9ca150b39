"""The stages of a study, in order: lr-find → search → rank → confirm → costs → report. Run a stage again to resume it.

Imports that only one stage needs run when it begins: statistics and plots take seconds to import, while the workers
already train.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ablate.analysis.model_parts import surgery_line
from ablate.lanes.applicable import narrowed, scopes, touched
from ablate.protocol.baseline import Baseline
from ablate.protocol.plan import Budget
from ablate.protocol.run import lr_find
from ablate.protocol.steps import in_a_line
from ablate.records.errors import AblateError, GateFailed, InputError, unknown
from ablate.records.recipe import Recipe
from ablate.search.space import Space, left_out_of, missed
from ablate.study.growth import grow_search
from ablate.study.preflight import BUILT_ON_A_RATE, STAND_IN, check_known, no_best, no_rate
from ablate.study.remaining_time import time_left
from ablate.study.request import Options
from ablate.study.resume import make_folder
from ablate.study.search import search
from ablate.study.session import Planned, Session

T = TypeVar("T")
STAGES = ("lr-find", "search", "rank", "confirm", "costs", "report")


def check_stages(given: Sequence[str]) -> tuple[str, ...]:
    """The stages in their order. Raises InputError for an unknown name."""
    for name in given:
        if name not in STAGES:
            raise unknown("stage", name, STAGES)
    return tuple(stage for stage in STAGES if stage in given)


def run_study(
    session: Session,
    options: Options,
    stages: Sequence[str] = STAGES,
    *,
    force: bool = False,
    lr_find_budget: str = "",
) -> Path | None:
    """Run `stages`; the path of the report, if it is one of them. `lr_find_budget` ("10m", "8runs") bounds the stage lr-find."""
    stages = check_stages(stages)
    folder = options.reports / session.name
    trained = session.ledger.count()

    def report() -> Path:
        from ablate.report.build import build

        make_folder(folder)
        return timed(session, "report", lambda: build(session.ledger.path, folder))

    def report_so_far() -> None:
        if "report" in stages:
            with suppress(AblateError):
                session.progress.say(f"report: {report()}")

    try:
        _train(session, stages, options.command, force=force, lr_find_budget=lr_find_budget)
    except AblateError as error:
        if not isinstance(error, InputError) or session.ledger.count() > trained:
            report_so_far()  # a gate failed, nothing trained, or the user's code failed in the middle of a training
        raise
    except BaseException as error:
        if not isinstance(error, Exception):  # a signal
            session.executor.cancel()
            report_so_far()
        raise
    return report() if "report" in stages else None


def _train(
    session: Session, stages: Sequence[str], command: str, *, force: bool, lr_find_budget: str
) -> None:
    """All stages but the report."""
    scopes_by_trick = scopes(session.context)
    possible = {name: scope.why_not for name, scope in scopes_by_trick.items()}
    session.ledger.put("applicable", possible)
    surgery = {"held": session.context.held.to_json(), "tricks": touched(scopes_by_trick)}
    session.ledger.put("surgery", surgery)
    session.progress.say(surgery_line(surgery))
    if set(stages) & BUILT_ON_A_RATE:
        _say_missed(session, possible)
    session.context = narrowed(session.context, scopes_by_trick)
    if "lr-find" in stages:
        timed(session, "lr-find", lambda: find_rate(session, force=force, budget=lr_find_budget))
    if not {"search", "rank", "confirm", "costs"} & set(stages):
        return
    baseline = baseline_of(session)
    session.ledger.put("baseline", baseline.to_dict())
    space = space_of(session, baseline, possible)
    if "search" in stages:
        grow_search(session, space)
    if line := time_left(session, baseline, space, stages):
        session.progress.say(line)
    if "search" in stages:
        timed(session, "search", lambda: search(session, space))
    if "rank" in stages:
        session.ledger.put("study", {**session.ledger.fact("study", {}), "ranked_by": command})
        from ablate.study.ranking.affordable import affordable
        from ablate.study.ranking.stage import rank

        ranked = around(session, baseline, session.study.rank.around)
        candidates = affordable(session, list(space.settings), baseline, ranked)
        timed(session, "rank", lambda: rank(session, ranked, baseline, candidates))
    if "confirm" in stages:
        from ablate.study.confirm import confirm

        winner = to_confirm(session, baseline)
        timed(session, "confirm", lambda: confirm(session, winner, baseline))
    if "costs" in stages:
        from ablate.study.costs import costs

        selection = session.study.space
        tricks = [
            t.name
            for t in session.context.catalogue.values()
            if not possible[t.name] and selection.includes(t)
        ]
        timed(session, "costs", lambda: costs(session, baseline, tricks))


def _say_missed(session: Session, possible: dict[str, str]) -> None:
    """Name the tricks that the study includes by name and does not search, and the slow ones that it would have to name. `possible`: trick -> why it does not apply, or ""."""
    study, catalogue = session.study, session.context.catalogue
    left_out = left_out_of(catalogue, study, possible, study.baseline_recipe(catalogue, STAND_IN))
    for name, why in missed(study, left_out).items():
        session.progress.say(f"{name} is left out: {why}")


def timed(session: Session, stage: str, call: Callable[[], T]) -> T:
    """Run a stage and add its time to the recorded one."""
    started = time.perf_counter()
    done = False
    try:
        result = call()
        done = True
        return result
    finally:
        seconds = time.perf_counter() - started
        if stage != "report":
            timings = session.ledger.fact("timings", {})
            session.ledger.put("timings", {**timings, stage: timings.get(stage, 0.0) + seconds})
        if done:
            session.progress.finish(stage, seconds)


def find_rate(session: Session, *, force: bool = False, budget: str = "") -> dict[str, Any]:
    """The protocol, if the ledger does not have it yet for this optimizer. Raises GateFailed."""
    document: dict[str, Any] | None = session.ledger.fact("lr-find")
    baseline = Baseline(
        session.study.baseline_recipe(session.context.catalogue, STAND_IN), session.context.catalogue
    )
    found_for = (document or {}).get("optimizer")
    if document is None or not document.get("complete") or found_for != baseline.optimizer.name:

        def train(runs: Sequence[Any], arm: str) -> list[Any]:
            planned = [Planned(run, "lr-find", arm=arm) for run in runs]
            session.progress.stage(f"lr-find, {arm}", sum(run.epochs for run in runs))
            return [entry.result for entry in session.train(planned)]

        document = lr_find(
            session.context, train, baseline=baseline, task=session.context.task.name, seed=session.study.seed,
            force=force, budget=bound_of(budget, session.workers), say=session.progress.say,
        )  # fmt: skip
        session.ledger.put("lr-find", document)
    failed = [step for step in document["steps"] if step["verdict"] == "fail"]
    if failed and not force:
        first = failed[0]
        finding = first["findings"][0] if first["findings"] else {"message": "", "where": "", "advice": ""}
        raise GateFailed(
            f"lr-find step {first['step']} ({first['name']}) failed: {in_a_line(finding['message'], finding['where'])}",
            hint=f"{finding['advice'] or 'look at: ablate lr-find'}; --force goes on in any case",
        )
    return document


def bound_of(budget: str, workers: int = 1) -> Budget:
    """A budget of lr-find in the user's notation ("10m", "8runs"; "": none). Raises InputError."""
    from ablate.study.ranking.budget import runs_of, seconds_in

    seconds = seconds_in(budget)
    if seconds is not None:
        return Budget(seconds=seconds * workers)
    return Budget(runs=runs_of(budget, None, workers))


def baseline_of(session: Session) -> Recipe:
    """The study's baseline, with the learning rate (and weight decay) that lr-find found."""
    document = session.ledger.fact("lr-find") or {}
    study, catalogue = session.study, session.context.catalogue
    rate = document.get("learning_rate")
    if study.needs_lr_find and rate is None:
        raise no_rate(document)
    baseline = study.baseline_recipe(catalogue, rate)
    if not study.needs_lr_find or rate is None:
        return baseline
    return Baseline(baseline, catalogue).at(float(rate), document.get("weight_decay"))


def space_of(session: Session, baseline: Recipe, possible: dict[str, str]) -> Space:
    """The search space around `baseline`. `possible`: trick -> why it does not apply, or ""."""
    document = session.ledger.fact("lr-find") or {}
    return Space.of(
        session.context.catalogue, session.study, possible, baseline, lr_center=document.get("learning_rate")
    )


def around(session: Session, baseline: Recipe, choice: str) -> Recipe:
    """The recipe that `choice` names: "best" of the search, "baseline", or a file's."""
    if choice == "baseline":
        return baseline
    best = (session.ledger.fact("search") or {}).get("best")
    if choice == "best":
        if not best:
            raise no_best()
        check_known(found := Recipe(best["recipe"]), session.context.catalogue)
        return found
    from ablate.study.recipes import read_recipe

    return read_recipe(Path(choice), session.context.catalogue)


def to_confirm(session: Session, baseline: Recipe) -> Recipe:
    """The recipe that is confirmed: the one that [confirm] names, else what was ranked last, else what would be ranked."""
    ranked = (session.ledger.fact("rank") or {}).get("around")
    if ranked and not session.study.confirm.around:
        check_known(recipe := Recipe(ranked), session.context.catalogue)
        return recipe
    return around(session, baseline, session.study.confirm.around or session.study.rank.around)
