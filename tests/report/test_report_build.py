"""The files: complete, equal for equal ledgers, right against independent references, harmless in a spreadsheet."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from report_synthetic import TRUE_EFFECTS, Synthetic
from scipy import stats

from ablate.analysis.confirmed import confirmed
from ablate.export.winner import winner
from ablate.ledger.entry import STAGES, Entry, in_order
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run
from ablate.report.build import build
from ablate.report.collect import gather
from ablate.report.data import RANKING_COLUMNS
from ablate.report.documents import json_text, recipe_toml

FILES = {"index.html", "ranking.csv", "runs.csv", "curves.csv", "lr-find.json", "study.json", "recipe.toml"}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_promised_file_is_there(report):
    names = set(content(report))
    assert names >= FILES
    assert {name for name in names if not name.startswith("plots/")} == FILES
    for path in (report / "plots").iterdir():
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(" not in path.read_text(encoding="utf-8")


def test_the_same_ledger_gives_the_same_bytes_in_another_process(ledger, report, tmp_path):
    """Another hash seed, locale, time zone and working folder: nothing of these may show."""
    code = "import sys; from pathlib import Path; from ablate.report.build import build; build(Path(sys.argv[1]), Path(sys.argv[2]))"
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "77",
        "TZ": "Asia/Tokyo",
        "LC_ALL": "C.UTF-8",
        "MPLCONFIGDIR": str(tmp_path / "mpl"),
    }
    (tmp_path / "mpl").mkdir()
    (tmp_path / "mpl" / "matplotlibrc").write_text("font.size: 30\nsvg.fonttype: path\n")
    subprocess.run(
        [sys.executable, "-c", code, str(ledger), str(tmp_path / "again")],
        check=True,
        env=environment,
        cwd=tmp_path,
    )
    assert content(tmp_path / "again") == content(report)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("seed", range(2))
def test_whoever_finished_first_the_bytes_are_the_same(tmp_path, seed):
    study = Synthetic(trials=30, epochs=3)
    written = content(build(study.write(tmp_path / "a" / "digits.db"), tmp_path / "first").parent)
    random.Random(seed).shuffle(study.entries)
    again = content(build(study.write(tmp_path / "b" / "digits.db"), tmp_path / "second").parent)
    assert [name for name in written if written[name] != again[name]] == []
    assert written.keys() == again.keys()
    rows = read(tmp_path / "second" / "runs.csv")
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    assert stages == [stage for stage in STAGES if stage in stages]


def test_whoever_finished_first_the_same_run_is_exported():
    study = Synthetic(trials=30, epochs=3, stages=("search", "confirm"))
    recipe = next(entry.run.recipe for entry in study.entries if entry.arm == "winner")
    data = gather(study.facts, study.entries)
    there = {winner(data, entries, recipe=recipe).run for entries in (study.entries, study.entries[::-1])}
    assert len(there) == 1


@pytest.mark.usefixtures("undrawn")
def test_building_again_replaces_and_leaves_no_stale_plot(ledger, report, tmp_path):
    shutil.copytree(report, tmp_path, dirs_exist_ok=True)
    (tmp_path / "plots" / "old.svg").write_text("<svg/>")
    (tmp_path / "notes.txt").write_text("mine")
    build(ledger, tmp_path)
    contents, first = content(tmp_path), content(report)
    assert contents.pop("notes.txt") == b"mine"
    assert contents.keys() == first.keys()
    plots = [name for name in contents if name.startswith("plots/")]
    assert all(contents[name] != first[name] for name in plots), "every plot is written again"
    assert all(contents[name] == first[name] for name in contents.keys() - {*plots, "index.html"})


def test_ranking_has_exactly_the_columns_of_the_specification(report):
    rows = read(report / "ranking.csv")
    assert tuple(rows[0]) == RANKING_COLUMNS
    assert {row["estimand"] for row in rows} == {"average", "drop-one", "exploratory"}
    average = {row["trick"]: float(row["effect"]) for row in rows if row["estimand"] == "average"}
    assert average.keys() == TRUE_EFFECTS.keys()
    rank = stats.spearmanr([average[name] for name in TRUE_EFFECTS], list(TRUE_EFFECTS.values()))
    assert rank.statistic > 0.7
    for row in rows:
        assert float(row["low"]) <= float(row["effect"]) <= float(row["high"])


def test_runs_and_curves_hold_every_run(report, study):
    runs, curves = read(report / "runs.csv"), read(report / "curves.csv")
    entries = in_order(study.entries)
    assert [row["run"] for row in runs] == [entry.identity for entry in entries]
    assert list(runs[0])[:7] == ["run", "stage", "recipe", "seed", "wave", "outcome", "epochs"]
    assert list(runs[0])[-1] == "seconds"
    assert len(curves) == sum(len(curve) for entry in study.entries for curve in entry.result.curves.values())
    entry = entries[17]
    row = runs[17]
    for metric, value in entry.result.metrics.items():
        assert float(row[metric]) == value
    points = [float(c["value"]) for c in curves if c["run"] == entry.identity and c["metric"] == "train/loss"]
    assert points == list(entry.result.curves["train/loss"])


def test_the_gain_is_that_of_a_paired_t_test(study, data):
    arms = {arm: {} for arm in ("winner", "baseline")}
    for entry in study.entries:
        if entry.arm in arms and entry.result.outcome == "complete":
            arms[entry.arm][entry.run.seed] = entry.result.metrics["test/accuracy"]
    seeds = sorted(arms["winner"].keys() & arms["baseline"].keys())
    one, other = ([arms[arm][seed] for seed in seeds] for arm in ("winner", "baseline"))
    interval = stats.ttest_rel(one, other).confidence_interval(0.95)
    gain = data.confirm["gain"]
    assert gain["n"] == len(seeds)
    assert gain["effect"] == pytest.approx(np.mean(one) - np.mean(other))
    assert (gain["low"], gain["high"]) == pytest.approx((interval.low, interval.high))
    assert gain["wins"] == sum(a > b for a, b in zip(one, other, strict=True))


def test_drop_one_has_the_pooled_variance_of_arms_that_scatter_alike(study, data):
    """A two-way table of arms and seeds, by hand: 8 or 12 degrees of freedom instead of 4."""
    values = data.confirm["values"]
    arms = [arm for arm in values if arm != "baseline"]
    wide = np.array([[values[arm][seed] for seed in values["winner"]] for arm in arms])
    left = wide - wide.mean(axis=0) - wide.mean(axis=1, keepdims=True) + wide.mean()
    df = (wide.shape[0] - 1) * (wide.shape[1] - 1)
    half = stats.t.ppf(0.975, df) * np.sqrt(np.square(left).sum() / df * 2 / wide.shape[1])
    row = data.ranking.set_index(["trick", "estimand"]).loc[("translate", "drop-one")]
    effect = wide[0].mean() - wide[arms.index("without translate")].mean()
    assert (row["low"], row["high"]) == pytest.approx((effect - half, effect + half))
    assert "pooled variance" in row["note"]


@pytest.mark.parametrize("spoilt", ["unequal", "failed"])
def test_drop_one_is_a_paired_t_test_where_arms_scatter_unequally_or_fail(spoilt):
    draw = np.random.default_rng(0)
    arms = {"winner": {"momentum": {}, "a": {}, "b": {}}, "without a": {"momentum": {}, "b": {}}, "without b": {"momentum": {}, "a": {}}}  # fmt: skip
    entries = []
    for arm, tricks in arms.items():
        wild = 20.0 if spoilt == "unequal" and arm == "without b" else 1.0
        for seed in range(10):
            lost = spoilt == "failed" and arm == "without b" and seed == 0
            metrics = {} if lost else {"validation/accuracy": 0.9 + 0.001 * wild * draw.normal()}
            outcome = Outcome.DIVERGED if lost else Outcome.COMPLETE
            entries.append(
                Entry(Run("t", Recipe(tricks), seed, 1), Result(outcome, metrics), "confirm", arm=arm)
            )
    fact = {"arms": arms, "seeds": list(range(10))}
    document, table = confirmed(fact, entries, "validation/accuracy", higher=True)
    values = document["values"]
    one, other = ([values[arm][seed] for seed in values["winner"]] for arm in ("winner", "without a"))
    interval = stats.ttest_rel(one, other).confidence_interval(0.95)
    row = table.set_index("trick").loc["a"]
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert "pooled" not in row["note"]


def test_the_winner_as_toml_is_the_confirmed_recipe(report, study):
    recipe = tomllib.loads((report / "recipe.toml").read_text(encoding="utf-8"))
    assert recipe == study.facts["confirm"]["arms"]["winner"]


def test_json_is_strict(report):
    def refuse(constant):
        raise AssertionError(constant)

    for name in ("lr-find.json", "study.json"):
        document = json.loads((report / name).read_text(encoding="utf-8"), parse_constant=refuse)
        assert document
    stages = json.loads((report / "study.json").read_text(encoding="utf-8"))["stages"]
    assert stages["rank"]["runs"] == 24
    assert json.loads(json_text({"a": float("nan"), "b": [float("inf")], "c": "</script>"})) == {
        "a": None, "b": [None], "c": "</script>",
    }  # fmt: skip
    assert "</script" not in json_text({"c": "</script>"})


@pytest.mark.parametrize(
    "name", ["plain", "a.b", 'quo"te', "line\nbreak", "del\x7f", "ünï", "back\\slash", "]"]
)
def test_toml_survives_any_name_and_text(name):
    recipe = {name: {name: name, "n": 3, "x": 1e-7, "on": True, "big": float("inf")}, "bare": {}}
    assert tomllib.loads(recipe_toml(recipe, "a\nstudy")) == recipe


def test_an_empty_ledger_gives_a_report(tmp_path):
    from ablate.ledger.store import Ledger

    with Ledger.open(tmp_path / "new.db", write=True) as opened:
        opened.put("study", {"name": "new", "task": "digits", "metric": "validation/accuracy"})
    page = build(tmp_path / "new.db", tmp_path / "out")
    assert "No run has finished yet" in page.read_text(encoding="utf-8")
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_file()} == FILES
    assert read(tmp_path / "out" / "ranking.csv") == []


def test_a_folder_that_cannot_be_made_is_one_line(ledger, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        build(ledger, tmp_path / "file" / "report")


def test_a_missing_ledger_writes_nothing(tmp_path):
    with pytest.raises(InputError):
        build(tmp_path / "none.db", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_thousand_runs_take_seconds_and_stay_small(tmp_path):
    ledger = Synthetic(trials=900, waves=3).write(tmp_path / "large.db")
    began = time.process_time()
    page = build(ledger, tmp_path / "out")
    assert time.process_time() - began < 10  # 5 s on a quiet machine; CI shares its cores
    assert page.stat().st_size < 1_500_000
    assert page.read_text(encoding="utf-8").count("<tr>") < 400
