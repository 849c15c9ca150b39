"""`ablate rank --table`: runs that another program trained."""

import csv
import json
from itertools import product
from pathlib import Path

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
    found = json.loads(said.out)
    by_name = {row["trick"]: row for row in found["ranking"]}
    assert by_name["dropout"]["verdict"] == "helps"
    assert by_name["dropout"]["low"] < 0.05 < by_name["dropout"]["high"]
    assert by_name["mixup"]["verdict"] == "no measurable effect"
    assert (found["runs"], found["used"], found["failed"]) == (40, 39, 1)
    written = list(csv.DictReader((here / "reports" / "runs" / "ranking.csv").read_text().splitlines()))
    assert [row["trick"] for row in written] == [row["trick"] for row in found["ranking"]]


def test_lower_is_better_turns_the_sign(capsys, here):
    found = json.loads(ablate(capsys, "rank", "--table", "runs.csv", *ARGS, "--lower", "--json").out)
    assert {row["trick"]: row["verdict"] for row in found["ranking"]}["dropout"] == "hurts"


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
