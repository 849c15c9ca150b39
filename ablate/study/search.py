"""The search stage: generations of trials by Optuna, trained as lanes; then the best few once more.

The best of a hundred noisy trials is too good to be true (by about 1.8 standard deviations of one run), so
the five best recipes are trained again on three fresh seeds, and the best mean is the one that goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ablate.ledger.entry import Entry
from ablate.ranking.design import training_seed
from ablate.records.errors import AblateError
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome
from ablate.search.generations import Suggester, TrialResult
from ablate.search.pruning import pruner_of
from ablate.search.space import Space
from ablate.study.session import Planned, Session

GENERATION = 20
FINALISTS, REPEATS = 5, 3


def search(session: Session, space: Space) -> Recipe:
    """Search, then choose. Returns the recipe that ranking and confirmation stand on."""
    asked = session.study.search
    suggester = Suggester(
        space, sampler=asked.sampler, seed=session.study.seed, generation=GENERATION, lanes=session.lanes
    )
    generations = -(-asked.trials // GENERATION)
    plans: list[list[Planned]] = []
    session.progress.stage("search", asked.trials * session.epochs)
    for number in range(generations):
        if number >= 2:
            session.collect(plans[number - 2])
        finished = _results(session, plans[: max(0, number - 1)])
        suggestions = suggester.generation(number, finished)
        plan = [
            Planned(session.run(s.recipe, session.study.seed + s.number), "search", number, s.number)
            for s in suggestions
            if s.number < asked.trials
        ]
        plans.append(plan)
        session.submit(plan, prune=pruner_of(asked.pruner, session.metric, session.higher, finished))
    for plan in plans:
        session.collect(plan)
    return choose(session, [one for plan in plans for one in plan])


def _results(session: Session, plans: Sequence[Sequence[Planned]]) -> dict[int, TrialResult]:
    """What is known of the trials of `plans`, all of which are finished."""
    found = {}
    for plan in plans:
        for one, entry in zip(plan, session.collect(plan), strict=True):
            found[one.trial] = TrialResult.of(entry.run.recipe, entry.result, session.metric)
    return found


def choose(session: Session, trials: Sequence[Planned]) -> Recipe:
    """Train the best few again on fresh seeds; the recipe with the best mean of those."""
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
    finalists = finalists[:FINALISTS]
    seeds = [training_seed(session.study.seed, 0x5E1EC7, i) for i in range(REPEATS)]
    again = [
        Planned(session.run(recipe, seed), "select", 0, -1, f"finalist {number + 1}")
        for number, recipe in enumerate(finalists)
        for seed in seeds
    ]
    session.progress.stage("select", len(again) * session.epochs)
    scores = np.array([_finite(session.score(entry)) for entry in session.train(again)])
    means = scores.reshape(len(finalists), REPEATS).mean(axis=1)
    best = finalists[int(means.argmax())]
    trial = next(e.trial for e, _ in complete if e.run.recipe == best)
    _note(session, trial, best, entries, float(means.max()))
    return best


def _finite(score: float) -> float:
    """A finalist that diverges on a fresh seed is not chosen."""
    return score if np.isfinite(score) else -1e30


def _note(session: Session, trial: int, best: Recipe, entries: Sequence[Entry], mean: float) -> None:
    fact = session.ledger.fact("search", {})
    value = mean if session.higher else -mean
    fact["best"] = {"trial": trial, "recipe": best.plain(), "value": value, "seeds": REPEATS}
    fact["outcomes"] = {
        str(outcome): sum(entry.result.outcome is outcome for entry in entries) for outcome in Outcome
    }
    session.ledger.put("search", fact)
