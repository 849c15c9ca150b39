"""The confirm stage: winner, baseline and drop-one recipes on fresh paired seeds and the test split."""

from __future__ import annotations

from ablate.ranking.coding import lines
from ablate.ranking.design import training_seed
from ablate.records.recipe import Recipe
from ablate.report.ranked import Ranked
from ablate.study.rank import analysed
from ablate.study.session import Planned, Session


def confirm(session: Session, winner: Recipe, baseline: Recipe) -> None:
    """Train every arm on the same fresh seeds. The test split is looked at here and nowhere else.

    Which tricks are dropped one by one is read off the ranking in the ledger, if there is one.
    """
    fact = session.ledger.fact("rank")
    arms = arms_of(session, winner, baseline, analysed(session, fact) if fact else None)
    seeds = [training_seed(session.study.seed, 0xC0F1, i) for i in range(session.study.confirm.seeds)]
    session.ledger.put(
        "confirm", {"arms": {arm: recipe.plain() for arm, recipe in arms.items()}, "seeds": seeds}
    )
    plan = [
        Planned(session.run(recipe, seed), "confirm", arm=arm)
        for arm, recipe in arms.items()
        for seed in seeds
    ]
    splits = ("validation", "test") if session.bench.task.test is not None else ("validation",)
    session.progress.stage("confirm", len(plan) * session.epochs)
    session.train(plan, splits)


def arms_of(session: Session, winner: Recipe, baseline: Recipe, found: Ranked | None) -> dict[str, Recipe]:
    """Winner, baseline, and the winner without each trick that helps (its slot as in the baseline)."""
    arms = {"winner": winner, "baseline": baseline}
    if found is None or found.average is None:
        return arms
    catalogue = session.bench.catalogue
    for row in lines(found.average):
        name = row["trick"]
        if row["verdict"] != "helps" or name not in winner:
            continue
        slot = catalogue[name].slot
        stood = baseline.slot(catalogue, slot) if slot else None
        without = winner.without(name)
        if stood is not None:
            without = without.with_trick(catalogue, stood, baseline[stood])
        arms[f"without {name}"] = without
    return arms
