"""`ablate rank --optuna`: what somebody's study suggests. The storage is read and never written."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import optuna
import pytest
from cli_samples import ablate, files
from optuna.distributions import CategoricalDistribution as Choice
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial


def trials(n: int = 90) -> list:
    """mixup is worth 0.05, its alpha 0.02 a unit, SGD's momentum 0.05 a unit, lr a hill; some pruned, some failed."""
    draw = np.random.default_rng(0)
    made = []
    for number in range(n):
        mixup, optimizer = draw.choice(["off", "on"]), draw.choice(["sgd", "adamw", "lion"])
        params = {"mixup": mixup, "optimizer": optimizer, "optimizer.lr": 10 ** draw.uniform(-4, -1), "aug": [None, "flip"][number % 2]}  # fmt: skip
        kinds = {"mixup": Choice(["off", "on"]), "optimizer": Choice(["sgd", "adamw", "lion"]),
                 "optimizer.lr": FloatDistribution(1e-4, 1e-1, log=True), "aug": Choice([None, "flip"])}  # fmt: skip
        value = 0.8 + 0.05 * (mixup == "on") + {"sgd": 0.0, "adamw": 0.02, "lion": -0.02}[optimizer]
        value -= 0.01 * (math.log10(params["optimizer.lr"]) + 2.5) ** 2
        if mixup == "on":
            params["mixup.alpha"], kinds["mixup.alpha"] = draw.uniform(), FloatDistribution(0, 1)
            value += 0.02 * (params["mixup.alpha"] - 0.5)
        if optimizer == "sgd":
            params["optimizer.momentum"], kinds["optimizer.momentum"] = (
                draw.uniform(),
                FloatDistribution(0, 1),
            )
            value += 0.05 * (params["optimizer.momentum"] - 0.5)
        params["fixed"], kinds["fixed"] = 3, IntDistribution(3, 3)
        state = TrialState.PRUNED if number % 15 == 4 else TrialState.FAIL if number % 30 == 7 else TrialState.COMPLETE  # fmt: skip
        made.append(create_trial(
            state=state, params=params, distributions=kinds,
            value=value + 0.004 * draw.normal() if state is TrialState.COMPLETE else None,
        ))  # fmt: skip
    return made


def fill(storage, name: str = "mine", n: int = 90, direction: str = "maximize") -> None:
    optuna.create_study(storage=storage, study_name=name, direction=direction).add_trials(trials(n))


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("optuna") / "x.db"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    fill(f"sqlite:///{path}")
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch, database: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.db").write_bytes(database.read_bytes())
    return tmp_path


def test_planted_effects_are_suggested_and_nothing_is_a_verdict(capsys, here):
    before = hashlib.sha256((here / "x.db").read_bytes()).hexdigest()
    said = ablate(capsys, "rank", "--optuna", "sqlite:///x.db", "--json")
    assert said.code == 0, said
    document = json.loads(said.out)
    rows = {(row["trick"], row["level"]): row for row in document["ranking"]}
    assert {row["verdict"] for row in rows.values()} == {"exploratory"}
    truth = {
        ("mixup", "on"): 0.05, ("optimizer", "adamw"): 0.02, ("optimizer", "lion"): -0.02,
        ("mixup.alpha", "per SD"): 0.02 * 12**-0.5, ("optimizer.momentum", "per SD"): 0.05 * 12**-0.5, ("aug", "flip"): 0,
    }  # fmt: skip
    for key, value in truth.items():
        assert abs(rows[key]["effect"] - value) < 0.008, key
        assert rows[key]["low"] - 0.002 <= value <= rows[key]["high"] + 0.002
    assert (document["runs"], document["used"], document["failed"], document["excluded"]) == (90, 81, 3, 6)
    warnings = " | ".join(document["warnings"])
    for part in ("usually chooses its trials by the results", "6 of 90 trials were pruned", "3 of 90 trials failed",
                 "'fixed' is left out", "'optimizer.lr' does not act along a straight line"):  # fmt: skip
        assert part in warnings
    assert hashlib.sha256((here / "x.db").read_bytes()).hexdigest() == before
    assert {p.name for p in here.iterdir()} == {"x.db", "reports"}


def test_importances_are_summed_over_a_trick(capsys, here):
    document = json.loads(ablate(capsys, "rank", "--optuna", "x.db", "--json").out)
    shares = {row["parameter"]: row for row in document["importances"]}
    assert sum(row["importance"] for row in shares.values()) == pytest.approx(1)
    importances = [row["importance"] for row in shares.values() if row["trick"] == "optimizer"]
    assert len(importances) == 3
    assert shares["optimizer.lr"]["trick_importance"] == pytest.approx(sum(importances))


