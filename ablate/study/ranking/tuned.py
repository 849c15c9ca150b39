"""The default rank stage: tuned arms, paired seeds, racing.

Every applicable trick is added to the baseline, and added to or removed from the recipe found. Each arm is tuned at equal
budget, then raced against its reference on fresh paired seeds, look by look, until it is decided. What is declared (arms,
seeds, looks, levels, budget) is in the ledger before the first run; the rest follows from the runs, so that the stage
is resumed by running it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count, islice
from math import ceil, isclose, isfinite, isnan
from typing import Any

from ablate.ledger.entry import Entry
from ablate.protocol.cells import LOSS
from ablate.ranking.designs.design import training_seed
from ablate.ranking.designs.racing import Racing
from ablate.records.designs import ADD_ONE, TOGGLE, TUNED, TunedEstimand
from ablate.records.recipe import Recipe
from ablate.records.run import RESPLIT, Outcome
from ablate.study.budget import seconds_left
from ablate.study.ranking.arms import Arm, Arms, arms_of, estimands_of, settings_of_best_trials
from ablate.study.ranking.budget import RankBudget, Spent, seconds_in, seconds_of, wall_seconds
from ablate.study.ranking.divide import after_tuning, auto_seconds, divide
from ablate.study.ranking.estimates import (
    LEAST_RUNS,
    LEVELS,
    MOST_RUNS,
    expected,
    likely_parts,
    runs_for_trials,
    runs_that_tune,
)
from ablate.study.ranking.rounds import Rows
from ablate.study.ranking.scores import is_scored_apart, score_of
from ablate.study.ranking.tuning_points import Point
from ablate.study.remaining_time import minutes
from ablate.study.session import Planned, Session
from ablate.study.stopwatch import seconds_per_run
from ablate.tasks.chance_level import chance_level

TIMED, TIMED_LANES = 24, 24
"""Arms that are timed before the budget is divided, at most, and their lanes: to build a group takes longer than its steps."""
TUNE = "tune"
"""The stage of tuning runs in the ledger."""
ADD_ONE_ONLY = "ranked on the baseline alone, for lack of time"
LEAST_BEST = 4
"""The best 1 / LEAST_BEST of the search's trials say what settings of a trick the search liked."""


ROUNDING = 1e-4
"""Relative difference of the losses of two runs that compute the same, in another order."""


@dataclass(frozen=True)
class Tuned:
    """An arm with the recipe that tuning chose, and all points that were tried."""

    arm: Arm
    recipe: Recipe
    points: Sequence[Point]


