"""`ablate rank --table`: runs that another program trained."""

import csv
import json
from itertools import product
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from cli_samples import ablate

ARGS = ("--factors", "dropout,mixup", "--metric", "accuracy", "--seed-column", "seed")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A full factorial over ten seeds: dropout is worth 0.05, mixup nothing; one run crashed."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(1)
    rows = ["dropout,mixup,seed,accuracy,state"]
    for seed, dropout, mixup in product(range(10), (0, 1), (0, 1)):
        value = 0.8 + 0.05 * dropout + 0.002 * draw.normal()
        crashed = (seed, dropout, mixup) == (3, 0, 1)
        rows.append(
            f"{dropout},{mixup},{seed},{'' if crashed else value},{'crashed' if crashed else 'finished'}"
        )
    (tmp_path / "runs.csv").write_text("\n".join(rows))
    return tmp_path


def test_the_planted_effect_is_found(capsys, here):
    said = ablate(capsys, "rank", "--table", "runs.csv", *ARGS, "--json")
    assert said.code == 0, said
    document = json.loads(said.out)
    by_name = {row["trick"]: row for row in document["ranking"]}
    assert by_name["dropout"]["verdict"] == "helps"
    assert by_name["dropout"]["low"] < 0.05 < by_name["dropout"]["high"]
    assert by_name["mixup"]["verdict"] == "no measurable effect"
    assert (document["runs"], document["used"], document["failed"]) == (40, 39, 1)
    written = list(csv.DictReader((here / "reports" / "runs" / "ranking.csv").read_text().splitlines()))
    assert [row["trick"] for row in written] == [row["trick"] for row in document["ranking"]]


def test_lower_is_better_turns_the_sign(capsys, here):
    document = json.loads(ablate(capsys, "rank", "--table", "runs.csv", *ARGS, "--lower", "--json").out)
    assert {row["trick"]: row["verdict"] for row in document["ranking"]}["dropout"] == "hurts"


def test_the_direction_of_a_loss_is_asked_for(capsys, here):
    text = (here / "runs.csv").read_text().replace("accuracy", "val_loss", 1)
    (here / "runs.csv").write_text(text)
    words = ("rank", "--table", "runs.csv", "--factors", "dropout,mixup", "--metric", "val_loss")
    asked = ablate(capsys, *words)
    assert asked.code == 2
    assert "--lower" in asked.err
    for option, verdict in (("--lower", "hurts"), ("--no-lower", "helps")):
        document = json.loads(ablate(capsys, *words, option, "--json").out)
        assert {row["trick"]: row["verdict"] for row in document["ranking"]}["dropout"] == verdict


def test_shown_to_a_person(capsys, here):
    said = ablate(capsys, "rank", "--table", "runs.csv", *ARGS)
    assert "39 runs used of 40" in said.out
    assert "ranking.csv" in said.out


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--table", "none.csv", *ARGS), "none.csv"),
        (("--table", "runs.csv", "--factors", "dropout"), "--metric"),
        (("--table", "runs.csv", "--metric", "accuracy"), "--factors"),
        (("--table", "runs.csv", "--factors", "dropuot", "--metric", "accuracy"), "did you mean 'dropout'"),
    ],
)
def test_what_is_wrong_is_one_line_and_writes_nothing(capsys, here, words, what):
    said = ablate(capsys, "rank", *words)
    assert said.code == 2
    assert what in said.err
    assert said.err.count("\n") == 1
    assert not (here / "reports").exists()


def test_tuned_over_tasks_with_a_name_for_the_report(capsys, here):
    rows = ["task,opt,lr,seed,state,acc"]
    draw = np.random.default_rng(0)
    for task, opt, lr, seed in product("abcd", ("adam", "sgd"), (1, 2, 3), range(3)):
        best = 1 if opt == "adam" else 3
        fails = lr > best + 1
        value = 0.8 - 0.1 * (opt == "sgd") - 0.05 * abs(lr - best) + 0.003 * draw.normal()
        rows.append(f"{task},{opt},{lr},{seed},{0 if fails else 1},{'' if fails else value}")
    (here / "grid.csv").write_text("\n".join(rows))
    args = (
        "rank",
        "--table",
        "grid.csv",
        "--factors",
        "opt",
        "--metric",
        "acc",
        "--tune",
        "lr",
        "--block",
        "task",
    )
    asked = ablate(capsys, *args)
    assert asked.code == 2
    assert "--finished 1" in asked.err
    said = ablate(capsys, *args, "--seed-column", "seed", "--finished", "1", "--name", "tab")
    assert said.code == 0, said
    assert "opt: adam" in said.out
    assert "mean rank" in said.out
    folder = here / "reports" / "tab"
    for name in ("index.html", "ranking.csv", "blocks.csv", "ranks.csv", "tuning.csv"):
        assert (folder / name).exists(), name
    document = json.loads(ablate(capsys, *args, "--finished", "1", "--json").out)
    (row,) = document["ranking"]
    assert (row["level"], row["verdict"]) == ("sgd", "hurts")
    assert {(r["arm"], r["value"]) for r in document["tuning"]} == {("adam", "1"), ("sgd", "3")}


def test_options_of_a_table_need_a_table(capsys, here):
    for option in ("--tune", "--block", "--finished", "--run", "--epoch", "--factors", "--collapse"):
        said = ablate(capsys, "rank", option, "0" if option == "--collapse" else "x")
        assert said.code == 2
        assert f"{option} goes with --table" in said.err


MANY, WIDE = 20_000, 30
SECONDS = 20.0
"""Processor time; 200,000 rows took 22 s on a machine with a load of 20, imports included."""


def test_a_large_table_takes_seconds(capsys, here):
    draw = np.random.default_rng(2)
    names = [f"trick{number}" for number in range(WIDE - 2)]
    on, seeds = draw.integers(0, 2, (MANY, len(names))), draw.integers(0, 10, MANY)
    values = 0.8 + 0.02 * on[:, 0] + draw.normal(0, 0.01, MANY)
    rows = [",".join([*names, "seed", "accuracy"])]
    rows += [
        f"{','.join(map(str, row))},{seed},{value:.6f}"
        for row, seed, value in zip(on, seeds, values, strict=True)
    ]
    (here / "runs.csv").write_text("\n".join(rows))
    started = process_time()
    said = ablate(
        capsys, "rank", "--table", "runs.csv", "--factors", ",".join(names), "--metric", "accuracy",
        "--seed-column", "seed", "--json",
    )  # fmt: skip
    assert process_time() - started < SECONDS
    assert said.code == 0, said.err
    document = json.loads(said.out)
    assert document["used"] == MANY
    assert document["ranking"][0]["trick"] == "trick0"
