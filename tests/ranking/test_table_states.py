"""States, repeated rows and cells of other trackers' exports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ablate.ranking.tables.csv_reader import read_table
from ablate.ranking.tables.external import TableOptions, analyse_runs
from ablate.ranking.tables.run_states import Finished, parse_finished, run_outcomes
from ablate.records.errors import InputError


def state_outcomes(*words: str, finished: str = "", column: str = "status") -> list[str]:
    outcomes, _ = run_outcomes(pd.DataFrame({column: list(words)}), parse_finished(finished))
    return list(outcomes)


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        ("finished", "complete"), ("FINISHED", "complete"), ("TrialState.COMPLETE", "complete"), ("StatusType.SUCCESS", "complete"),
        ("<TrialState.COMPLETE: 1>", "complete"), ("JobStatus.COMPLETED", "complete"), ("SUCCEEDED", "complete"), ("TERMINATED", "complete"),
        ("Done", "complete"), ("COMPLETED (exit 0)", "complete"), ("EARLY_STOPPED", "unfinished"), ("EarlyStopped", "unfinished"),
        ("Stopped", "unfinished"), ("TIMEOUT", "unfinished"), ("ABANDONED", "unfinished"), ("CANCELED", "unfinished"),
        ("CANCELLED by 1000", "unfinished"), ("NODE_FAIL", "unfinished"), ("TrialState.PRUNED", "unfinished"), ("in_progress", "unfinished"),
        ("Error", "failed"), ("StatusType.CRASHED", "failed"), ("OUT_OF_MEMORY", "out_of_memory"), ("OOMKilled", "out_of_memory"),
        ("diverged", "diverged"),
    ],
)  # fmt: skip
def test_the_words_of_other_trackers(word: str, outcome: str) -> None:
    assert state_outcomes(word) == [outcome]


def test_terminated_beside_a_word_for_finished_was_ended_by_somebody() -> None:
    assert state_outcomes("terminated", "completed") == ["unfinished", "complete"]


@pytest.mark.parametrize("words", [("1", "1", "3"), ("True", "False"), ("0", "0"), ("1.0", "2.0")])
def test_coded_states_are_asked_about(words: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="--finished"):
        state_outcomes(*words)


def test_finished_names_the_states_that_count() -> None:
    assert state_outcomes("1", "3", "1", finished="1.0") == ["complete", "unfinished", "complete"]
    assert state_outcomes("True", "False", finished="true") == ["complete", "unfinished"]
    assert state_outcomes("halted", "crashed", finished="halted") == ["complete", "failed"]
    assert state_outcomes("sleeping", "3", finished="any") == ["complete", "complete"]
    assert state_outcomes("a", "b", finished="phase=b", column="phase") == ["unfinished", "complete"]
    for text, says in (
        ("2", "no run has a state"),
        ("gone=1", "unknown column of states"),
        (",", "does not understand"),
    ):
        with pytest.raises(InputError, match=says):
            state_outcomes("1", "3", finished=text)
    with pytest.raises(InputError, match="none has a usual name; name it: --finished COLUMN=WORDS"):
        state_outcomes("1", "3", finished="1", column="phase")


def test_a_factor_called_state_is_no_state() -> None:
    frame = pd.DataFrame({"state": ["Ohio", "Utah"]})
    assert list(run_outcomes(frame, roles={"state"})[0]) == ["complete", "complete"]
    with pytest.raises(InputError, match=r"not known \(line 0\).*--finished Ohio"):
        run_outcomes(frame)


def test_flags_and_constraints_of_exports() -> None:
    flags = pd.DataFrame({"done": [True, False]})
    assert list(run_outcomes(flags)[0]) == ["complete", "unfinished"]
    for column, values in (
        ("system_attrs_constraints", ["[384.0]", "[-1.0, 0.0]"]),
        ("system_attrs_constraints:memory", [3.0, -1.0]),
    ):
        outcomes, notes = run_outcomes(pd.DataFrame({column: values, "state": "COMPLETE"}))
        assert list(outcomes) == ["infeasible", "complete"]
        assert "1 of 2 trials break a constraint" in " ".join(notes)


def history(runs: int = 8, epochs: int = 6) -> pd.DataFrame:
    draw = np.random.default_rng(1)
    rows = [
        (f"name-{i % 2}", f"id{i}", "finished", epoch, i % 2, 80 + 2 * level + 0.02 * draw.normal())
        for i, level in enumerate(draw.normal(size=runs))
        for epoch in range(1, epochs + 1)
    ]
    return pd.DataFrame(rows, columns=["name", "run_id", "state", "epoch", "aug", "acc"])


def last_rows(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["epoch"] == frame["epoch"].max()]


def effect(frame: pd.DataFrame, **options) -> pd.Series:
    return analyse_runs(frame, ["aug"], "acc", "higher", TableOptions(**options)).analysis.table.iloc[0]


def test_a_history_counts_each_run_once() -> None:
    frame = history()
    whole, expected = effect(frame), effect(last_rows(frame))
    assert (whole["low"], whole["high"], whole["runs"]) == pytest.approx(
        (expected["low"], expected["high"], 8)
    )
    mixed = frame.sample(frac=1, random_state=0)
    assert effect(mixed)["low"] == pytest.approx(expected["low"])
    assert effect(frame, run="none")["runs"] == len(frame)
    ray = frame.rename(columns={"run_id": "trial_id", "epoch": "training_iteration"})
    assert effect(ray)["runs"] == 8


def test_a_logger_with_blank_rows_keeps_the_last_known_value() -> None:
    """Lightning's CSVLogger: a training row without a validation metric follows each validation row."""
    frame = history()
    training = frame.assign(acc=np.nan, epoch=frame["epoch"] + 0.5)
    assert effect(pd.concat([frame, training]))["low"] == pytest.approx(effect(last_rows(frame))["low"])


