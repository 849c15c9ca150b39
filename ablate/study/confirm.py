"""The confirm stage: winner, baseline and drop-one recipes on fresh paired seeds and the test split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablate.analysis.designed_runs import Ranked
from ablate.analysis.tuned_arms import arms_to_confirm
from ablate.ranking.designs.design import training_seed
from ablate.records.designs import TUNED
from ablate.records.recipe import Recipe
from ablate.records.study_rank import CONFIRM_SEEDS
from ablate.records.trick import Trick
from ablate.study.ranking.array_stage import analysed
from ablate.study.ranking.budget import RankBudget
from ablate.study.ranking.design_matrix import at_rate
from ablate.study.ranking.recipes import same_recipe
from ablate.study.session import Planned, Session
from ablate.tasks.chance_level import chance_level


def confirm(session: Session, winner: Recipe, baseline: Recipe) -> None:
    """Train every arm on the same fresh seeds. The test split is used only here.

    After a ranking by tuned arms: the recipe that it recommends, the search's best and the baseline, each as tuned.
    After an array: the winner, the baseline, and the winner without each trick that helps.
    """
    fact = session.ledger.fact("rank") or {}
    if fact.get("kind") == TUNED and fact.get("complete") and fact["around"] == winner.to_dict():
        arms = {name: Recipe(recipe) for name, recipe in arms_to_confirm(fact).items()}
        if len(arms) == 1:
            session.progress.say(
                "confirm: the baseline itself is recommended: it is scored on fresh seeds, without a comparison"
            )
        _train(session, arms, RankBudget.from_json(fact["budget"]).lean_pairs)
        return
    if same_recipe(winner, baseline):
        session.progress.say(
            "confirm: the winner is the baseline itself: it is scored on fresh seeds, without a comparison"
        )
    if fact.get("kind") == TUNED:
        fact = {}
    if fact and fact["around"] != winner.to_dict():
        session.progress.say(
            "confirm: the ranking is around another recipe, so no trick is dropped from this one"
        )
        fact = {}
    ranked = analysed(session, fact) if fact else None
    arms = arms_of(session.context.catalogue, winner, baseline, ranked, fact)
    _train(session, arms, CONFIRM_SEEDS)


def _train(session: Session, arms: Mapping[str, Recipe], default: int) -> None:
    count = session.study.confirm.seeds or default
    before = session.ledger.fact("confirm") or {"arms": {}, "seeds": []}
    if before["arms"].get("winner") == arms["winner"].to_dict() and len(before["seeds"]) > count:
        count = len(before["seeds"])
        session.progress.say(f"confirm: {count} seeds are already recorded and are kept")
    seeds = [training_seed(session.study.seed, 0xC0F1, i) for i in range(count)]
    task = session.context.task
    collapsed = chance_level(task, session.metric, task.test)
    session.ledger.put(
        "confirm",
        {
            "arms": {arm: recipe.to_dict() for arm, recipe in arms.items()},
            "seeds": seeds,
            "collapsed": collapsed,
        },
    )
    plan = [
        Planned(session.run(recipe, seed), "confirm", arm=arm)
        for arm, recipe in arms.items()
        for seed in seeds
    ]
    splits = ("validation", "test") if task.test is not None else ("validation",)
    session.progress.stage("confirm", len(plan) * session.epochs)
    session.train(plan, splits)


def arms_of(
    catalogue: Mapping[str, Trick],
    winner: Recipe,
    baseline: Recipe,
    ranked: Ranked | None,
    fact: Mapping[str, Any],
) -> dict[str, Recipe]:
    """Winner, baseline, and the winner without each trick that helps (its slot as in the baseline).

    A trick that shifts the best learning rate is dropped at the rate that the ranking found for its absence:
    at the winner's own rate the arm would measure the rate.
    """
    arms = {"winner": winner, "baseline": baseline}
    if ranked is None:
        return arms
    best = (fact.get("retune") or {}).get("best") or {}
    parents = {f["name"]: f["parent"] for f in ranked.design["factors"]}
    meaning = fact["meaning"]
    for row in ranked.rows:
        factor, level = row["trick"], row["level"]
        tricks = set(meaning[factor][level])
        if not row["verdict"].startswith("helps") or not tricks <= set(winner):
            continue
        reference, what = next(iter(meaning[factor].items()))
        children = [
            n for child, parent in parents.items() if parent == factor for n in _tricks(meaning[child])
        ]
        without = Recipe.of(catalogue, {**winner.without(*tricks, *children).to_dict(), **what})
        name = factor if len(meaning[factor]) == 2 else level
        arms[f"without {name}"] = at_rate(without, catalogue, best.get(f"{factor}={reference}", 1.0))
    return arms


def _tricks(levels: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [name for level in levels.values() for name in level]
