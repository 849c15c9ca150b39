"""The search stage: generations of trials by Optuna, trained as lanes; then the best few again on fresh seeds.

The best value of a hundred noisy trials is biased (by about 1.8 standard deviations of one run), so
the five best recipes are trained again on three fresh seeds, and the best mean is chosen. Tricks that the chosen recipe does
not need are taken out of it (`simplify`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np

from ablate.lanes.context import TaskContext
from ablate.lanes.group import grouped
from ablate.lanes.trace import EpochReport
from ablate.ledger.entry import Entry
from ablate.ranking.designs.design import training_seed
from ablate.records.errors import AblateError
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run
from ablate.records.study import StudyFile
from ablate.search.generation_size import GenerationSize, generation_size
from ablate.search.generations import LAG, Suggester, Suggestion
from ablate.search.observations import TrialResult
from ablate.search.pruning import decide
from ablate.search.space import Space
from ablate.study.fresh_seeds import scores_on_fresh_seeds
from ablate.study.growth import first_trials, kept_trials, trials_of
from ablate.study.ranking.budget import search_seconds
from ablate.study.session import Planned, Session
from ablate.study.simplify import simplify

FINALISTS, REPEATS = 5, 3
FINAL = 0x5E1EC7
"""Stream of the finalists' seeds."""
DIVERGED = -1e30
"""Score of a finalist's run without one: a recipe that diverges on a fresh seed is not chosen."""
REMEMBERED = 200
"""Number of finished curves, the latest ones, that a pruner compares with; they are sent with every group."""


@dataclass(frozen=True)
class Prune:
    """Decides which lanes to stop after an epoch. Sent to workers; `finished`: the curves that the sampler may use.

    Lanes are compared with those, with the lanes of their age, and with the group's other runs at that age.
    """

    pruner: str
    metric: str
    finished: tuple[tuple[float, ...], ...]
    epochs: int
    higher: bool

    @property
    def never(self) -> bool:
        """Whether no lane is ever stopped."""
        return self.pruner == "none"

    def with_finished(self, results: Sequence[Result]) -> Prune:
        """This rule with the curves of runs of the group that already have results, which compete as if they were in it."""
        return replace(self, finished=(*self.finished, *(r.curves.get(self.metric, ()) for r in results)))

    def __call__(self, report: EpochReport) -> list[bool]:
        curves = report.curves[self.metric]
        finished = [*self.finished, *report.others.get(self.metric, ())]
        return decide(self.pruner, finished, curves, epochs=self.epochs, higher_is_better=self.higher)


def sizes_of(
    context: TaskContext, trials: int, lanes: int, fact: Mapping[str, Any] | None = None
) -> GenerationSize:
    """The sizes of a search; those of `fact` (the ledger's "search") if it was begun. `lanes`: the most in a group."""
    if fact and "generation" in fact:
        return GenerationSize(fact["generation"], fact["lanes"])
    return generation_size(
        context.kernel,
        context.device.type,
        trials,
        solo=bool(context.solo),
        large=context.probe.large,
        lanes=lanes,
    )


def suggester_of(session: Session, space: Space) -> Suggester:
    """The suggester of the session's search."""
    settings = session.study.search
    fact = session.ledger.fact("search", {})
    sizes = sizes_of(session.context, settings.trials, session.lanes, fact)
    return Suggester(
        space,
        sampler=settings.sampler,
        seed=session.study.seed,
        higher_is_better=session.higher,
        generation=sizes.generation,
        lanes=sizes.lanes,
        first=first_trials(fact, space),
        kept=kept_trials(fact, space),
    )


