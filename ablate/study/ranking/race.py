"""Race the tuned arms against their references on fresh paired seeds, and note a row for each in the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ablate.ranking.verdicts.racing import Race
from ablate.records.designs import TOGGLE
from ablate.study.ranking.budget import LEAN_PAIRS, RUNGS, RankBudget, Spent, fits, pairs_that_show
from ablate.study.ranking.race_rows import finite, rows_of
from ablate.study.ranking.races import TUNED_AFTER, TUNED_TO, Key, Races
from ablate.study.ranking.rounds import Rows
from ablate.study.ranking.tune_arms import note_tuning, tune_undecided
from ablate.study.ranking.tuned import Tuned, TunedStage
from ablate.study.ranking.tuning import FURTHER_ROUNDS, FURTHER_TIMES


def race_arms(
    stage: TunedStage, budget: RankBudget, tuned: dict[str, Tuned], fact: dict[str, Any]
) -> dict[str, Tuned]:
    """Look by look until every arm is decided, the looks are used up, or the budget is; rows go into the fact.

    Returns the arms as they were run: those that tuning kept from a verdict have been tuned further.
    """
    races = Races(stage, budget.racing, tuned)
    tuning = Spent(**fact["tuning_spent"])
    margin: float | None = fact["margin"]
    workers = stage.session.workers
    spent, look, reached, tuned_times = tuning, 0, 0, Counter[str]()
    counted: set[str] = set()

    def has_time(rows: Rows) -> bool:
        """Whether time remains for these runs and the smallest ladder."""
        later = _ladder_runs(stage, budget, standing)
        seconds = races.seconds(rows) + later * spent.seconds / max(spent.runs, 1)
        return fits(budget, spent, len(rows) + later, seconds, workers, decided)

    while True:
        standing = races.standing(margin or 1.0)
        decided = races.decided_share(standing)
        if margin and all(race.needed > TUNED_AFTER for race in standing.values() if race.running):
            names = races.limited_by_tuning(standing, margin)
            times = min((tuned_times[name] for name in names), default=FURTHER_TIMES)
            names = [name for name in names if tuned_times[name] == times < FURTHER_TIMES]
            each = FURTHER_ROUNDS * budget.tuning.finalists * budget.tuning.repeats
            while names and not has_time(
                [(name, tuned[name].recipe, 0) for name in names for _ in range(each + TUNED_AFTER)]
            ):
                names.pop()
            if names and each:
                tuned, more = tune_undecided(
                    stage, budget.tuning, tuned, names, margin, TUNED_TO, times, counted
                )
                tuning, spent = tuning + more, spent + more
                reached = max(len(race.history) for race in standing.values())
                tuned_times.update(names)
                races.run(tuned)
                continue
        new = races.wanted(standing)
        behind = any(race.needed and race.look < max(reached, 1) for race in standing.values())
        if not new:
            break
        if not behind and not has_time(new):
            if margin and races.keep_nearest_to_verdict(margin, has_time):
                continue
            break
        look += 1
        entries = stage.train(new, "rank", f"rank, look {look}")
        spent += Spent.of(entries, counted)
        races.entries |= {(name, seed): entry for (name, _, seed), entry in zip(new, entries, strict=True)}
        if margin is None:
            margin = fact["margin"] = races.margin()
    assert margin is not None
    if tuned_times:
        note_tuning(tuned, fact)
    fact["rows"] = [row for key, race in standing.items() for row in rows_of(races, key, race, margin)]
    fact["races"] = [
        {
            "estimand": estimand,
            "scored": "at the end" if final else "mean of the last evaluations",
            "family": len(races.members[estimand, final]),
            "sigma": race.comparison.sigma if race.comparison else None,
            "beta": race.comparison.beta if race.comparison else None,
            "prior_df": finite(race.comparison.prior.df) if race.comparison else None,
            "reference_runs": race.comparison.reference_runs if race.comparison else 0,
            "looks": len(race.history),
            "undecided": list(race.undecided),
        }
        for (estimand, final), race in standing.items()
    ]
    fact["spent"] = {"tuning": tuning.runs, "race": spent.runs - tuning.runs}
    stage.session.ledger.put("rank", fact)
    return tuned


def _ladder_runs(stage: TunedStage, budget: RankBudget, standing: Mapping[Key, Race]) -> int:
    """Runs of the smallest ladder to the recipe found, or to the baseline with what has been found to help it."""
    if TOGGLE in stage.estimands:
        return budget.ladder_runs(pairs=LEAN_PAIRS[0])
    helpful = [
        row for race in standing.values() for row in race.rows.values() if row.verdict.startswith("helps")
    ]
    if not helpful:
        return 0
    best = max(helpful, key=lambda row: row.effect)
    return budget.ladder_runs(
        min(len(helpful), RUNGS), pairs_that_show(best.effect, best.se, best.tuning_se, best.pairs)
    )