class TunedStage:
    """The state that the parts of the stage share."""

    def __init__(self, session: Session, winner: Recipe, baseline: Recipe, candidates: Iterable[str]) -> None:
        self.session, self.winner, self.baseline = session, winner, baseline
        self.catalogue, candidates = session.context.catalogue, list(candidates)
        task = session.context.task
        self.collapsed = chance_level(task, session.metric)
        self.floor = float("-inf")
        self.losses: dict[tuple[Recipe, int], float | None] = {}
        self.resplit = RESPLIT if task.random_split else 0
        self.estimands = estimands_of(winner, baseline)
        liked = settings_of_best_trials(self._best_recipes())
        self.add_one_only = frozenset(session.ledger.fact("budget", {}).get("add_one_only", ()))
        self.arms: dict[TunedEstimand, Arms] = {
            estimand: arms_of(
                estimand,
                baseline if estimand == ADD_ONE else winner,
                candidates if estimand == ADD_ONE else [n for n in candidates if n not in self.add_one_only],
                self.catalogue,
                liked,
                most=3,
                baseline=baseline,
            )
            for estimand in self.estimands
        }

    @property
    def every(self) -> list[Arm]:
        """All arms."""
        return [arm for arms in self.arms.values() for arm in arms.arms]

    def seeds(self, *key: int) -> Iterable[int]:
        """An endless sequence of seeds for each `key`."""
        return (training_seed(self.session.study.seed, *key, i) | self.resplit for i in count())

    def first_seeds(self, number: int, *key: int) -> list[int]:
        """The first `number` seeds of a stream."""
        return list(islice(self.seeds(*key), number))

    def train(self, rows: Rows, stage: str, title: str) -> list[Entry]:
        """The entries of these runs, in order."""
        self.submit(rows, stage, title)
        return self.session.collect(self._plan(rows, stage))

    def submit(self, rows: Rows, stage: str, title: str) -> None:
        """Start those runs that are neither finished nor started."""
        plan = self._plan(rows, stage)
        if new := self.session.missing(plan):
            self.session.progress.stage(title, len(new) * self.session.epochs)
            self.session.submit(plan)

    def _plan(self, rows: Rows, stage: str) -> list[Planned]:
        return [Planned(self.session.run(recipe, seed), stage, arm=arm) for arm, recipe, seed in rows]

    def score(self, entry: Entry, *, final: bool) -> float:
        """More is better; at least `floor`, which is known once the references are tuned."""
        session = self.session
        score = score_of(entry, session.metric, higher=session.higher, final=final, collapsed=self.collapsed)
        return max(score, self.floor) if score == score else score

    def is_final(self, *recipes: Recipe) -> bool:
        """Whether runs of these recipes are compared by what is scored at their end."""
        return any(is_scored_apart(recipe, self.catalogue) for recipe in recipes)

    def submit_tuning(self, rows: Rows) -> None:
        """Start tuning runs."""
        self.submit(rows, TUNE, "rank, tuning")

    def tuning_scores(self, rows: Rows, trained: list[Entry] | None = None) -> list[float]:
        """Scores of tuning runs, whose entries are added to `trained`; a run without any metric counts as worse than all others."""
        entries = self.train(rows, TUNE, "rank, tuning")
        if trained is not None:
            trained += entries
        self.losses |= {
            (entry.run.recipe, entry.run.seed): entry.result.metrics.get(LOSS) for entry in entries
        }
        scores = [self.score(entry, final=self.is_final(entry.run.recipe)) for entry in entries]
        worst = min((score for score in scores if isfinite(score)), default=0.0)
        return [score if isfinite(score) else worst - 1.0 for score in scores]

    def equal_runs(self, recipe: Recipe, other: Recipe, seed: int) -> bool:
        """Whether tuning runs of two recipes ended with the same validation loss but for rounding, if it is measured."""
        one, its = self.losses[recipe, seed], self.losses[other, seed]
        return (
            one is None or its is None or isclose(one, its, rel_tol=ROUNDING) or (isnan(one) and isnan(its))
        )

    def seconds_per_run(self) -> float:
        """Mean seconds that a run of the stage takes a worker, from a few timed steps of some of its arms."""
        session = self.session
        recipes = list(dict.fromkeys(arm.recipes[0] for arm in self.every))
        sample = recipes[:: -(-len(recipes) // TIMED)]
        return seconds_per_run(session.context, sample, min(session.most, TIMED_LANES), session.epochs)

    def _best_recipes(self) -> list[Recipe]:
        score = self.session.score
        trials = [entry for entry in self.session.ledger.entries(scores=False) if entry.trial >= 0]
        trials = [e for e in trials if e.result.outcome is Outcome.COMPLETE and isfinite(score(e))]
        trials.sort(key=lambda entry: (-score(entry), entry.trial))
        return [entry.run.recipe for entry in trials[: -(-len(trials) // LEAST_BEST)]]


def design_line(budget: RankBudget, arms: int, references: int, workers: int, *, margin: bool) -> str:
    """The design in one line, before its first run. `margin`: whether one is given."""
    where = f"budget {budget.asked}" if budget.asked else "budget chosen"
    if budget.seconds is None:
        limit = f"at most {budget.runs} runs"
        if not budget.asked:
            limit += ", as the search is small; --budget 10m allows others"
    elif budget.asked:
        where, limit = "budget", f"about {budget.seconds:.0f} s"
    else:
        runs = sum(likely_parts(budget, arms, references, margin=margin).values())
        seconds = wall_seconds(runs * (budget.seconds_per_run or 0.0), runs, workers)
        longest = max(budget.longest or 0.0, seconds)
        shortest, likely = minutes(LEAST_RUNS * seconds), minutes(min(MOST_RUNS * seconds, longest))
        limit = f"about {minutes(seconds)}, {shortest} to {likely}; up to {minutes(longest)} until nine tricks in ten are decided"
    first, most = budget.tuning.first, budget.tuning.runs
    tuning = f"{first} to {most} tuning runs" if first < most else f"{most} tuning run{'s' * (most > 1)}"
    return f"rank: {arms} arms, {tuning} each, then up to {budget.racing.pairs[-1]} paired seeds ({where}: {limit})"


def declare(stage: TunedStage) -> dict[str, Any]:
    """What is fixed before the first run. A declaration that the ledger has stays, where the same is asked for."""
    session = stage.session
    asked = session.study.rank
    question = {
        "design": TUNED,
        "around": stage.winner.to_dict(),
        "baseline": stage.baseline.to_dict(),
        "arms": [arm.name for arm in stage.every],
        "recipes": [[recipe.to_dict() for recipe in arm.recipes] for arm in stage.every],
        "margin": asked.margin,
        "budget": asked.budget,
        "metric": session.metric,
    }
    trials = session.study.search.trials
    if not asked.budget and (most := runs_for_trials(trials, len(stage.every), len(stage.estimands))):
        question["runs_at_most"] = most
    fact: dict[str, Any] = session.ledger.fact("rank") or {}
    if fact.get("asked") == question:
        return fact
    if fact:
        session.progress.say(
            "rank: another ranking is asked for than the ledger has; this one takes its place in the report, and the runs of both are kept"
        )
    timings = session.ledger.fact("timings", {})
    division = session.ledger.fact("budget", {})
    left = seconds_left(division, timings) if division.get("rank") == asked.budget else None
    in_runs = bool(asked.budget) and seconds_in(asked.budget) is None
    each = None if in_runs else stage.seconds_per_run()
    if left is not None and each is not None:  # where the stages before took too long, the study does
        least = RankBudget(LEVELS[-1][0], Racing.up_to(LEVELS[-1][1]), 0)
        runs = expected(least, len(stage.every), len(stage.estimands))
        left = max(left, wall_seconds(runs * each, runs, session.workers))
    budget = divide(
        asked.budget if left is None else f"{left:.2f}s",
        len(stage.every),
        each,
        session.workers,
        references=len(stage.estimands),
        seconds=auto_seconds(timings),
        trials=trials,
    )
    fitted = division.get("fit") or {}
    late = dict.fromkeys(division.get("late", ()), "not ranked: the stages before took longer than planned")
    fact = {
        "kind": TUNED,
        "fit": {"asked": division["asked"], **fitted} if fitted else {},
        "late": {"asked": division["asked"], "tricks": list(late)} if late else {},
        "asked": question,
        "around": stage.winner.to_dict(),
        "baseline": stage.baseline.to_dict(),
        "metric": session.metric,
        "margin": asked.margin,
        "margin_source": "auto" if asked.margin is None else "study file",
        "budget": budget.to_json(),
        "resplit": bool(stage.resplit),
        "left_out": {
            estimand: dict(arms.left_out)
            | dict(fitted.get("left_out", {}))
            | late
            | (dict.fromkeys(sorted(stage.add_one_only), ADD_ONE_ONLY) if estimand == TOGGLE else {})
            for estimand, arms in stage.arms.items()
        },
        "complete": False,
    }
    if not budget.tuning.rounds:
        fact["tuned_from"] = _tuned_from(stage, budget, division)
    session.ledger.put("rank", fact)
    return fact


def _tuned_from(stage: TunedStage, budget: RankBudget, division: Mapping[str, Any]) -> dict[str, Any]:
    """What the smallest ranking that tunes its arms would take: `runs`; `seconds`, None where the budget is no time; `others`: seconds of the study's other
    stages; `had`: seconds that the ranking has."""
    runs = ceil(runs_that_tune(len(stage.every), len(stage.estimands)))
    if budget.seconds is None or budget.seconds_per_run is None:
        return {"runs": runs, "seconds": None}
    asked = stage.session.study.rank.budget
    whole = seconds_in(division.get("asked", "")) if division.get("rank") == asked else None
    return {
        "runs": runs,
        "seconds": wall_seconds(runs * budget.seconds_per_run, runs, stage.session.workers),
        "others": max((whole or budget.seconds) - budget.seconds, 0.0),
        "had": budget.seconds,
    }


def declare_race(stage: TunedStage, budget: RankBudget, fact: dict[str, Any]) -> RankBudget:
    """Fix the looks of the race before its first run, by what the tuning runs took. A declaration in the ledger stays."""
    if "tuning_spent" not in fact:
        entries = stage.session.ledger.entries(TUNE, scores=False)
        budget = after_tuning(
            budget,
            len(stage.every),
            seconds_of(entries),
            stage.session.workers,
            references=len(stage.estimands),
        )
        if budget.racing.pairs[-1] != fact["budget"]["racing"]["pairs"][-1]:
            stage.session.progress.say(f"rank: time is left for up to {budget.racing.pairs[-1]} paired seeds")
        fact |= {"budget": budget.to_json(), "tuning_spent": asdict(Spent.of(entries))}
        stage.session.ledger.put("rank", fact)
    return budget
