"""What exports hold: odd words, separators, copies, numbers, columns that move together. Each handled and told, or one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablate.ranking.tables.csv_reader import read_table
from ablate.ranking.tables.external import analyse_table
from ablate.records.errors import InputError


def runs(n: int = 48, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame({"mixup": draw.permutation(n) % 2, "ema": draw.permutation(n) % 2})
    frame["acc"] = 0.8 + 0.03 * frame["mixup"] + 0.005 * draw.normal(size=n)
    return frame


def analysed(path: Path, factors: str = "mixup,ema", **more):
    frame, notes = read_table(path)
    analysis = analyse_table(frame, factors.split(","), "acc", "higher", **more)
    return analysis, [*notes, *analysis.warnings]


def rows_of(analysis) -> dict:
    return {(row["trick"], row["level"]): row for row in analysis.table.to_dict("records")}


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda text: "\ufeff" + text, ""),
        (lambda text: text.replace("\n", "\r\n"), ""),
        (lambda text: text.replace(",", ";"), "semicolons separate"),
        (lambda text: text.replace(",", ";").replace(".", ","), "decimal sign is a comma"),
        (lambda text: text.replace(",", "\t"), "tabs separate"),
        (lambda text: text.replace("mixup,ema", " mixup , ema "), ""),
        (lambda text: text + "\n\n", ""),
    ],
)
def test_any_spelling_of_a_csv_says_the_same(tmp_path: Path, change, note: str) -> None:
    text = runs().to_csv(index=False)
    plain, other = tmp_path / "plain.csv", tmp_path / "other.csv"
    plain.write_text(text, encoding="utf-8")
    other.write_bytes(change(text).encode("utf-8"))
    one, _ = analysed(plain)
    two, notes = analysed(other)
    pd.testing.assert_frame_equal(one.table, two.table)
    assert note in " ".join(notes)


def test_true_and_false_in_every_spelling_are_two_levels(tmp_path: Path) -> None:
    frame = runs()
    words = np.array([["false", "False", "FALSE", "0"], ["true", "True", "TRUE", "1"]])
    frame["mixup"] = [words[value, i % 4] for i, value in enumerate(frame["mixup"])]
    frame.to_csv(tmp_path / "t.csv", index=False)
    analysis, _ = analysed(tmp_path / "t.csv")
    assert set(rows_of(analysis)) == {("mixup", "True"), ("ema", "1")}
    assert analysis.used == 48


def test_a_crash_written_into_the_metric_is_a_failed_run(tmp_path: Path) -> None:
    frame = runs().astype({"acc": object})
    frame.loc[3, "acc"], frame.loc[5, "acc"], frame.loc[8, "acc"] = "crashed", "NaN", ""
    frame["State"] = "finished"
    frame.loc[11, "State"] = "killed"
    frame.to_csv(tmp_path / "t.csv", index=False)
    analysis, notes = analysed(tmp_path / "t.csv")
    assert (analysis.used, analysis.failed, analysis.excluded) == (44, 3, 1)
    assert "1 runs have a word for 'acc' (crashed)" in " ".join(notes)


def test_the_word_none_is_a_level_and_the_reference(tmp_path: Path) -> None:
    frame = runs()
    frame["aug"] = np.where(np.arange(48) % 3 == 0, "flip", "None")
    frame.to_csv(tmp_path / "t.csv", index=False)
    analysis, _ = analysed(tmp_path / "t.csv", "mixup,aug")
    assert ("aug", "flip") in rows_of(analysis)
    assert analysis.used == 48


def test_capitals_make_different_levels_and_it_is_said() -> None:
    frame = runs().assign(optimizer=["SGD", "sgd", "adam"] * 16)
    warnings = analyse_table(frame, ["optimizer"], "acc", "higher").warnings
    assert any("'SGD' and 'sgd' differ only in capitals" in line for line in warnings)


def test_copies_count_once_where_runs_have_names_and_are_told_where_not() -> None:
    named = runs().assign(name=[f"run-{i}" for i in range(48)])
    doubled = pd.concat([named, named.iloc[:10]], ignore_index=True)
    analysis = analyse_table(doubled, ["mixup", "ema"], "acc", "higher")
    assert analysis.used == 48
    assert any("10 of 58 rows equal" in line and "counts once" in line for line in analysis.warnings)
    coarse = runs().assign(acc=lambda frame: frame["acc"].round(2))
    kept = analyse_table(coarse, ["mixup", "ema"], "acc", "higher")
    assert kept.used == 48
    assert any("interval is too narrow" in line for line in kept.warnings)


def test_columns_that_always_change_together_are_named() -> None:
    frame = runs().assign(twin=lambda frame: 1 - frame["mixup"])
    analysis = analyse_table(frame, ["mixup", "twin", "ema"], "acc", "higher")
    assert any("'mixup' and 'twin' always change together" in line for line in analysis.warnings)
    table = rows_of(analysis)
    assert np.isnan(table["mixup", "1"]["effect"])
    assert table["mixup", "1"]["verdict"] == "undecided"
    assert np.isfinite(table["ema", "1"]["effect"])


def test_a_number_is_a_slope_per_standard_deviation() -> None:
    """Against SciPy's simple regression on the same column."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"lr": 10 ** draw.uniform(-4, -1, 80), "depth": draw.integers(1, 5, 80)})
    frame["acc"] = 0.5 + 0.1 * np.log(frame["lr"]) + draw.normal(size=80)
    analysis = analyse_table(frame, ["lr"], "acc", "higher")
    row = rows_of(analysis)["lr", "per SD"]
    log = np.log(frame["lr"])
    assert row["effect"] == pytest.approx(stats.linregress(log, frame["acc"]).slope * log.std(ddof=1))
    assert "a factor of" in row["note"]
    assert any("'lr' is numeric (80 values)" in line for line in analysis.warnings)
    plain = analyse_table(frame, ["depth"], "acc", "lower")
    expected = -stats.linregress(frame["depth"], frame["acc"]).slope * frame["depth"].std(ddof=1)
    assert rows_of(plain)["depth", "per SD"]["effect"] == pytest.approx(expected)


