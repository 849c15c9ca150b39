"""What a study costs is bounded by its trials, and told before the search."""

import pytest
from cli_samples import INLINE, STUDY, TASK, ablate

from ablate.api.stages import over_budget
from ablate.ranking.designs.racing import Racing
from ablate.study import remaining_time
from ablate.study.ranking.budget import RankBudget, wall_seconds
from ablate.study.ranking.divide import divide
from ablate.study.ranking.estimates import (
    FLOOR,
    LEAST_RUNS,
    LEVELS,
    MOST_RUNS,
    RUNS_PER_TRIAL,
    expected,
    ladder_runs,
    likely_parts,
    race_runs,
    runs_for_trials,
)
from ablate.study.ranking.tuned import design_line
from ablate.study.ranking.tuning_points import reference_tuning
from ablate.study.remaining_time import minutes


@pytest.mark.parametrize("arms", [8, 60, 158])
def test_a_small_search_has_a_small_ranking(arms):
    """Whatever a run takes: without a budget, the design at FLOOR took hours of slow runs after a search of four trials."""
    costs = []
    for trials in (1, 4, 12, 40):
        budget = divide("", arms, 30.0, 2, trials=trials)
        bound = runs_for_trials(trials, arms, 2)
        cost = expected(budget, arms, 2)
        costs.append(cost)
        if bound is not None:
            assert cost <= 1.1 * bound
            assert budget.seconds is None
            assert budget.asked == ""
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]


def test_a_search_of_the_usual_size_is_bounded_by_time():
    usual = divide("", 60, 0.02, 2, trials=100)
    assert usual == divide("", 60, 0.02, 2)
    assert runs_for_trials(100, 60, 2) is None
    assert runs_for_trials(1, 158, 2) > RUNS_PER_TRIAL, "no fewer than the smallest design takes"
    assert LEVELS[FLOOR][1] > LEVELS[-1][1]


def test_what_is_asked_for_is_given_whatever_the_trials():
    assert divide("3000runs", 60, None, 2, trials=1) == divide("3000runs", 60, None, 2)


def test_time_is_told_in_its_own_unit():
    assert [minutes(seconds) for seconds in (0.2, 59, 600, 3600 * 5)] == ["1 s", "59 s", "10 min", "5 h"]


def test_a_study_tells_what_is_to_come(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(remaining_time, "seconds_per_trial", lambda *timed: 1e-3)  # on any machine
    (tmp_path / "tiny.py").write_text(TASK)
    text = STUDY.replace(
        'optimizer = { name = "momentum", lr = 0.1 }', 'optimizer = { name = "momentum", lr = "lr-find" }'
    )
    (tmp_path / "small.toml").write_text(text)
    said = ablate(capsys, "study", "small.toml", "--stages", "lr-find,search", *INLINE)
    assert said.code == 0, said.err
    assert "to go: search about 2 s" in said.err
    assert "--budget 10m limits the whole study" in said.err
    again = ablate(capsys, "study", "small.toml", "--stages", "lr-find,search", *INLINE)
    assert "to go" not in again.err
    planned = ablate(capsys, "plan", "small.toml", *INLINE)
    assert "in all about " in planned.out.splitlines()[-1]


def test_a_ranking_tells_its_likely_time_before_its_first_run():
    """Not the time that it may take: 74 s were announced as "about 165 s"."""
    budget = divide("", 76, 0.025, 2)
    runs = sum(likely_parts(budget, 76, 2, margin=True).values())
    seconds = wall_seconds(runs * 0.025, runs, 2)
    line = design_line(budget, 76, 2, 2, margin=True)
    told = [minutes(share * seconds) for share in (1.0, LEAST_RUNS, MOST_RUNS)]
    assert line.endswith(
        f"about {told[0]}, {told[1]} to {told[2]}; up to 25 min until nine tricks in ten are decided)"
    )
    short = design_line(divide("2m", 76, 0.025, 2), 76, 2, 2, margin=True)
    assert short.endswith("(budget: about 120 s)")


@pytest.mark.parametrize("references", [1, 2])
@pytest.mark.parametrize("level", LEVELS)
def test_the_likely_runs_are_between_the_fewest_and_the_most(level, references):
    tuning, pairs = level
    budget, arms = RankBudget(tuning, Racing.up_to(pairs), 0), 60 * references
    given, automatic = (likely_parts(budget, arms, references, margin=margin) for margin in (True, False))
    for parts in (given, automatic):
        reference = references * reference_tuning(tuning, arms // references).likely
        arms_alone = arms - references
        assert arms_alone * tuning.first <= parts["tuning"] - round(reference) <= 1 + arms_alone * tuning.runs
        assert arms * min(pairs, 8) <= parts["race"] <= race_runs(budget, arms, references)
        assert 0 <= parts["ladder"] <= ladder_runs(budget, references)
    assert given["tuning"] <= automatic["tuning"], "where no margin is given, arms are settled later"
    assert sum(given.values()) <= expected(budget, arms, references), "a design is chosen by rather too many"
    known = likely_parts(budget, arms, references, margin=True, rungs=3)
    assert known["ladder"] == ladder_runs(budget, references, 3)


def test_a_study_that_exceeds_its_budget_says_so():
    assert over_budget("", 1e9) == over_budget("2000runs", 1e9) == over_budget("2m", 135.0) == ""
    assert over_budget("2m", 1064.0).startswith("the study took 18 min, more than its budget of 2m: ")
