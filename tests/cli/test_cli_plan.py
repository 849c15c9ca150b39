"""`ablate plan` and `--budget`: what they say, and that the study keeps to it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cli_samples import INLINE, STUDY, TASK, ablate

from ablate.cli.plan import tuned_lines
from ablate.ledger.store import Ledger
from ablate.ranking.designs.racing import Racing
from ablate.records.designs import DESIGN_NAMES
from ablate.records.study_rank import PATIENCE
from ablate.study import plan, stopwatch
from ablate.study.budget import lr_find_budget_of
from ablate.study.ranking.budget import LEAN_PAIRS, RankBudget
from ablate.study.ranking.plan import _within
from ablate.study.ranking.tuning_points import TuningBudget

TUNED = STUDY.replace('design = "screening"\nwaves = 1', 'budget = "300runs"')


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.py").write_text(TASK)
    (tmp_path / "small.toml").write_text(TUNED)
    return tmp_path


def planned(capsys, *words):
    said = ablate(capsys, "plan", "small.toml", "--json", *words, *INLINE)
    assert said.code == 0, said.err
    return json.loads(said.out)


def facts():
    with Ledger.open(Path("studies/small.db"), write=False) as ledger:
        return ledger.facts()


def test_a_plan_of_the_default_design_is_what_the_study_declares(capsys, here):
    document = planned(capsys)
    assert 11 <= document["lr_find"]["runs"] <= 14, (
        "11 rates, and seeds and weight decays for 1.3 times their cost"
    )
    assert document["estimate_seconds"]["lr-find"] > 0
    before = document["rank"]
    assert before["arms"]["toggle"] == before["arms"]["add-one"], "the recipe is not known yet"
    assert ablate(capsys, "study", "small.toml", "--stages", "search,rank", *INLINE).code == 0
    after, fact = planned(capsys)["rank"], facts()["rank"]
    names = fact["asked"]["arms"]
    assert after["arms"] == {kind: sum(n.startswith(kind) for n in names) for kind in after["arms"]}
    assert sum(after["arms"].values()) == len(names)
    assert after["tuning"] == fact["budget"]["tuning"]
    assert after["looks"] == fact["budget"]["racing"]["pairs"]
    assert after["runs_at_most"] == fact["budget"]["runs"] == 300
    assert (
        0.5 * after["runs"]["tuning"] <= fact["tuning_spent"]["runs"] <= 2 * after["runs"]["tuning"]
    )  # further tuning is of the race; how many rounds the baseline needs, its runs tell
    assert fact["spent"]["tuning"] + fact["spent"]["race"] <= 1.1 * after["runs_at_most"]


@pytest.mark.parametrize(
    ("asked", "longest", "limit"),
    [
        ("", 1500.0, "25 min until nine tricks in ten are decided, about 9000 runs"),
        ("566s", 566.0, "9 min (--budget), about 9000 runs"),
        ("9000runs", None, "9000 runs (--budget)"),
        ("", None, "9000 runs"),
    ],
)
def test_a_plan_tells_what_is_planned_and_its_upper_limit(asked, longest, limit):
    rank = {
        "arms": {"add-one": 9}, "looks": [8], "runs": {"tuning": 700, "race": 300}, "margin": None, "budget": asked,
        "seconds_at_most": longest, "runs_at_most": 9000, "tuning_runs_likely": 60, "tuning_runs_at_most": 149,
        "detectable_sigma": 0.3, "seconds": 1.0, "seconds_of_all": 1.0, "share": 1.0, "left_out": {},
    }  # fmt: skip
    lines = tuned_lines(rank)
    assert "  tuning: about 60 runs an arm, at most 149; looks after 8 paired seeds" in lines
    assert f"  planned: 1000 runs (tuning 700, race 300); upper limit: {limit}" in lines


def test_a_verbose_plan_tells_timings_layers_and_why_tricks_do_not_apply(capsys, here):
    document = planned(capsys, "--verbose")
    said = ablate(capsys, "plan", "small.toml", "--verbose", *INLINE)
    lines = said.out.splitlines()
    timed = [line for line in lines if line.startswith("  measured: ")]
    assert len(timed) == len(document["timings"]) > 0
    scopes = document["surgery"]["tricks"]
    assert {line for line in lines if " touches " in line} == {
        f"  {name} touches {scope['text']}" for name, scope in scopes.items()
    }
    assert "--verbose" not in said.out


def test_a_plan_of_an_array_lists_its_slots(capsys, here):
    text = STUDY.replace('"placebo"]', '"placebo", "cosine", "step"]')
    levels = 'waves = 1\nlevels = { schedule = ["none", "cosine", "step"] }'
    (here / "small.toml").write_text(text.replace("waves = 1", levels))
    said = ablate(capsys, "plan", "small.toml", *INLINE)
    (line,) = [line for line in said.out.splitlines() if line.startswith("  slot schedule: ")]
    assert line == "  slot schedule: none, cosine, step"


def test_the_upper_limit_without_a_budget_is_what_the_longest_time_allows():
    budget = RankBudget(TuningBudget(), Racing.up_to(60), 7707, "", 120.0, 0.4)
    assert budget.longest == PATIENCE
    assert budget.runs_at_most(0.2, 2) == int(PATIENCE / (0.2 / 1.8 + 0.003))
    assert replace(budget, asked="120s").runs_at_most(0.4, 2) == 7707
    assert replace(budget, seconds=None).runs_at_most(0.4, 2) == 7707


def test_a_tenth_of_a_studys_time_is_for_its_learning_rate():
    assert lr_find_budget_of("10m") == "60.00s"
    assert lr_find_budget_of("300runs") == lr_find_budget_of("") == ""


def test_a_larger_budget_finds_smaller_effects(capsys, here):
    small, large = (planned(capsys, "--budget", f"{runs}runs")["rank"] for runs in (300, 4000))
    assert large["detectable_sigma"] < small["detectable_sigma"]
    assert sum(large["runs"].values()) > sum(small["runs"].values())


def test_a_ladder_from_the_baseline_is_counted_after_tuning_only(capsys, here):
    small, large = (
        planned(capsys, "--around", "baseline", "--budget", f"{runs}runs")["rank"] for runs in (80, 2000)
    )
    assert small["tuning"]["rounds"] == small["runs"]["ladder"] == 0
    assert large["tuning"]["rounds"] > 0
    assert large["runs"]["ladder"] > 0
    for rank in (small, large):  # of an arm: the references, which are tuned more, do not count
        assert rank["tuning"]["first"] <= rank["tuning_runs_likely"] <= rank["tuning_runs_at_most"]


def test_a_time_is_divided_as_the_study_divides_it(capsys, here):
    """What is left out, and what each stage gets, is said before anything is trained."""
    long = TUNED.replace('budget = "300runs"\n', "").replace("trials = 3", "trials = 100")
    (here / "small.toml").write_text(f"epochs = 1500\n{long}")
    whole, divided = planned(capsys), planned(capsys, "--budget", "100s")
    assert whole["budget"] == ""
    assert divided["budget"].startswith("budget 100s: ")
    seconds = [sum(document["estimate_seconds"].values()) for document in (divided, whole)]
    assert seconds[0] < seconds[1]
    assert sum(divided["rank"]["runs"].values()) < sum(whole["rank"]["runs"].values())
    said = ablate(capsys, "plan", "small.toml", "--budget", "100s", *INLINE)
    assert "budget 100s: " in said.out
    assert not Path("studies/small.db").exists()


def test_the_tricks_of_a_divided_plan_are_timed_once(capsys, here, monkeypatch):
    timed = []

    def seconds_of_each(context, recipes, *arguments):
        timed.append(len(recipes))
        return stopwatch.seconds_of_each(context, recipes, *arguments)

    monkeypatch.setattr(plan, "seconds_of_each", seconds_of_each)
    document = planned(capsys, "--budget", "10m")
    assert len(timed) == 1
    assert document["seconds_by_trick"].keys() == {"", "placebo", *document["space"]["tricks"]}


@pytest.mark.parametrize("design", DESIGN_NAMES)
def test_every_design_says_what_it_answers_and_names_the_others(capsys, here, design):
    (here / "small.toml").write_text((here / "small.toml").read_text().replace('budget = "300runs"\n', ""))
    said = ablate(capsys, "plan", "small.toml", "--design", design, *INLINE)
    assert said.code == 0, said.err
    assert f"rank ({design})" in said.out
    assert "  answers: " in said.out
    others = [line.split(":")[0].strip() for line in said.out.split("other designs:\n")[1].splitlines()]
    assert others[: len(DESIGN_NAMES) - 1] == [name for name in DESIGN_NAMES if name != design]


def test_a_budget_of_minutes_is_divided_once(capsys, here):
    words = ("study", "small.toml", "--stages", "search", "--budget", "20s", *INLINE)
    said = ablate(capsys, *words)
    assert said.code == 0, said.err
    assert "budget 20s: search about" in said.err + said.out
    first = facts()["budget"]
    assert 0 < float(first["rank"].removesuffix("s")) < 20
    assert ablate(capsys, *words).code == 0
    assert facts()["budget"] == first


def test_a_budget_of_runs_is_the_rank_stages(capsys, here):
    words = ("study", "small.toml", "--stages", "search,rank", "--budget", "160runs", *INLINE)
    assert ablate(capsys, *words).code == 0
    assert facts()["rank"]["budget"]["runs"] == 160
    assert facts()["rank"]["budget"]["asked"] == "160runs"


def test_a_budget_that_is_too_small_is_refused_before_anything_is_trained(capsys, here):
    said = ablate(capsys, "study", "small.toml", "--stages", "search,rank", "--budget", "40runs", *INLINE)
    assert said.code == 2
    assert "too small to rank" in said.err
    assert said.err.count("\n") == 1
    assert not (here / "studies").exists()


def test_the_command_at_the_end_names_the_folder_that_was_asked_for(capsys, here):
    said = ablate(capsys, "study", "small.toml", "--budget", "160runs", "--out", "else where", *INLINE)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert Path("else where/small/recipe.toml").is_file()
    commands = [line for line in lines if line.startswith("  ablate train")]
    assert all("--recipe 'else where/small/recipe.toml'" in line for line in commands)


def test_a_budget_bounds_the_parts_of_a_plan() -> None:
    budget = RankBudget(TuningBudget(9, 4, 2, 8), Racing(), runs=600)
    within = {"tuning": 100, "race": 200, "ladder": 150}
    assert _within(within, budget, 5) == within
    cut = _within({"tuning": 150, "race": 700, "ladder": 230}, budget, 5)
    assert sum(cut.values()) <= 600
    assert cut["tuning"] == 150
    assert cut["ladder"] == min(230, budget.ladder_runs(5, LEAN_PAIRS[0]))
    assert _within({"tuning": 900, "race": 700, "ladder": 0}, budget, 0) == {
        "tuning": 900,
        "race": 0,
        "ladder": 0,
    }