def likely_groups(
    context: TaskContext, study: StudyFile, space: Space, epochs: int, lanes: int
) -> list[list[Run]]:
    """For a plan: the groups in which the trials of `study` would train if all were random. Uses no sampler."""
    sizes = sizes_of(context, study.search.trials, lanes)
    suggester = Suggester(
        space, sampler="random", seed=study.seed, higher_is_better=True, generation=sizes.generation,
        lanes=sizes.lanes,
    )  # fmt: skip
    groups = []
    for number in range(-(-study.search.trials // sizes.generation)):
        runs = [
            Run(context.task.name, s.recipe, s.number, epochs)
            for s in suggester.generation(number, {})
            if s.number < study.search.trials
        ]
        groups += grouped(runs, context.catalogue, 1 if context.solo else lanes)
    return groups


def search(session: Session, space: Space) -> Recipe:
    """Search, then choose. Returns the recipe that is ranked and confirmed."""
    settings, catalogue = session.study.search, session.context.catalogue
    suggester = suggester_of(session, space)
    groups = 0
    fact = session.ledger.fact("search", {})
    session.ledger.put("search", {**fact, "generation": suggester.size, "lanes": suggester.lanes})
    plans: list[list[Planned]] = []
    results: dict[int, TrialResult] = {}
    curves: deque[tuple[float, ...]] = deque(maxlen=REMEMBERED)
    suggested: dict[int, Suggestion] = {}
    count = trials_of(session)
    until, recorded = _until(session), _recorded(session)
    session.progress.stage("search", count * session.epochs)
    for number in range(-(-count // suggester.size)):
        begun = number * suggester.size
        if number >= LAG and begun >= recorded and time.monotonic() > until:
            count = _stop(session, begun, count)
            break
        if number >= LAG:
            for entry in session.collect(plans[number - LAG]):
                if suggested[entry.trial].params:
                    result = _result(session, suggested[entry.trial], entry)
                    results[entry.trial] = result
                    curves.append(tuple(result.intermediate.values()))
        with session.timing("search"):
            suggestions = suggester.generation(number, results)
        suggested |= {suggestion.number: suggestion for suggestion in suggestions}
        plans.append(
            [
                Planned(session.run(s.recipe, trial_seed(session, s, suggester)), "search", number, s.number)
                for s in suggestions
                if s.number < count
                and not s.recipe.missing(catalogue)  # kept trials of a trick that was taken out
            ]
        )
        groups += len(grouped((one.run for one in plans[-1]), catalogue, session.most))
        session.submit(
            plans[-1],
            prune=Prune(settings.pruner, session.metric, tuple(curves), session.epochs, session.higher),
        )
    trials = [one for plan in plans for one in plan]
    session.collect(trials)
    fact = session.ledger.fact("search", {})
    counts = {"groups": groups, "mean_lanes": len(trials) / max(groups, 1), "done": count}
    session.ledger.put("search", {**fact, **counts})
    best = choose(session, [one for one in trials if suggested[one.trial].params])
    return _simplified(session, best, space.baseline)


def _until(session: Session) -> float:
    """The moment (`time.monotonic`) at which a search in a budget of time begins no further trials: after its share of the study's time."""
    stopped = (session.ledger.fact("search") or {}).get("stopped")
    if stopped and stopped["budget"] == session.study.rank.budget:
        return inf  # it has ended: `trials_of` knows where
    division, timings = session.ledger.fact("budget", {}), session.ledger.fact("timings", {})
    seconds = search_seconds(division) if division.get("rank") == session.study.rank.budget else inf
    return time.monotonic() + seconds - float(timings.get("search", 0.0))


def _recorded(session: Session) -> int:
    """The trials of an interrupted search: they count, however long they took."""
    return 1 + max((entry.trial for entry in session.ledger.entries("search", scores=False)), default=-1)


def _stop(session: Session, begun: int, asked: int) -> int:
    """End the search after the trials that have begun; in the ledger, so that a resumed study has as many."""
    fact = session.ledger.fact("search", {})
    stopped = {"trials": begun, "budget": session.study.rank.budget}
    session.ledger.put("search", {**fact, "stopped": stopped})
    session.progress.say(
        f"search: {begun} of {asked} trials, as runs take longer than planned; the rest of the time is for the ranking"
    )
    return begun


def trial_seed(session: Session, suggestion: Suggestion, suggester: Suggester) -> int:
    """The training seed of a trial. The first is the baseline: a separate seed distinguishes its run from
    those of lr-find, which train the same recipe."""
    if suggestion.number in suggester.kept:
        return suggestion.seed
    if suggestion.number == 0:
        return training_seed(session.study.seed, 0x7A1)
    return suggestion.seed


def _result(session: Session, suggestion: Suggestion, entry: Entry) -> TrialResult:
    """A trial's result for Optuna."""
    result = entry.result
    curve = result.curves.get(session.metric, ())
    return TrialResult(
        result.metrics.get(session.metric), result.outcome, suggestion.params, dict(enumerate(curve, start=1))
    )


@dataclass(frozen=True)
class BestTrial:
    """The trial with the best mean score on fresh seeds."""

    trial: int
    recipe: Recipe
    mean: float


def choose(session: Session, trials: Sequence[Planned]) -> BestTrial:
    """Train the best few again on fresh seeds; the trial with the best mean of those."""
    entries = session.collect(trials)
    scored = [(entry, session.score(entry)) for entry in entries]
    complete = [(e, s) for e, s in scored if e.result.outcome is Outcome.COMPLETE and np.isfinite(s)]
    if not complete:
        raise AblateError(
            f"none of {len(entries)} trials trained to its end",
            hint="look at the outcomes with: ablate report; widen the space or lower the learning rate",
        )
    complete.sort(key=lambda pair: -pair[1])
    finalists: list[Recipe] = []
    for entry, _ in complete:
        if entry.run.recipe not in finalists:
            finalists.append(entry.run.recipe)
        if len(finalists) == FINALISTS:
            break
    arms = {f"finalist {number}": recipe for number, recipe in enumerate(finalists, start=1)}
    scores = scores_on_fresh_seeds(session, arms, FINAL, REPEATS)
    means = np.nan_to_num(scores, nan=DIVERGED).mean(axis=1)
    best = finalists[int(means.argmax())]
    trial = next(e.trial for e, _ in complete if e.run.recipe == best)
    _note(session, entries)
    return BestTrial(trial, best, float(means.max()))


def _note(session: Session, entries: Sequence[Entry]) -> None:
    """Record the outcomes of the trials."""
    fact = session.ledger.fact("search", {})
    outcomes = {
        str(outcome): sum(entry.result.outcome is outcome for entry in entries) for outcome in Outcome
    }
    session.ledger.put("search", {**fact, "outcomes": outcomes})


def _simplified(session: Session, best_trial: BestTrial, baseline: Recipe) -> Recipe:
    """Record the recipe found, without the tricks that it does not need."""
    fact = session.ledger.fact("search", {})
    simple = simplify(session, best_trial.recipe, baseline)
    before = (fact.get("best") or {}).get("recipe")
    if before not in (None, simple.recipe.to_dict()):
        session.progress.say(
            f"search: trial {best_trial.trial} is now the best; ranking and confirmation around another recipe are repeated where they differ"
        )
    value, seeds = (best_trial.mean, REPEATS) if simple.value is None else (simple.value, simple.seeds)
    best = {
        "trial": best_trial.trial, "recipe": simple.recipe.to_dict(), "value": value if session.higher else -value, "seeds": seeds,
    }  # fmt: skip
    if simple.removed:
        best |= {"removed": list(simple.removed), "whole": best_trial.recipe.to_dict()}
        session.progress.say(
            f"search: trial {best_trial.trial} is no worse without {', '.join(simple.removed)} ({simple.seeds} seeds)"
        )
    session.ledger.put("search", {**fact, "best": best})
    return simple.recipe