def test_shown_to_a_person_with_a_report_page(capsys, here):
    said = ablate(capsys, "rank", "--optuna", "sqlite:///x.db", "--optuna-study", "mine")
    assert "importance by trick: optimizer" in said.out
    assert "optimizer: adamw" in said.out
    folder = here / "reports" / "mine"
    page = (folder / "index.html").read_text()
    for part in (
        "Optuna’s importances",
        "Exploratory",
        "search’s trials suggest",
        "usually chooses its trials",
    ):
        assert part in page
    assert "ablate rank mine" not in page
    assert "The placebo does nothing" not in page
    assert page.count("unfinished runs left out") == 0, "what every row says is said once, above"
    assert {"ranking.csv", "runs.csv", "importances.csv", "index.html"} <= {p.name for p in folder.iterdir()}


def test_a_journal_is_read_too(capsys, here):
    fill(JournalStorage(JournalFileBackend("trials.log")), direction="minimize")
    before = (here / "trials.log").read_bytes()
    document = json.loads(ablate(capsys, "rank", "--optuna", "trials.log", "--json").out)
    rows = {row["trick"]: row for row in document["ranking"]}
    assert document["direction"] == "lower"
    assert rows["mixup"]["effect"] < -0.04
    assert (here / "trials.log").read_bytes() == before


def test_what_is_wrong_is_one_line_and_writes_nothing(capsys, here):
    fill("sqlite:///two.db", "first", 12)
    fill("sqlite:///two.db", "second", 12)
    optuna.create_study(storage="sqlite:///pareto.db", study_name="p", directions=["minimize", "maximize"])
    fill("sqlite:///few.db", "few", 5)
    optuna.storages.RDBStorage("sqlite:///none-yet.db")
    for name, choices in (("value", [0, 1]), ("mixup", [1])):
        same = [create_trial(params={name: choices[i % len(choices)]}, distributions={name: Choice(choices)}, value=float(i)) for i in range(40)]  # fmt: skip
        optuna.create_study(storage=f"sqlite:///one-{name}.db", study_name="s").add_trials(same)
    (here / "empty.db").write_bytes(b"")
    (here / "words.txt").write_text("no journal\n")
    before = files(here)
    for words, what in (
        (("sqlite:///none.db",), "there is no file none.db"),
        (("none.db",), "there is no file none.db"),
        (("sqlite:///two.db",), "holds 2 studies: 'first', 'second'"),
        (("two.db", "--optuna-study", "secnod"), "did you mean 'second'"),
        (("pareto.db",), "2 objectives"),
        (("few.db",), "complete trials of 5"),
        (("none-yet.db",), "none-yet.db holds no Optuna study"),
        (("one-value.db",), "a parameter and the objective are both called 'value'; rename one"),
        (("one-mixup.db",), "no parameter of the study varies over its 40 complete trials"),
        (("sqlite:///empty.db",), "cannot be read as an Optuna storage"),
        (("words.txt",), "neither an SQLite file nor an Optuna journal"),
        (("nosuch://u:secret@host/db",), "cannot be read as an Optuna storage"),
        (("x.db", "--metric", "accuracy"), "leave out --factors"),
        (("x.db", "--table", "t.csv"), "two sources"),
        (("x.db", "--as", "mixup"), "COLUMN=ENCODING"),
        (("x.db", "--as", "mixpu=levels"), "did you mean 'mixup'"),
    ):
        said = ablate(capsys, "rank", "--optuna", *words)
        assert (said.code, said.err.count("\n")) == (2, 1), (words, said)
        assert what in said.err, words
        assert "secret" not in said.err
        assert files(here) == before, words
    said = ablate(capsys, "rank", "--optuna-study", "mine")
    assert said.code == 2
    assert "--optuna-study and --as go with" in said.err


def test_a_table_gets_a_page_as_well(capsys, here):
    draw = np.random.default_rng(0)
    lines = ["lr,mixup,accuracy"] + [f"{10 ** draw.uniform(-4, -1):.5f},{i % 2},{0.8 + 0.05 * (i % 2) + 0.01 * draw.normal()}" for i in range(40)]  # fmt: skip
    (here / "my runs (2).csv").write_text("\n".join(lines))
    said = ablate(
        capsys, "rank", "--table", "my runs (2).csv", "--factors", "lr,mixup", "--metric", "accuracy"
    )
    assert said.code == 0, said
    assert "lr: per SD" in said.out
    page = (here / "reports" / "my-runs-2" / "index.html").read_text()
    assert "1 helps" in page
    assert "Another program trained them" in page
    assert "ablate rank" not in page.split('id="reproduce"')[0]


def test_a_studys_report_is_not_overwritten(capsys, here):
    (here / "reports" / "mine").mkdir(parents=True)
    (here / "reports" / "mine" / "lr-find.json").write_text("{}")
    before = files(here)
    said = ablate(capsys, "rank", "--optuna", "x.db")
    assert said.code == 2
    assert "holds the report of a study" in said.err
    assert files(here) == before
