"""Which tricks are ranked where there is not time for all of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ablate.catalogue.registry import registry
from ablate.records.recipe import Recipe
from ablate.records.study import StudyFile
from ablate.records.study_rank import RankSection
from ablate.records.study_space import SpaceSection
from ablate.study.fit import usual
from ablate.study.ranking import affordable as module
from ablate.study.ranking.affordable import affordable
from ablate.study.ranking.divide import LONGEST

BASELINE = Recipe.of(registry(), {"momentum": {"lr": 0.1}, "cosine": {}})
NAMES = ["mixup", "sam", "dropout", "lamb", "cosine", "label_smoothing", "ema", "swa"]


def session_of(facts: dict[str, Any], seconds: float, study: StudyFile) -> tuple[Any, list[str]]:
    """A session whose runs took `seconds` each, and what it says."""
    entries = [SimpleNamespace(result=SimpleNamespace(seconds=seconds), run=SimpleNamespace(recipe=BASELINE))]
    said: list[str] = []
    ledger = SimpleNamespace(
        fact=lambda name, other=None: facts.get(name, other), entries=lambda *_, **__: entries, put=facts.__setitem__
    )  # fmt: skip
    session = SimpleNamespace(
        ledger=ledger, study=study, workers=2, progress=SimpleNamespace(say=said.append), context=None, most=8, epochs=1
    )  # fmt: skip
    return session, said


def test_where_the_stages_before_took_too_long_fewer_tricks_are_ranked():
    """Down to the most usual three, instead of an error after minutes of training; those of the baseline stay."""

    def ranked(spent: float, budget: str = "100s") -> tuple[list[str], dict, list[str]]:
        facts = {"budget": {"asked": "4m", "rank": "100s", "later": 40.0}, "timings": {"lr-find": spent}}
        session, said = session_of(facts, 1.0, StudyFile(rank=RankSection(budget=budget)))
        return affordable(session, NAMES, BASELINE, BASELINE), facts["budget"], said

    assert set(ranked(20.0)[0]) == set(NAMES)
    few, budget, said = ranked(190.0)
    assert few == ["cosine", "dropout", "label_smoothing"]
    assert budget["late"] == ["ema", "mixup", "swa", "sam", "lamb"]
    assert len(said) == 1
    assert set(ranked(190.0, budget="200s")[0]) == set(NAMES)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Timing says 6 s for a run with sam and 4 s for all others; the number of recipes of each call."""
    calls: list[int] = []

    def seconds_of_each(context: Any, recipes: list[Recipe], *_: Any) -> dict[Recipe, float]:
        calls.append(len(recipes))
        return {recipe: 6.0 if "sam" in recipe else 4.0 for recipe in recipes}

    monkeypatch.setattr(module, "seconds_of_each", seconds_of_each)
    return calls


def test_without_a_budget_all_tricks_are_ranked_where_that_takes_no_more_than_the_default_time(timed):
    facts: dict[str, Any] = {}
    session, said = session_of(facts, 0.1, StudyFile())
    assert set(affordable(session, NAMES, BASELINE, BASELINE)) == set(NAMES)
    assert not said
    assert not facts
    assert not timed


def test_without_a_budget_as_many_as_fit_are_ranked_and_the_ledger_says_why_the_others_are_not(timed):
    facts: dict[str, Any] = {"timings": {"search": 30.0}}
    session, said = session_of(facts, 4.0, StudyFile(space=SpaceSection(include=("*", "lamb"))))
    ranked = affordable(session, NAMES, BASELINE, BASELINE)
    fit = facts["budget"]["fit"]
    assert 3 <= len(ranked) < len(NAMES)
    assert {"lamb", "cosine"} <= set(ranked)  # named by the study; of the baseline
    assert set(fit["left_out"]) == set(NAMES) - set(ranked)
    assert fit["asked"] == "15m"
    assert fit["every"] > LONGEST
    assert all("--include" in why for why in fit["left_out"].values())
    assert len(said) == 2
    assert affordable(session, NAMES, BASELINE, BASELINE) == ranked
    assert len(timed) == 1  # the ledger's choice stays, whatever the machine's speed
    more = affordable(session, [*NAMES, "adamw"], BASELINE, BASELINE)
    assert len(timed) == 2
    assert "adamw" in more


def test_where_there_is_not_time_for_both_references_only_the_recipes_own_tricks_are_toggled(timed):
    winner = Recipe.of(registry(), {"momentum": {"lr": 0.1}, "mixup": {}})
    facts: dict[str, Any] = {}
    session, said = session_of(facts, 4.0, StudyFile())
    ranked = affordable(session, NAMES, BASELINE, winner)
    assert facts["budget"]["add_one_only"] == [
        name for name in sorted(NAMES, key=usual) if name not in ("mixup", "cosine")
    ]
    assert {"mixup", "cosine"} <= set(ranked)
    assert "the recipe's own tricks within the recipe" in said[-1]
    alone, _ = session_of({}, 4.0, StudyFile())
    assert len(affordable(alone, NAMES, BASELINE, BASELINE)) >= len(ranked)


def test_a_budget_in_runs_and_another_design_rank_all(timed):
    for rank in (RankSection(budget="500runs"), RankSection(design="screening")):
        session, said = session_of({}, 50.0, StudyFile(rank=rank))
        assert set(affordable(session, NAMES, BASELINE, BASELINE)) == set(NAMES)
        assert not said
    assert not timed
