"""`ablate compare`: two recipes on paired seeds, resumed from its ledger."""

import json
from pathlib import Path

import pytest
from cli_samples import INLINE, TASK, ablate

from ablate.ledger.store import Ledger

GOOD = '[optimizer]\nname = "momentum"\nlr = 0.1\n'
BAD = '[optimizer]\nname = "momentum"\nlr = 0.000001\n'
COMMAND = ("compare", "good.toml", "bad.toml", "--task", "tiny.py:task", *INLINE)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.py").write_text(TASK)
    (tmp_path / "good.toml").write_text(GOOD)
    (tmp_path / "bad.toml").write_text(BAD)
    return tmp_path


def test_a_clear_difference_is_decided_and_resumed(capsys, here):
    first = ablate(capsys, *COMMAND, "--json")
    assert first.code == 0, first
    comparison = json.loads(first.out)
    assert comparison["verdict"] == "helps"
    assert comparison["low"] > 0
    (ledger,) = (here / "studies").glob("compare-*.db")
    with Ledger.open(ledger, write=False) as opened:
        entries = opened.entries()
    assert len(entries) == 2 * comparison["pairs"]
    assert {e.run.seed for e in entries if e.arm == "A"} == {e.run.seed for e in entries if e.arm == "B"}
    assert json.loads(ablate(capsys, *COMMAND, "--json").out) == comparison
    with Ledger.open(ledger, write=False) as opened:
        assert len(opened.entries()) == len(entries)


def test_shown_to_a_person(capsys, here):
    said = ablate(capsys, *COMMAND)
    assert "good.toml against bad.toml" in said.out
    assert "good.toml is better than bad.toml by 0." in said.out


@pytest.mark.parametrize("metric", ["validation/accuracy", "validation/loss"])
def test_the_better_recipe_is_named_whatever_the_order_and_the_metrics_direction(capsys, here, metric):
    (here / "small.toml").write_text(f'task = "tiny.py:task"\nmetric = "{metric}"\n')
    words = ("--task", "small.toml", *INLINE)
    for order in (("good.toml", "bad.toml"), ("bad.toml", "good.toml")):
        said = ablate(capsys, "compare", *order, *words)
        assert said.code == 0, said.err
        assert "good.toml is better than bad.toml by " in said.out


def test_runs_that_fail_count_as_a_constant_prediction(capsys, here):
    (here / "bad.toml").write_text(BAD.replace("0.000001", "1e30"))
    said = ablate(capsys, *COMMAND, "--json")
    assert said.code == 0, said.err
    comparison = json.loads(said.out)
    pairs = comparison["pairs"]
    assert comparison["failed"] == [0, pairs]
    assert pairs >= 5, "no pair is left out"
    assert comparison["verdict"] == "helps"
    assert (
        f"0 runs of A and {pairs} of B failed; a failed run counts as a constant prediction"
        in comparison["note"]
    )


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("compare", "good.toml", "good.toml"), "the same recipe"),
        (("compare", "good.toml", "none.toml"), "there is no recipe file none.toml"),
        ((*COMMAND, "--margin", "-1"), "above zero"),
    ],
)
def test_what_is_wrong_is_one_line_and_writes_nothing(capsys, here, words, what):
    said = ablate(capsys, *words)
    assert said.code == 2
    assert what in said.err
    assert said.err.count("\n") == 1
    assert not (here / "studies").exists()
