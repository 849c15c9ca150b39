"""The rank stage: the tuned design unless the study asks for another one. Run it again to resume it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ablate.records.designs import TUNED
from ablate.records.recipe import Recipe
from ablate.study.ranking.array_stage import rank_array
from ablate.study.ranking.budget import RankBudget
from ablate.study.ranking.lean_recipe import lean_and_ladder
from ablate.study.ranking.race import race_arms
from ablate.study.ranking.tune_arms import enlarge_tuning, tune_arms
from ablate.study.ranking.tuned import TunedStage, declare, declare_race, design_line
from ablate.study.session import Session


def rank(session: Session, winner: Recipe, baseline: Recipe, candidates: list[str]) -> None:
    """Rank `candidates` around `winner` by the study's design; the result is in the ledger."""
    if session.study.rank.design == TUNED:
        rank_tuned(session, winner, baseline, candidates)
    else:
        rank_array(session, winner, baseline, candidates)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Context: linear algebra in one thread. The curves' matrices are small, and while the workers train on every core, two threads wait
    for each other: the curve of 243 runs took 480 ms instead of 26 (n = 10, 2-core CPU beside a study)."""
    import scipy.linalg  # noqa: F401  (loads its BLAS, which is not NumPy's)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


def rank_tuned(session: Session, winner: Recipe, baseline: Recipe, candidates: list[str]) -> dict[str, Any]:
    """The default design: tune every arm, race them, remove tricks that do not help from the recipe, build the ladder.

    Returns the ledger's fact.
    """
    stage = TunedStage(session, winner, baseline, candidates)
    fact = declare(stage)
    budget = RankBudget.from_json(fact["budget"])
    if not fact["complete"]:
        given = session.study.rank.margin is not None
        session.progress.say(
            design_line(budget, len(stage.every), len(stage.estimands), session.workers, margin=given)
        )
    with one_blas_thread():
        tuned = tune_arms(stage, budget, fact)
        budget, tuned = enlarge_tuning(stage, budget, tuned, fact)
        budget = declare_race(stage, budget, fact)
        tuned = race_arms(stage, budget, tuned, fact)
        lean_and_ladder(stage, budget, tuned, fact)
    fact["complete"] = True
    session.ledger.put("rank", fact)
    return fact
