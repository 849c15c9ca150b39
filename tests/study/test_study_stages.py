"""Whole tiny studies: what they leave behind, and that neither processes nor interruptions change a number."""

from __future__ import annotations

import csv
import json
import multiprocessing
import tomllib
from dataclasses import replace

import pytest
import torch
from study_samples import NO_RATE, STUDY, TABULAR, Heard, duplicates, place, without_durations

from ablate.ledger.entry import in_order
from ablate.ledger.store import Ledger
from ablate.protocol import chosen
from ablate.protocol.steps import Finding
from ablate.records.errors import AblateError, InputError
from ablate.report.build import build
from ablate.study import driver, session
from ablate.study.driver import STAGES
from ablate.study.session import Session

WITH_RATE = STUDY.replace("lr = 0.1", 'lr = "lr-find"')
RANKING = [
    "trick",
    "level",
    "estimand",
    "metric",
    "direction",
    "effect",
    "low",
    "high",
    "level_of_confidence",
    "p_adjusted",
    "verdict",
    "margin",
    "runs",
    "runs_failed",
    "claim_metric",
    "claim_effect",
    "claim_low",
    "claim_high",
    "claim_verdict",
    "time_ratio",
    "memory_ratio",
    "note",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study of every stage, inline; and what it said."""
    here, heard = place(tmp_path_factory.mktemp("whole"), study=WITH_RATE), Heard()
    here.run(STAGES, progress=heard)
    return here, heard


def table(file):
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_every_stage_trains_and_ends(whole):
    here, heard = whole
    entries = here.entries()
    assert {e.stage for e in entries} == {"lr-find", "search", "select", "retune", "rank", "confirm"}
    assert heard.finished == list(STAGES)
    assert heard.epochs == sum(e.result.epochs for e in entries) > 0
    assert [e.identity for e in heard.entries] == [e.identity for e in entries]
    assert duplicates(here.ledger) == 0
    assert sum(e.stage == "search" for e in entries) in (5, 6), "trial 0 may have been a run of lr-find"
    assert set(here.fact("timings")) == set(NO_RATE[:-1]) | {"lr-find"}


def test_processes_give_the_numbers_of_one_process(whole, tmp_path):
    here, _ = whole
    heard = Heard()
    apart = place(tmp_path, study=WITH_RATE)
    assert without_durations(apart.run(STAGES[:-1], "processes", heard)) == without_durations(here.entries())
    for fact in ("lr-find", "search", "rank", "confirm", "baseline"):
        assert apart.fact(fact) == here.fact(fact)
    build(apart.ledger, apart.report)
    one, other = (table(study.report / "runs.csv") for study in (here, apart))
    assert [{**row, "seconds": ""} for row in one] == [{**row, "seconds": ""} for row in other]
    assert (here.report / "curves.csv").read_bytes() == (apart.report / "curves.csv").read_bytes()


class Falling(Heard):
    """Raises KeyboardInterrupt at the third result."""

    def result(self, entry):
        super().result(entry)
        if len(self.entries) == 3:
            raise KeyboardInterrupt


def test_an_interrupted_study_leaves_its_page(tmp_path):
    here = place(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        here.run(("search", "report"), progress=Falling())
    assert (here.report / "index.html").is_file()
    assert len(table(here.report / "runs.csv")) == len(here.entries()) >= 3


@pytest.mark.parametrize("stage", ["lr-find", "search", "select", "retune", "rank", "confirm"])
def test_an_interrupted_stage_goes_on_to_the_same_ledger(whole, tmp_path, monkeypatch, stage):
    """The driver falls over when about half of the stage's groups are recorded."""
    here, _ = whole
    again = place(tmp_path, study=WITH_RATE)
    land, landed = Session._on_done, []

    def falling(session, future):
        landed.extend(one for one in session._pending[future][0] if one.stage == stage)
        if len({one.run.identity for one in landed}) > 1:
            raise KeyboardInterrupt
        land(session, future)

    monkeypatch.setattr(Session, "_on_done", falling)
    with pytest.raises(KeyboardInterrupt):
        again.run(STAGES[:-1])
    before = without_durations(again.entries())
    assert before.keys() < without_durations(here.entries()).keys()
    monkeypatch.setattr(Session, "_on_done", land)
    after = without_durations(again.run(STAGES[:-1]))
    assert after == without_durations(here.entries())
    assert before.items() <= after.items()
    assert duplicates(again.ledger) == 0
    assert again.fact("rank") == here.fact("rank")


def test_a_finished_study_trains_nothing_more(whole):
    here, _ = whole
    heard, before = Heard(), here.ledger.read_bytes
    known = before()
    assert len(here.run(STAGES[:-1], progress=heard)) == len(here.entries())
    assert heard.entries == []
    assert heard.epochs == 0
    assert len(here.ledger.read_bytes()) == len(known)


def test_the_report_holds_the_files_that_were_promised(whole):
    here, _ = whole
    names = {str(file.relative_to(here.report)) for file in here.report.rglob("*") if file.is_file()}
    promised = {
        "index.html", "ranking.csv", "runs.csv", "curves.csv", "lr-find.json", "study.json", "recipe.toml",
    }  # fmt: skip
    assert promised < names
    assert all(name.startswith("plots/") and name.endswith(".svg") for name in names - promised)
    with (here.report / "ranking.csv").open() as file:
        assert next(csv.reader(file)) == RANKING
    ranking = table(here.report / "ranking.csv")
    assert "average" in {row["estimand"] for row in ranking}
    assert "placebo" in {row["trick"] for row in ranking}


def test_runs_and_curves_are_those_of_the_ledger(whole):
    here, _ = whole
    runs, entries = table(here.report / "runs.csv"), in_order(here.entries())
    assert list(runs[0])[:7] == ["run", "stage", "recipe", "seed", "wave", "outcome", "epochs"]
    assert list(runs[0])[-1] == "seconds"
    assert [row["run"] for row in runs] == [e.identity for e in entries]
    for row, entry in zip(runs, entries, strict=True):
        assert float(row["validation/accuracy"]) == entry.result.metrics["validation/accuracy"]
        assert row["momentum.lr"] == str(entry.run.recipe["momentum"]["lr"])
    curves = table(here.report / "curves.csv")
    assert list(curves[0]) == ["run", "metric", "epoch", "value"]
    one = entries[0]
    values = [
        float(c["value"]) for c in curves if c["run"] == one.identity and c["metric"] == "validation/loss"
    ]
    assert values == list(one.result.curves["validation/loss"])


def test_the_documents_can_be_read_by_machines(whole):
    here, _ = whole
    document = json.loads((here.report / "lr-find.json").read_text())
    assert {"task", "device", "steps", "learning_rate", "weight_decay"} <= set(document)
    assert [step["step"] for step in document["steps"]] == [0, 1, 2, 3, 4, 5, 6]
    assert {step["verdict"] for step in document["steps"]} <= {"pass", "warn", "fail", "skipped"}
    study = json.loads((here.report / "study.json").read_text())
    assert {"stages", "environment", "timings"} <= set(study)
    assert study["environment"]["torch"] == torch.__version__
    winner = tomllib.loads((here.report / "recipe.toml").read_text())
    assert winner == here.fact("confirm")["arms"]["winner"]


def test_the_test_split_is_seen_by_confirm_alone(whole):
    here, _ = whole
    for entry in here.entries():
        seen = {
            name.partition("/")[0]
            for name in [*entry.result.metrics, *entry.result.scores, *entry.result.curves]
        }
        assert ("test" in seen) == (entry.stage == "confirm")


def test_a_longer_search_with_another_winner_is_ranked_and_confirmed_anew(tmp_path):
    study = STUDY.replace("dropout", "momentum").replace("lr = 0.1", "lr = 1e-6")
    here = place(tmp_path, study=study.replace("trials = 6", "trials = 1"))
    here.run(NO_RATE[:-1])
    first = here.fact("rank")
    (tmp_path / "tiny.toml").write_text(
        (tmp_path / "tiny.toml").read_text().replace("trials = 1", "trials = 8")
    )
    heard = Heard()
    entries = here.run(progress=heard)
    assert here.fact("rank")["around"] != first["around"]
    assert any("differs from the one in the ledger and replaces it" in line for line in heard.said)
    ranked = {row["identity"] for row in here.fact("rank")["rows"]}
    assert ranked <= {e.identity for e in entries}
    document = json.loads((here.report / "study.json").read_text())
    assert document["confirm"]["gain"]["n"] == 2


def test_all_diverge_and_it_is_reported_all_the_same(tmp_path):
    here, heard = place(tmp_path, study=STUDY.replace("lr = 0.1", "lr = 1e30")), Heard()
    with pytest.raises(AblateError, match="none of 6 trials trained to its end") as caught:
        here.run(progress=heard)
    assert caught.value.exit_code == 1
    assert {str(e.result.outcome) for e in here.entries()} == {"diverged"}
    assert "6" in (here.report / "index.html").read_text()
    assert {row["outcome"] for row in table(here.report / "runs.csv")} == {"diverged"}
    assert any(str(here.report / "index.html") in line for line in heard.said)


def test_a_failed_gate_stops_the_study_unless_forced(tmp_path):
    """Labels that are noise and a model that ignores its input: step 2 must fail."""
    blind = TABULAR.replace("nn.Linear(4, 8)", "Blind(), nn.Linear(4, 8)").replace(
        "generator =",
        "class Blind(nn.Module):\n    def forward(self, x):\n        return 0 * x\n\ngenerator =",
    )
    here = place(tmp_path, task=blind, study=WITH_RATE)
    with pytest.raises(AblateError, match="lr-find step 2") as caught:
        here.run(STAGES)
    assert caught.value.exit_code == 1
    assert {e.stage for e in here.entries()} <= {"lr-find"}
    assert (here.report / "index.html").is_file()
    verdicts = [step["verdict"] for step in here.fact("lr-find")["steps"]]
    assert verdicts[2] == "fail"
    assert set(verdicts[3:]) == {"skipped"}


def test_force_goes_on_with_the_best_rate_of_the_grid_where_no_rate_beats_a_guess(tmp_path, monkeypatch):
    refuted = Finding("no-better-than-a-guess", "fail", "not better than a guess", advice="check the labels")
    monkeypatch.setattr(chosen, "verdict", lambda test, advice: [refuted])
    here, heard = place(tmp_path, study=WITH_RATE), Heard()
    with pytest.raises(AblateError, match="step 5") as caught:
        here.run(("lr-find",))
    assert caught.value.hint == "check the labels; --force goes on in any case"
    with pytest.raises(InputError, match=r"found no learning rate: step 5 \(seeds and weight decay\) failed"):
        here.run(("search",))
    here.run(("lr-find", "search"), progress=heard, force=True)
    document = here.fact("lr-find")
    rate = document["learning_rate"]
    assert rate == document["steps"][5]["figures"]["learning_rate"]
    assert here.fact("baseline")["momentum"]["lr"] == rate
    (line,) = (line for line in heard.said if "--force" in line)
    assert line.startswith(f"--force: goes on with the rate {rate:g}")
    assert document["steps"][5]["findings"][-1]["message"] == line


def test_a_trial_that_lr_find_has_trained_already_is_not_trained_twice(tmp_path):
    here = place(tmp_path, study=STUDY.replace("trials = 6", "trials = 41"))
    here.run(("search",))
    first = next(e for e in here.entries() if e.trial == 0)
    other = place(tmp_path / "other", study=STUDY.replace("trials = 6", "trials = 41"), name="tiny")
    other.ledger.parent.mkdir()
    with Ledger.open(other.ledger, write=True) as ledger:
        ledger.record([replace(first, stage="lr-find", trial=-1, arm="fine grid")])
    other.run(("search",))
    assert without_durations(other.entries()).keys() == without_durations(here.entries()).keys()
    assert other.fact("search")["best"] == here.fact("search")["best"]


def test_stages_are_run_in_their_order():
    assert driver.check_stages(["report", "search", "lr-find"]) == ("lr-find", "search", "report")


def test_a_ledger_can_be_read_while_the_study_runs(tmp_path):
    here = place(tmp_path)
    seen = []

    class Reading(Heard):
        def result(self, entry):
            with Ledger.open(here.ledger, write=False) as ledger:
                seen.append(entry.identity in ledger.finished())

    here.run(("search",), progress=Reading())
    assert seen
    assert all(seen)


def test_inline_each_group_is_recorded_when_it_is_trained(tmp_path, monkeypatch):
    """Not a generation later: what an interruption costs is one group, or what trains in COMMIT_SECONDS (`test_commits`)."""
    monkeypatch.setattr(session, "COMMIT_SECONDS", 0.0)
    here = place(tmp_path, study=STUDY.replace("trials = 6", "trials = 40"))
    bound = []

    class Counting(Heard):
        def result(self, entry):
            super().result(entry)
            if entry.stage == "search":
                bound.append(self.epochs - sum(e.result.epochs for e in self.entries))

    here.run(("search",), progress=Counting())
    assert max(bound) <= 20 * 2, "epochs trained and not yet recorded: a generation at most, not two"


def test_workers_that_are_killed_between_results_cost_nothing(tmp_path):
    """What happens where one job loses its worker again and again stands in test_study_failures."""
    here = place(tmp_path)

    class Cruel(Heard):
        def result(self, entry):
            super().result(entry)
            if len(self.entries) < 3:
                for child in multiprocessing.active_children():
                    child.kill()

    heard = Cruel()
    here.run(("search",), "processes", heard)
    assert any("a worker was lost" in line for line in heard.said)
    assert len({e.identity for e in here.entries() if e.stage == "search"}) == 6
    assert duplicates(here.ledger) == 0
