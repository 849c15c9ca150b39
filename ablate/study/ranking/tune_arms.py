"""The tuning of the stage's arms: before the race, again where time allows more, and further where it keeps arms from a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ablate.ledger.entry import Entry
from ablate.ranking.estimands import reference_of
from ablate.study.ranking import tuning
from ablate.study.ranking.budget import RankBudget, Spent, seconds_of
from ablate.study.ranking.divide import after_first_tuning
from ablate.study.ranking.rounds import Rows
from ablate.study.ranking.scores import floor_of
from ablate.study.ranking.tuned import TUNE, Tuned, TunedStage
from ablate.study.ranking.tuning_points import TuningBudget, at_edge, chosen_of, to_json

TUNING, PLACEBO_TUNING = 0x70E, 0x71A
"""Keys that keep tuning seeds apart from those of the stage's other parts."""


def tune_arms(stage: TunedStage, budget: RankBudget, fact: dict[str, Any]) -> dict[str, Tuned]:
    """Every arm with the recipe that tuning chose; the fact's "tuning" tells what was tried."""
    references = {arm.name: reference_of(arm.estimand) for arm in stage.every}
    points = tuning.tune(
        stage.every, references, stage.catalogue, budget.tuning, _seeds(stage, budget.tuning),
        stage.tuning_scores, fact["asked"]["margin"], stage.submit_tuning, stage.equal_runs,
    )  # fmt: skip
    chosen = {name: chosen_of(own) for name, own in points.items()}
    tuned = {arm.name: Tuned(arm, chosen[arm.name].recipe, points[arm.name]) for arm in stage.every}
    reference_scores = [chosen[name].middle for name in set(references.values())]
    collapsed = stage.collapsed if stage.collapsed is None or stage.session.higher else -stage.collapsed
    stage.floor = floor_of(min(reference_scores), collapsed)
    note_tuning(tuned, fact)
    stage.session.ledger.put("rank", fact)
    return tuned


def tune_undecided(
    stage: TunedStage,
    budget: TuningBudget,
    tuned: Mapping[str, Tuned],
    names: Sequence[str],
    margin: float,
    share: float,
    times: int,
    counted: set[str],
) -> tuple[dict[str, Tuned], Spent]:
    """The arms, those in `names` tuned further until they lose no more than `share` margins; and what that took. `times`: how often they
    have been before; `counted`: as in `Spent.of`."""
    entries: list[Entry] = []

    def scores(rows: Rows) -> list[float]:
        return stage.tuning_scores(rows, entries)

    points = tuning.continue_tuning(
        [tuned[name].arm for name in names],
        {name: tuned[reference_of(tuned[name].arm.estimand)].arm for name in names},
        {name: one.points for name, one in tuned.items()},
        stage.catalogue, budget, _seeds(stage, budget), scores, margin, share, times, stage.submit_tuning,
    )  # fmt: skip
    longer = {name: Tuned(tuned[name].arm, chosen_of(own).recipe, own) for name, own in points.items()}
    return {**tuned, **longer}, Spent.of(entries, counted)


def note_tuning(tuned: Mapping[str, Tuned], fact: dict[str, Any]) -> None:
    """Put what was tried into the fact, which is then written to the ledger."""
    fact["tuning"] = {name: to_json(one.points) for name, one in tuned.items()}
    fact["edges"] = [name for name, one in tuned.items() if at_edge(one.points, chosen_of(one.points))]


def _seeds(stage: TunedStage, budget: TuningBudget) -> dict[str, list[int]]:
    """Arm -> its tuning seeds: common ones, a placebo's its own."""
    number = tuning.seeds_of(budget)
    common = stage.first_seeds(number, TUNING)
    return {
        arm.name: stage.first_seeds(number, PLACEBO_TUNING, place) if arm.is_placebo else common
        for place, arm in enumerate(stage.every)
    }


def enlarge_tuning(
    stage: TunedStage, budget: RankBudget, tuned: dict[str, Tuned], fact: dict[str, Any]
) -> tuple[RankBudget, dict[str, Tuned]]:
    """More tuning where the first tuning runs took less time than was estimated; decided once, and told in the ledger."""
    if not {"tuning_first", "tuning_spent"} & fact.keys():
        seconds = seconds_of(stage.session.ledger.entries(TUNE, scores=False))
        arms, workers = len(stage.every), stage.session.workers
        fact["tuning_first"] = budget.tuning.to_json()
        budget = after_first_tuning(budget, arms, seconds, workers, references=len(stage.estimands))
        fact["budget"] = budget.to_json()
        stage.session.ledger.put("rank", fact)
        if budget.tuning.to_json() != fact["tuning_first"]:
            stage.session.progress.say(f"rank: time allows {budget.tuning.runs} tuning runs each")
            tuned = tune_arms(stage, budget, fact)
    return budget, tuned