def test_other_readings_of_a_number_on_request() -> None:
    draw = np.random.default_rng(1)
    frame = pd.DataFrame({"lr": 10 ** draw.uniform(-4, -1, 60), "depth": draw.integers(1, 4, 60)})
    frame["acc"] = draw.normal(size=60)
    encodings = {"lr": "split:0.01", "depth": "levels"}
    rows = rows_of(analyse_table(frame, ["lr", "depth"], "acc", "higher", encodings=encodings))
    assert set(rows) == {("lr", "> 0.01"), ("depth", "2"), ("depth", "3")}
    alone = analyse_table(frame, ["lr"], "acc", "higher", encodings={"lr": "split"})
    half = frame["lr"] > frame["lr"].median()
    expected = frame["acc"][half].mean() - frame["acc"][~half].mean()
    assert alone.table["effect"].iloc[0] == pytest.approx(expected)


def test_a_curve_is_told_and_a_line_is_not() -> None:
    draw = np.random.default_rng(2)
    x = np.linspace(-3, 3, 90)
    for bend, says in ((-0.3, True), (0.0, False)):
        frame = pd.DataFrame({"x": x, "acc": 0.2 * x + bend * x**2 + 0.3 * draw.normal(size=90)})
        warnings = analyse_table(frame, ["x"], "acc", "higher").warnings
        assert any("does not act along a straight line" in line for line in warnings) is says


def test_a_setting_of_one_level_is_measured_within_it() -> None:
    """momentum exists for sgd only: its slope is sgd's, and the optimizers are compared at its mean."""
    draw = np.random.default_rng(3)
    frame = pd.DataFrame({"optimizer": draw.choice(["sgd", "adam", "lion"], 200)})
    sgd = frame["optimizer"] == "sgd"
    frame["momentum"] = np.where(sgd, draw.uniform(0, 1, 200), np.nan)
    frame["acc"] = 0.1 * sgd + 0.2 * frame["momentum"].fillna(0.5) + 0.01 * draw.normal(size=200)
    rows = rows_of(analyse_table(frame, ["optimizer", "momentum"], "acc", "higher"))
    row = rows["momentum", "per SD"]
    alone = stats.linregress(frame["momentum"][sgd], frame["acc"][sgd]).slope
    assert row["effect"] == pytest.approx(alone * frame["momentum"].std())
    assert "within optimizer = sgd" in row["note"]
    assert rows["optimizer", "sgd"]["effect"] == pytest.approx(0.1, abs=0.02)


def test_a_level_of_a_single_run_has_no_interval_to_feign() -> None:
    frame = runs().assign(kind=["a", "b"] * 24)
    frame.loc[7, "kind"] = "rare"
    analysis = analyse_table(frame, ["kind", "mixup"], "acc", "higher")
    assert [level for _, level in rows_of(analysis)] == ["b", "1"]
    assert any("'rare' of 'kind' has 1 finished run" in line for line in analysis.warnings)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"mixup,ema,acc\n1,0,0.5\n", "1 run of 1 has a value"),
        (b"mixup,ema,acc\n1,0,0.5\n1,1,0.5\n", "'mixup' has one value throughout"),
        (b"mixup,ema,acc\n1,0,0.5\n0,1,93.1%\n", "line 3 holds '93.1%'"),
        (b"mixup,ema,acc,state\n1,0,.5,finished\n0,1,.4,finnished\n", r"\(line 3\); did you mean 'finished'"),
        (b"mixup,mixup,acc\n1,0,0.5\n", "two columns called 'mixup'"),
        (b"mixup,ema,acc\n1,0,0.5\n1,0,0.5,9\n", "cannot be read"),
        (b"mixup,ema,acc\n1,0,0.5\n0,1\n", "line 3 of the table has 2 of 3 fields"),
        (b"\xff\xfem\x00i\x00", "not UTF-8"),
        (b"", "cannot be read"),
        (b"mixup,ema,acc\n", "no rows"),
        (b"mixup,ema,acc\n1,0,\n0,1,\n", "no complete run"),
    ],
)
def test_what_cannot_be_ranked_is_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        analysed(tmp_path / "t.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("encodings", "says"),
    [
        ({"lr": "levels"}, "not among the factors"),
        ({"mixup": "curve"}, "unknown encoding"),
        ({"mixup": "split:x"}, "names no number"),
        ({"word": "slope"}, "it holds words"),
        ({"ema": "log"}, "above zero"),
    ],
)
def test_a_reading_that_makes_no_sense_is_one_line(encodings: dict[str, str], says: str) -> None:
    frame = runs().assign(word=["a", "b"] * 24)
    with pytest.raises(InputError, match=says):
        analyse_table(frame, ["mixup", "ema", "word"], "acc", "higher", encodings=encodings)
