"""The validation on real training, in small: plug-ins by the public entry, one A/A and one planted study, resumed."""

from __future__ import annotations

import json
import sys

import pytest

from ablate.catalogue import literal
from bench.statistics import real
from bench.statistics.real_figures import aa_figures, by_trick, planted_figures


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("validation")
    real.lay_out(folder)
    return folder, real.measure(folder, dict.fromkeys(real.KINDS, 1), 1)


def test_tricks_that_do_nothing_are_called_nothing(measured):
    _, rows = measured
    assert {row["trick"] for row in rows["aa"]} == {*real.KINDS["aa"], "placebo"}
    assert {row["verdict"] for row in rows["aa"]} <= {"no measurable effect", "undecided"}
    # Renumbering changes every run: equal runs would make the study trivial.
    assert len({round(row["effect"], 9) for row in rows["aa"]}) > 3
    assert all(row["high"] > row["low"] for row in rows["aa"])


def test_planted_tricks_come_out_in_their_order(measured):
    _, rows = measured
    planted = {row["trick"]: row for row in rows["planted"]}
    assert planted["more_data"]["verdict"] == "helps"
    assert planted["wrong_labels_10"]["verdict"] == "hurts"
    assert planted["placebo"]["verdict"] in ("no measurable effect", "undecided")
    assert planted["wrong_labels_10"]["effect"] < planted["wrong_labels_2"]["effect"] < planted["more_data"]["effect"]  # fmt: skip
    assert all(figure.met for figure in planted_figures(rows["planted"]) if figure.n > 1)


def test_the_figures_count_what_they_say():
    row = {
        "kind": "aa",
        "seed": 0,
        "effect": 0.1,
        "low": -0.1,
        "high": 0.3,
        "margin": 1,
        "sigma": 1,
        "runs": 24,
    }
    rows = [{**row, "seed": seed, "trick": trick, "verdict": "undecided"} for seed in range(40) for trick in ("a", "placebo")]  # fmt: skip
    assert [figure.value for figure in aa_figures(rows)] == [0, 0, 1, 0]
    called = [
        {**r, "verdict": "helps", "low": 0.05} if r["seed"] < 20 and r["trick"] == "a" else r for r in rows
    ]
    figures = aa_figures(called)
    assert [figure.value for figure in figures] == [0.5, 0, 0.5, 0]
    assert [figure.met for figure in figures] == [False, True, False, True]
    assert by_trick(rows)[2].startswith("| a | +10.00 (+10.00 to +10.00)")


def test_the_plugins_are_tricks_by_the_public_entry(measured):
    folder, _ = measured
    points = (folder / "ablate_planted-0.dist-info" / "entry_points.txt").read_text()
    for name in (*real.KINDS["aa"], *real.KINDS["planted"]):
        assert f"{name} = {name}\n" in points
        assert literal.read(folder / f"{name}.py").name == name


def test_a_second_run_trains_nothing(measured, monkeypatch):
    """Resumed from the ledgers: the same rows, read by a process that could train nothing."""
    folder, rows = measured
    seen = []

    class Reading:
        def __init__(self, command, **kept):
            self.returncode = 0
            seen.append(command)
            code = (
                "import ablate.lanes.training as t\n"
                "def no(*a, **k): raise SystemExit(7)\n"
                "t.Training.epoch = no\n"
                "from pathlib import Path\n"
                "from bench.statistics import real\n"
                f"real.work(Path({str(folder)!r}), [('aa', 0)])"
            )
            self.inner = real_popen([sys.executable, "-c", code], **kept)

        def communicate(self):
            out = self.inner.communicate()
            self.returncode = self.inner.returncode
            return out

    real_popen = real.subprocess.Popen
    monkeypatch.setattr(real.subprocess, "Popen", Reading)
    again = real.measure(folder, {"aa": 1}, 1)
    assert len(seen) == 1
    assert json.dumps(again["aa"]) == json.dumps(rows["aa"])
