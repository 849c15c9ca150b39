"""A confirmation belongs to the recipe that it compared: a later ranking may recommend another one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from study_samples import TABULAR, Place, place

from ablate.analysis.confirmed import confirmed
from ablate.analysis.tuned_arms import arms_to_confirm, confirms
from ablate.ledger.entry import Entry
from ablate.ledger.store import Ledger
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run
from ablate.report.action import action
from ablate.report.collect import collect
from ablate.report.data import ReportData
from ablate.report.tuned_verdict import failed_in_confirmation
from ablate.study.preflight import check_ready
from ablate.study.request import find

STUDY = """
[baseline]
optimizer = {{ name = "momentum", lr = 0.1 }}
[space]
include = ["dropout", "weight_decay"]
[search]
trials = 4
[rank]
budget = "120runs"
around = "{around}"
[confirm]
seeds = 3
{confirm}
"""


@dataclass
class Growing:
    """A study whose file changes between its commands."""

    at: Place

    def run(self, *stages: str, around: str = "best", confirm: str = "") -> ReportData:
        text = STUDY.format(around=around, confirm=confirm)
        place(self.at.folder, TABULAR, text)
        self.at.run(stages)
        with Ledger.open(self.at.ledger, write=False) as ledger:
            return collect(ledger)

    def arms(self) -> dict:
        return self.at.fact("confirm")["arms"]


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Growing:
    growing = Growing(
        place(tmp_path_factory.mktemp("confirm"), TABULAR, STUDY.format(around="best", confirm=""))
    )
    growing.run("search", "rank", "confirm")
    return growing


def test_only_the_confirmation_of_the_recommended_recipe_counts(growing: Growing) -> None:
    before = growing.run("rank", "confirm")
    assert before.confirm is not None
    assert not before.confirmed_another
    with Ledger.open(
        growing.at.ledger, write=True
    ) as ledger:  # what another ranking of this ledger would have left
        other = dict(ledger.fact("rank"))
        other["recommended"] = {
            "recipe": {"momentum": {"lr": 0.3}, "dropout": {"p": 0.1}},
            "is_baseline": False,
        }
        ledger.put("rank", other)
    with Ledger.open(growing.at.ledger, write=False) as ledger:
        data = collect(ledger)
    assert data.confirm is None
    assert data.confirmed_another
    assert data.winner == other["recommended"]["recipe"]
    advice = action(data)
    assert advice is not None
    assert "confirmed before is another one" in advice.detail
    assert "ablate confirm" in advice.detail


def test_confirm_takes_what_was_ranked_last(growing: Growing) -> None:
    growing.run("rank", around="baseline")
    data = growing.run("confirm")  # the file says around = "best" again
    assert not data.confirmed_another
    assert data.confirm is not None
    fact = growing.at.fact("rank")
    assert fact["around"] == growing.at.fact("baseline")
    assert growing.arms() == arms_to_confirm(fact)
    assert confirms(growing.at.fact("confirm"), fact)


def test_confirm_can_be_of_a_recipe_that_is_named(growing: Growing) -> None:
    recipe_file = growing.at.folder / "own.toml"
    recipe_file.write_text("adam = { lr = 0.02 }\n")
    growing.run("confirm", confirm=f'around = "{recipe_file.as_posix()}"')
    assert growing.arms()["winner"]["adam"]["lr"] == 0.02


def test_without_a_search_what_was_ranked_is_confirmed(tmp_path) -> None:
    growing = Growing(place(tmp_path, TABULAR, STUDY.format(around="baseline", confirm="")))
    growing.run("rank", around="baseline")
    growing.run("confirm")
    assert growing.arms()["winner"] == growing.at.fact("rank")["recommended"]["recipe"]


def test_with_nothing_ranked_a_confirmation_needs_a_recipe(tmp_path) -> None:
    here = place(tmp_path, TABULAR, STUDY.format(around="best", confirm=""))
    options = here.options()
    with pytest.raises(InputError, match="no best recipe yet"):
        check_ready(find(str(here.folder / "tiny.toml"), options), options, ("confirm",))


def test_after_a_ranking_of_the_baseline_alone_no_recipe_is_trained_twice() -> None:
    """No recipe was found: the baseline was "as found" too, and what is recommended was compared with it under both names."""
    baseline, better = {"momentum": {"lr": 0.1}}, {"momentum": {"lr": 0.1}, "dropout": {"p": 0.1}}
    fact = {
        "tuning": {"add-one: baseline": [{"recipe": baseline, "chosen": True}]},
        "recommended": {"recipe": better},
    }
    assert arms_to_confirm(fact) == {"winner": better, "baseline": baseline}
    assert arms_to_confirm({**fact, "recommended": {"recipe": baseline}}) == {"winner": baseline}


def test_a_run_that_failed_counts_as_a_constant_prediction():
    """Otherwise the arm that diverges now and then would be compared on the seeds that it likes."""
    recipes = {
        name: Recipe({"momentum": {"lr": rate}}) for name, rate in (("winner", 0.1), ("baseline", 0.5))
    }
    entries = [
        Entry(
            Run("t", recipe, seed, 2),
            Result(Outcome.DIVERGED) if (arm, seed) == ("baseline", 3) else Result(Outcome.COMPLETE, metrics={"test/accuracy": 0.9 - 0.01 * (arm == "winner") + 0.001 * seed}),
            "confirm",
            arm=arm,
        )
        for arm, recipe in recipes.items()
        for seed in range(4)
    ]  # fmt: skip
    fact = {"arms": {arm: recipe.to_dict() for arm, recipe in recipes.items()}, "seeds": [0, 1, 2, 3]}
    without, _ = confirmed(fact, entries, "validation/accuracy", higher=True)
    assert without["gain"]["effect"] == pytest.approx(-0.01)
    document, _ = confirmed({**fact, "collapsed": 0.5}, entries, "validation/accuracy", higher=True)
    assert document["gain"]["effect"] == pytest.approx((3 * -0.01 + 0.893 - 0.5) / 4)
    assert document["failed"] == {"winner": 0, "baseline": 1}
    assert len(document["values"]["baseline"]) == 3, "it is no value to be drawn"
    for known, said in ((document, "counts as a constant prediction"), (without, "is not in its mean")):
        (line,) = failed_in_confirmation(ReportData(study={"name": "x"}, confirm=known))
        assert line == f"1 of 4 runs of the arm “baseline” failed in the confirmation and {said}"


def test_the_confirmation_knows_the_metric_of_a_constant_prediction(growing):
    collapsed = growing.at.fact("confirm")["collapsed"]
    assert 0 < collapsed < 1
