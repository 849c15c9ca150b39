"""The rank stage: the tuned design unless the study asks for another one. Run it again to resume it."""

from __future__ import annotations

from typing import Any

from ablate.records.recipe import Recipe
from ablate.study.ranking.array_stage import rank_array
from ablate.study.ranking.budget import RankBudget
from ablate.study.ranking.lean import lean_and_ladder
from ablate.study.ranking.race import race_arms
from ablate.study.ranking.tune_arms import enlarge_tuning, tune_arms
from ablate.study.ranking.tuned import TunedStage, declare, declare_race, told
from ablate.study.session import Session


def rank(session: Session, winner: Recipe, baseline: Recipe, candidates: list[str]) -> None:
    """Rank `candidates` around `winner` by the study's design; the result is in the ledger."""
    if session.study.rank.design == "tuned":
        rank_tuned(session, winner, baseline, candidates)
    else:
        rank_array(session, winner, baseline, candidates)


def rank_tuned(session: Session, winner: Recipe, baseline: Recipe, candidates: list[str]) -> dict[str, Any]:
    """The default design: tune every arm, race them, remove tricks that do not help from the recipe, build the ladder.

    Returns the ledger's fact.
    """
    stage = TunedStage(session, winner, baseline, candidates)
    fact = declare(stage)
    budget = RankBudget.from_json(fact["budget"])
    session.progress.say(told(budget, len(stage.every), session.workers))
    tuned = tune_arms(stage, budget, fact)
    budget, tuned = enlarge_tuning(stage, budget, tuned, fact)
    budget = declare_race(stage, budget, fact)
    tuned = race_arms(stage, budget, tuned, fact)
    lean_and_ladder(stage, budget, tuned, fact)
    fact["complete"] = True
    session.ledger.put("rank", fact)
    return fact
