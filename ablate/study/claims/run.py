"""Run one claim: tune both recipes at equal budget, train them on fresh paired seeds, and judge the claim in its own metric.

Both recipes are tuned as the ranking tunes its references (`study/ranking/tuning.py`): seven rates on one lattice, the best on fresh seeds, further rates
where the best is at an edge, a curve through all runs. The number of pairs is fixed beforehand, so the interval is the plain paired t interval.
Run it again to resume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice
from math import isfinite

from ablate.ledger.entry import Entry
from ablate.ranking.designs.design import training_seed
from ablate.records.claim_file import ClaimFile
from ablate.records.designs import ADD_ONE
from ablate.records.recipe import Recipe
from ablate.records.run import RESPLIT
from ablate.study.claims.measure import (
    ClaimEffect,
    cost_effect,
    measured_by_runs,
    paired_effect,
    values,
    verdict,
)
from ablate.study.costs import compared_costs
from ablate.study.ranking.arms import Arm, rate_of
from ablate.study.ranking.scores import failed, is_scored_apart, score_of
from ablate.study.ranking.tuning import seeds_of, tune
from ablate.study.ranking.tuning_points import TuningBudget, at_edge, chosen_of
from ablate.study.session import Planned, Session
from ablate.tasks.chance_level import chance_level

TUNING, PAIRS = 0xC7A1, 0xC1A1
STAGE = "claim"
COSTS = "claim/costs"
"""Name of the ledger's fact: the cost of each step without the trick, and with it."""
QUICK, THOROUGH = TuningBudget(7, 2, 0, 0), TuningBudget(21, 4, 4, 5)
WITHOUT, WITH = "without", "with"


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """The result of a claim. Rates are None where the optimizer has none. `at_edge`: a best rate is the last that was tried."""

    effect: ClaimEffect
    verdict: str
    rate_without: float | None
    rate_with: float | None
    failed: tuple[int, int]
    at_edge: bool
    runs: int


def run_claim(session: Session, claim: ClaimFile, pairs: int, *, thorough: bool = False) -> ClaimResult:
    """Tune, train `pairs` paired seeds, measure and judge. `thorough`: tune each recipe as the ranking tunes its reference, not with 11 runs."""
    (without, with_trick), edge = (
        tuned(session, claim, THOROUGH if thorough else QUICK)
        if claim.rates == "tuned"
        else ((claim.without, claim.with_trick), False)
    )
    catalogue = session.context.catalogue
    entries: list[list[Entry]] = [[], []]
    if measured_by_runs(claim.metric):
        seeds = list(islice(_seeds(session, claim, PAIRS), pairs))
        rows = [
            (arm, recipe, seed) for arm, recipe in ((WITHOUT, without), (WITH, with_trick)) for seed in seeds
        ]
        trained = _train(session, rows, STAGE, f"{session.name}, {pairs} pairs")
        entries = [trained[:pairs], trained[pairs:]]
        effect = paired_effect(*values(session, claim.metric, *entries))
    else:
        costs = session.ledger.fact(COSTS) or compared_costs(session, without, with_trick, claim.metric)
        session.ledger.put(COSTS, costs)
        effect = cost_effect(*costs)
    return ClaimResult(
        effect,
        verdict(effect, claim.direction, claim.margin),
        rate_of(without, catalogue),
        rate_of(with_trick, catalogue),
        (sum(map(failed, entries[0])), sum(map(failed, entries[1]))),
        edge,
        session.ledger.count(),
    )


def tuned(session: Session, claim: ClaimFile, budget: TuningBudget) -> tuple[tuple[Recipe, Recipe], bool]:
    """Both recipes at their own best learning rates, tuned with the same number of runs; and whether a best rate is at an edge."""
    arms = [
        Arm(ADD_ONE, "", (claim.without,)),
        Arm(ADD_ONE, claim.trick, (claim.with_trick,)),
    ]
    seeds = list(islice(_seeds(session, claim, TUNING), seeds_of(budget)))
    points = tune(
        arms,
        {arm.name: arm.name for arm in arms},
        session.context.catalogue,
        budget,
        {arm.name: seeds for arm in arms},
        lambda rows: _tuning_scores(session, rows),
    )
    chosen = [chosen_of(points[arm.name]) for arm in arms]
    edge = any(at_edge(points[arm.name], point) for arm, point in zip(arms, chosen, strict=True))
    return (chosen[0].recipe, chosen[1].recipe), edge


def _tuning_scores(session: Session, rows: Sequence[tuple[str, Recipe, int]]) -> list[float]:
    """Scores in the session's metric, more is better; a run without it is worse than all others."""
    collapsed = chance_level(session.context.task, session.metric)
    scores = [
        score_of(
            entry, session.metric, higher=session.higher, collapsed=collapsed,
            final=is_scored_apart(entry.run.recipe, session.context.catalogue),
        )
        for entry in _train(session, rows, "tune", f"{session.name}, tuning")
    ]  # fmt: skip
    worst = min((score for score in scores if isfinite(score)), default=0.0)
    return [score if isfinite(score) else worst - 1.0 for score in scores]


def _train(session: Session, rows: Sequence[tuple[str, Recipe, int]], stage: str, title: str) -> list[Entry]:
    plan = [Planned(session.run(recipe, seed), stage, arm=arm) for arm, recipe, seed in rows]
    if plan:
        session.progress.stage(title, len(plan) * session.epochs)
    return session.train(plan)


def _seeds(session: Session, claim: ClaimFile, key: int):  # type: ignore[no-untyped-def]
    """An endless list of seeds; if ablate made the split, each seed splits training and validation data again."""
    resplit = RESPLIT if session.context.task.random_split else 0
    return (training_seed(claim.seed, key, i) | resplit for i in count())
