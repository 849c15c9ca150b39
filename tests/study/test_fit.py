"""A study that its time is too short for: what is left out, and in which order."""

import pytest

from ablate.catalogue.registry import registry
from ablate.records.errors import InputError
from ablate.records.study import StudyFile
from ablate.records.study_space import SpaceSection
from ablate.study.budget import Division
from ablate.study.fit import FITTING, USUAL, WHOLE, Costs, StudyFit, fit, in_order, named_in
from ablate.study.ranking.budget import OVER, SEARCHED

NAMES = ("remove_norm", "mixup", "adamw", "lamb", "sm3", "pgd", *(f"trick{i}" for i in range(20)))


def costs(seconds: float = 1.0, **changes: float) -> Costs:
    """Of 26 tricks, with which a run takes `seconds`; pgd takes six times as long."""
    runs = {"": seconds, "placebo": seconds, **dict.fromkeys(NAMES, seconds), "pgd": 6 * seconds}
    return Costs(
        runs,
        2,
        **{"lr_find": 10.0, "search": 50 * seconds, "confirm": 10 * seconds, "other": 10.0, **changes},
    )


def test_nothing_is_left_out_where_there_is_time():
    assert fit("10h", 36_000.0, costs(), 100) == StudyFit(100)


def test_a_search_that_takes_most_of_the_time_is_shorter():
    few = costs(0.1, search=500.0)
    seconds = few.ranking(NAMES, WHOLE, 2) + 500.0
    fitted = fit("x", seconds, few, 100)
    assert fitted.trials == int(100 * SEARCHED * seconds / 500.0)
    assert not fitted.left_out
    assert f"{fitted.trials} trials instead of 100" in fitted.words


@pytest.mark.parametrize("seconds", [60.0, 120.0, 240.0, 480.0])
def test_what_is_ranked_fits_and_one_more_would_not(seconds):
    one = costs()
    fitted = fit("4m", seconds, one, 100)
    tricks = in_order(one.runs)
    ranked = tricks[: len(tricks) - len(fitted.left_out)]
    assert fitted.trials is None
    assert set(fitted.left_out) == set(tricks) - set(ranked)
    left = OVER * seconds - 25.0
    level = next(level for level, least in FITTING.items() if one.ranking(tricks[:least], level, 1) <= left)
    assert one.ranking(ranked, level, 1) <= left
    if fitted.left_out:
        assert one.ranking(tricks[: len(ranked) + 1], level, 1) > left


def test_tricks_of_the_baseline_are_ranked_in_any_case():
    fitted = fit("4m", 60.0, costs(), 100, baseline=("trick19", "momentum"))
    assert fitted.left_out
    assert "trick19" not in fitted.left_out
    assert "trick19" in fit("4m", 60.0, costs(), 100).left_out


def test_more_time_ranks_more_until_all_are_ranked():
    left_out = [len(fit("x", seconds, costs(), 100).left_out) for seconds in (60.0, 120.0, 480.0, 36_000.0)]
    assert left_out == sorted(left_out, reverse=True)
    assert left_out[0] > left_out[-1] == 0
    assert len(NAMES) - left_out[1] >= 3


def test_a_few_tricks_that_can_be_decided_are_preferred_to_many_that_cannot():
    one = costs()
    seconds = 25.0 + one.ranking(in_order(one.runs)[:3], 9, 1)
    assert one.ranking(in_order(one.runs)[:8], 10, 1) < seconds - 25.0
    assert len(NAMES) - len(fit("x", seconds, one, 100).left_out) < 8


def test_too_little_for_one_trick_is_one_line():
    with pytest.raises(InputError, match="too short to rank a single trick") as error:
        fit("1m", 60.0, costs(60.0), 100)
    assert "\n" not in str(error.value)


def test_named_ones_come_first_then_usual_ones_and_costly_ones_last():
    order = in_order(costs().runs, named=("sm3",))
    assert order[:4] == ["sm3", "remove_norm", "adamw", "mixup"]
    assert order[-1] == "pgd"
    assert "placebo" not in order
    assert named_in(SpaceSection(include=("sm3", "opt*")), NAMES) == ["sm3"]


def test_the_usual_ones_are_in_the_catalogue_once():
    assert len(set(USUAL)) == len(USUAL)
    assert set(USUAL) <= set(registry())


def test_a_division_comes_back_from_the_ledger_and_is_applied():
    division = Division("4m", "170s", 12.5, "said once", StudyFit(None, {"lamb": "no time"}, "in words"))
    again = Division.of_json(division.to_json())
    assert again == Division("4m", "170s", 12.5, "", division.fit)
    study = again.applied(StudyFile(space=SpaceSection(exclude=("sm3",))))
    assert (study.rank.around, study.rank.budget, study.space.exclude) == (
        "baseline",
        "170s",
        ("sm3", "lamb"),
    )
    assert again.stages(("lr-find", "search", "rank")) == ("lr-find", "rank")
    fewer = Division("4m", "170s", fit=StudyFit(30)).applied(StudyFile())
    assert (fewer.rank.around, fewer.search.trials) == ("best", 30)
