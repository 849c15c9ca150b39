"""What newcomers stumbled over: two tasks under one name, lr-find alone, a resume with other epochs, tiny plans."""

import csv
import json

import pytest
from cli_samples import INLINE, STUDY, TASK, ablate

from ablate.api.progress import ProgressDisplay
from ablate.ledger.store import Ledger
from ablate.records.errors import AblateError
from ablate.study import driver, resume


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    second = (
        TASK[TASK.index("task = Task(") :]
        .replace("task = ", "second = ")
        .replace("Task(", 'Task(name="tiny", ')
    )
    (tmp_path / "tiny.py").write_text(TASK + second)
    (tmp_path / "small.toml").write_text(STUDY)
    return tmp_path


def test_a_name_keeps_two_tasks_apart(capsys, here):
    plain = ("study", "--stages", "report", *INLINE)
    assert ablate(capsys, *plain, "tiny.py:task").code == 0
    refused = ablate(capsys, *plain, "tiny.py:second")
    assert refused.code == 2
    assert "give this one another with --name" in refused.err
    named = ablate(capsys, *plain, "tiny.py:second", "--name", "other")
    assert named.code == 0, named.err
    assert sorted(path.name for path in (here / "studies").glob("*.db")) == ["other.db", "tiny.db"]
    page = (here / "reports" / "other" / "index.html").read_text()
    assert "ablate rank tiny.py:second --name other" in page
    assert ablate(capsys, "report", "other").code == 0
    bad = ablate(capsys, *plain, "tiny.py:second", "--name", "../up")
    assert bad.code == 2
    assert not (here / "up.db").exists()


def test_lr_find_alone_writes_its_report(capsys, here):
    said = ablate(capsys, "lr-find", "tiny.py:task", *INLINE)
    assert said.out.splitlines()[-1] == "report: reports/tiny/index.html"
    assert (here / "reports" / "tiny" / "lr-find.json").is_file()


def test_lr_find_tells_why_a_model_is_refused(capsys, here, monkeypatch):
    """Not that there is no ledger, nor the steps of an earlier model."""

    def refuse(*_):
        raise AblateError("ablate does not train this model as torch would (loss)", hint="this is a bug")

    with monkeypatch.context() as patched:
        patched.setattr(resume, "self_checked", refuse)
        said = ablate(capsys, "lr-find", "tiny.py:task", *INLINE)
        assert (said.code, said.out) == (1, "")
        assert "ablate: ablate does not train this model as torch would (loss); this is a bug" in said.err
    assert ablate(capsys, "lr-find", "tiny.py:task", *INLINE).code == 0
    monkeypatch.setattr(driver, "scopes", refuse)
    said = ablate(capsys, "lr-find", "tiny.py:task", *INLINE)
    assert (said.code, said.out) == (1, "")
    assert "does not train this model as torch would" in said.err


def test_other_epochs_begin_a_search_anew_and_the_earlier_are_taken_up_again(capsys, here):
    assert ablate(capsys, "study", "small.toml", "--stages", "search", "--epochs", "1", *INLINE).code == 0
    said = ablate(capsys, "study", "small.toml", "--stages", "search", *INLINE)
    assert said.code == 0, said.err
    (aside,) = (here / "studies").glob("small.1-epochs.model-*.db")
    assert aside.name in said.err
    assert ablate(capsys, "study", "small.toml", "--stages", "search", "--epochs", "1", *INLINE).code == 0
    assert not aside.exists()


def test_a_report_is_found_by_what_the_study_was_called_by(capsys, here):
    assert ablate(capsys, "study", "tiny.py:task", "--stages", "report", *INLINE).code == 0
    for word in ("tiny", "tiny.py:task", "studies/tiny.db"):
        assert ablate(capsys, "report", word).out == "report: reports/tiny/index.html\n"


def test_fewer_confirming_seeds_take_none_away(capsys, here):
    assert ablate(capsys, "study", "small.toml", "--stages", "search", *INLINE).code == 0
    assert ablate(capsys, "confirm", "small.toml", "--seeds", "3", *INLINE).code == 0
    said = ablate(capsys, "confirm", "small.toml", "--seeds", "2", *INLINE)
    assert said.code == 0, said.err
    with (here / "reports" / "small" / "runs.csv").open() as file:
        seeds = {row["seed"] for row in csv.DictReader(file) if row["stage"] == "confirm"}
    assert len(seeds) == 3


