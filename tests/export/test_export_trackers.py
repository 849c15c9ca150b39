"""Runs for other programs, each read back by the real program."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.export.runs import TrackedRun, tracked
from ablate.export.trackers import needed, to_mlflow, to_parquet, to_tensorboard, to_wandb
from ablate.ledger.entry import Entry
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run

METRIC = "validation/accuracy"


def entry(trial: int, outcome: Outcome = Outcome.COMPLETE, value: float = 0.5) -> Entry:
    recipe = Recipe(
        {"adam": {"lr": 0.001 * (trial + 1)}, **({"dropout": {"p": 0.3, "profile": "flat"}} if trial else {})}
    )
    curves = {METRIC: (0.25, value), "train/loss": (2.0, float("nan"))}
    result = Result(outcome, {METRIC: value, "validation/loss": float("nan")}, curves, {}, 2, 1.5)
    return Entry(Run("tiny", recipe, trial, 2), result, "search", 0, trial, "")


ENTRIES = [entry(0), entry(1, value=0.75), entry(2, Outcome.DIVERGED, float("nan"))]


@pytest.fixture
def runs() -> list[TrackedRun]:
    return tracked(ENTRIES)


def test_runs_have_settings_finite_metrics_and_curves(runs):
    assert [run.status for run in runs] == ["FINISHED", "FINISHED", "FAILED"]
    assert runs[1].settings == {"seed": 1, "epochs": 2, "adam": True, "adam.lr": 0.002, "dropout": True, "dropout.p": 0.3, "dropout.profile": "flat"}  # fmt: skip
    assert runs[0].metrics == {METRIC: 0.5}
    assert list(runs[0].points()) == [("train/loss", 1, 2.0), (METRIC, 1, 0.25), (METRIC, 2, 0.5)]
    assert runs[2].name == "search: trial 2, seed 2"


def test_a_missing_package_is_told_with_the_extra():
    with pytest.raises(InputError, match=r"needs the package nothing; pip install 'ablate\[nothing\]'"):
        needed("ablate_no_such_package", "nothing")
    with pytest.raises(InputError, match=r"needs the package pyarrow; pip install 'ablate\[parquet\]'"):
        needed("ablate_no_such_package", "parquet")


@pytest.mark.filterwarnings("ignore")  # MLflow's own: what it uses of SQLAlchemy is deprecated
def test_mlflow_reads_its_store(runs, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")
    pytest.importorskip("sqlalchemy")
    for _ in range(2):  # once more adds nothing
        path = to_mlflow(runs, "tiny", tmp_path)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}")
    experiment = client.get_experiment_by_name("tiny")
    by_identity = {run.data.tags["ablate.run"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(by_identity) == {run.identity for run in runs}
    best = by_identity[runs[1].identity]
    assert best.info.status == "FINISHED"
    assert best.data.params["dropout.p"] == "0.3"
    assert best.data.metrics[f"scored/{METRIC}"] == 0.75
    history = client.get_metric_history(best.info.run_id, METRIC)
    assert [(point.step, point.value) for point in history] == [(1, 0.25), (2, 0.75)]
    assert by_identity[runs[2].identity].info.status == "FAILED"


def test_tensorboard_reads_its_event_files(runs, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):
        place = to_tensorboard(runs, "tiny", tmp_path)
    events = EventAccumulator(str(place / "search" / runs[1].identity))
    events.Reload()
    assert [(one.step, pytest.approx(one.value)) for one in events.Scalars(METRIC)] == [(1, 0.25), (2, 0.75)]
    assert [one.value for one in events.Scalars(f"scored/{METRIC}")] == [0.75]


def test_wandb_keeps_its_runs_offline(runs, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    for _ in range(2):
        place = to_wandb(runs[:1], "tiny", tmp_path)
    (folder,) = place.glob("offline-run-*")
    assert folder.name.endswith(runs[0].identity)
    (log,) = folder.glob("*.wandb")
    assert METRIC.encode() in log.read_bytes()


def test_parquet_reads_back_as_it_was(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pandas as pd

    frame = pd.DataFrame({"run": ["a", "b"], METRIC: [0.1, float("nan")], "epochs": [1, 2]})
    (path,) = to_parquet({"runs": frame}, tmp_path)
    assert path == Path(tmp_path) / "runs.parquet"
    pd.testing.assert_frame_equal(pd.read_parquet(path), frame)