def test_a_written_nan_is_a_divergence_and_a_blank_is_not(tmp_path: Path) -> None:
    frame = history().astype({"acc": object})
    frame.loc[frame["run_id"].eq("id3") & frame["epoch"].eq(6), "acc"] = "nan"
    frame.loc[frame["run_id"].eq("id4") & frame["epoch"].eq(6), "acc"] = ""
    frame.to_csv(tmp_path / "t.csv", index=False)
    table, _ = read_table(tmp_path / "t.csv")
    analysis = analyse_runs(table, ["aug"], "acc", "higher").analysis
    assert (analysis.runs, analysis.used, analysis.failed) == (8, 7, 1)


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        (lambda f: f.drop(columns="epoch"), {}, "'run_id'.*--run COLUMN"),
        (lambda f: f.drop(columns=["run_id", "name"]).assign(seed=np.arange(48) // 12), {}, "'epoch' seems to count.*--run"),
        (lambda f: f.assign(aug=np.arange(48) % 2), {"run": "run_id"}, "'aug' changes within a run"),
        (lambda f: f, {"run": "rnu_id"}, "did you mean 'run_id'"),
        (lambda f: f, {"epoch": "epohc"}, "did you mean 'epoch'"),
        (lambda f: f.assign(note="x"), {"run": "run_id", "epoch": "note"}, "does not hold numbers"),
    ],
)  # fmt: skip
def test_rows_that_repeat_a_run_are_asked_about(change, options: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        effect(change(history()), **options)


def test_names_that_tell_more_than_settings_are_asked_about_and_copies_are_not() -> None:
    """Epochs that no column counts: five rows of each of sixteen names are not eighty runs."""
    draw = np.random.default_rng(0)
    rows = [(f"run{i}", i % 2, draw.normal()) for i in range(16) for _ in range(5)]
    frame = pd.DataFrame(rows, columns=["name", "aug", "acc"])
    with pytest.raises(InputError, match=r"share a value of 'name' \(80 rows, 16 values\).*--run"):
        effect(frame)
    assert effect(frame, run="name")["runs"] == 16
    assert effect(frame, run="none")["runs"] == 80
    last = frame.groupby("name", sort=False).tail(1)
    assert effect(pd.concat([last, last]))["runs"] == 16
    assert effect(frame.assign(name=frame["aug"].map({0: "plain", 1: "augmented"})))["runs"] == 80


@pytest.mark.parametrize("huge", [np.finfo(float).max, -np.finfo(float).max, 1e39, np.inf])
def test_a_number_that_stands_for_infinity_is_a_failed_run(huge: float) -> None:
    frame = pd.DataFrame({"aug": np.arange(24) % 2, "acc": np.random.default_rng(0).normal(size=24)})
    expected = effect(frame.iloc[:-4])
    frame.loc[20:, "acc"] = huge
    analysis = analyse_runs(frame, ["aug"], "acc", "higher").analysis
    assert (analysis.used, analysis.failed) == (20, 4)
    assert analysis.table.iloc[0]["effect"] == pytest.approx(expected["effect"])


def test_names_that_several_runs_share_do_not_merge_them() -> None:
    """A configuration's name, beside an id or with epochs at which runs stopped early."""
    frame = last_rows(history(24))
    assert effect(frame)["runs"] == 24
    stopped = frame.drop(columns="run_id").assign(epoch=np.arange(24) * 7 % 31)
    assert effect(stopped)["runs"] == 24


def test_dummy_columns_are_one_choice() -> None:
    draw = np.random.default_rng(0)
    choice = pd.Series(draw.choice(["adam", "lion", "sgd"], 90))
    frame = pd.get_dummies(choice, prefix="optimizer").assign(
        acc=choice.eq("sgd") * 0.1 + 0.01 * draw.normal(size=90)
    )
    analysis = analyse_runs(frame, list(frame.columns[:3]), "acc", "higher").analysis
    rows = {row["level"]: row for row in analysis.table.to_dict("records")}
    assert set(rows) == {"lion", "sgd"}
    means = frame["acc"].groupby(choice).mean()
    assert rows["sgd"]["effect"] == pytest.approx(means["sgd"] - means["adam"])
    dropped = pd.get_dummies(choice, prefix="optimizer", drop_first=True).assign(acc=frame["acc"])
    apart = analyse_runs(dropped, list(dropped.columns[:2]), "acc", "higher").analysis.table
    assert apart["effect"].to_numpy() == pytest.approx([rows["lion"]["effect"], rows["sgd"]["effect"]])


def test_many_levels_get_a_note() -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"arch": [f"net{i % 20}" for i in range(100)], "acc": draw.normal(size=100)})
    analysis = analyse_runs(frame, ["arch"], "acc", "higher").analysis
    assert len(analysis.table) == 19
    assert any("20 levels" in note for note in analysis.warnings)
    frame = pd.DataFrame({"arch": [f"net{i % 501}" for i in range(1002)], "acc": draw.normal(size=1002)})
    with pytest.raises(InputError, match="501 different values, and at most 500 are compared; bin it"):
        analyse_runs(frame, ["arch"], "acc", "higher")


def test_finished_is_ignored_without_a_request() -> None:
    assert parse_finished("") == Finished()