def test_a_plan_is_of_the_epochs_that_will_be_run(capsys, here):
    said = ablate(capsys, "plan", "small.toml", "--epochs", "7", "--json", *INLINE)
    assert json.loads(said.out)["epochs"] == 7


def test_a_tiny_plan_never_takes_no_time(capsys, here):
    said = ablate(capsys, "plan", "small.toml", *INLINE)
    assert "under a second" in said.out
    assert "about 0 s" not in said.out


def test_a_bad_row_is_the_persons_own(capsys, here):
    for row in (0, 37, 99):
        (here / "tiny.py").write_text(TASK.replace("def model", f"x[{row}, 2] = float('nan')\ndef model"))
        said = ablate(capsys, "tasks", "tiny.py:task")
        assert said.code == 2
        assert f"first at row {row} of the training data that was given" in said.err


def test_the_size_of_a_stage_is_told_when_something_of_it_begins(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay("validation/accuracy", higher=True) as shown:
        shown.stage("search", 40)
        shown.finish("search", 0.0)  # all of it is in the ledger
        shown.stage("rank, wave 1", 20)
        shown.trained(0)
        shown.trained(5)
        shown.stage("rank, wave 1", 30)  # more of the same stage
        shown.trained(30)
        assert (shown.done, shown.total) == (35, 50)
        shown.finish("rank", 1.0)
    assert capsys.readouterr().err.splitlines() == [
        "search: done in 0.0 s", "rank, wave 1: 20 lane-epochs", "rank: done in 1.0 s",
    ]  # fmt: skip


def test_what_became_of_a_tables_columns_is_told_before_training(capsys, here):
    rows = [f"{i if i != 7 else 'unknown'},{i % 3},{i % 2}" for i in range(100)]
    (here / "people.csv").write_text("age,town,y\n" + "\n".join(rows))
    said = ablate(capsys, "study", "people.csv", "--target", "y", "--stages", "report", *INLINE)
    assert said.code == 0, said.err
    assert (
        "age: 1 of 100 cells is no number ('unknown' at row 7, the first is 0); taken as missing\n"
        in said.err
    )
    wide = ",".join(f"c{i}" for i in range(20))
    cells = [",".join("" if i == j else str(i + j) for j in range(20)) for i in range(100)]
    (here / "wide.csv").write_text(f"{wide},y\n" + "\n".join(f"{row},{i % 2}" for i, row in enumerate(cells)))
    said = ablate(capsys, "study", "wide.csv", "--target", "y", "--stages", "report", *INLINE)
    more = [line for line in said.err.splitlines() if line.startswith("and ")]
    assert len(more) == 1
    assert more[0].endswith("more notes on the table: ablate tasks wide.csv:y")
    notes = ablate(capsys, "tasks", "wide.csv:y").out
    assert "c19: gaps" in notes


RANK = ("rank", "tiny.py:task", "--around", "baseline", "--include", "dropout", "--budget", "60runs", *INLINE)


def test_a_ranking_finds_its_rate_first_and_once(capsys, here):
    first = ablate(capsys, *RANK)
    assert first.code == 0, first.err
    assert "lr-find 4/6" in first.err
    again = ablate(capsys, *RANK)
    assert again.code == 0
    assert "lr-find" not in again.err


def test_a_later_command_leaves_the_one_that_ranked_in_the_report(capsys, here):
    assert ablate(capsys, *RANK).code == 0
    assert ablate(capsys, "confirm", "tiny.py:task", "--seeds", "2", *INLINE).code == 0
    page = (here / "reports" / "tiny" / "index.html").read_text()
    assert "ablate rank tiny.py:task --around baseline --include dropout" in page
    with Ledger.open(here / "studies" / "tiny.db", write=False) as ledger:
        study = ledger.fact("study")
    assert study["command"].startswith("ablate confirm") or "confirm" in study["command"]
    assert study["ranked_by"] != study["command"]
