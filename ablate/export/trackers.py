"""A ledger's runs for experiment trackers: MLflow (an SQLite store), Weights & Biases (offline) and TensorBoard.

Each needs its package, an extra of ablate's: `pip install ablate[mlflow]`. Nothing is sent anywhere.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablate.export.runs import FINISHED, TrackedRun
from ablate.records.errors import InputError
from ablate.records.files import write_bytes

LIMIT = 900
"""Metrics and parameters per batch: MLflow's limits are 1,000 and 100."""
PARAMETERS = 100


PACKAGES = {"parquet": "pyarrow", "mlflow": "mlflow-skinny"}
"""An extra -> the package that it installs, where that has another name."""


def needed(module: str, extra: str) -> Any:
    """The module, if its package is installed. Raises InputError that names the package and the extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"this export needs the package {PACKAGES.get(extra, extra)}",
            hint=f"pip install 'ablate[{extra}]'",
        ) from error


def to_mlflow(runs: Sequence[TrackedRun], study: str, folder: Path) -> Path:
    """Write `folder/mlflow.db`, an SQLite tracking store with the experiment `study`; a run that is there already is kept.

    See it with: mlflow ui --backend-store-uri sqlite:///PATH. Raises InputError without the package.
    """
    mlflow = needed("mlflow", "mlflow")
    entities = needed("mlflow.entities", "mlflow")
    path = folder / "mlflow.db"
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{path.absolute()}")
    existing = client.get_experiment_by_name(study)
    artifacts = (folder / "mlflow-artifacts").absolute().as_uri()
    experiment = (
        existing.experiment_id if existing else client.create_experiment(study, artifact_location=artifacts)
    )
    there = _in_mlflow(client, experiment)
    for number, run in enumerate(run for run in runs if run.identity not in there):
        begun = client.create_run(
            experiment, start_time=number, run_name=run.name,
            tags={"ablate.run": run.identity, "ablate.stage": run.stage, "ablate.outcome": str(run.outcome)},
        ).info.run_id  # fmt: skip
        parameters = [entities.Param(name, str(value)) for name, value in run.settings.items()]
        metrics = [entities.Metric(name, value, 0, epoch) for name, epoch, value in run.points()]
        last = max((epoch for _, epoch, _ in run.points()), default=0)
        metrics += [entities.Metric(f"scored/{name}", value, 0, last) for name, value in run.metrics.items()]
        for start in range(0, len(parameters), PARAMETERS):
            client.log_batch(begun, params=parameters[start : start + PARAMETERS])
        for start in range(0, len(metrics), LIMIT):
            client.log_batch(begun, metrics=metrics[start : start + LIMIT])
        client.set_terminated(begun, status=run.status, end_time=number + round(1000 * run.seconds))
    return path


def _in_mlflow(client: Any, experiment: str) -> set[str]:
    identities: set[str] = set()
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        identities |= {run.data.tags.get("ablate.run", "") for run in page}
        token = page.token
        if not token:
            return identities


def to_wandb(runs: Sequence[TrackedRun], study: str, folder: Path) -> Path:
    """Write `folder/wandb/`, a folder of offline runs of the project `study`, for upload with `wandb sync`.

    Raises InputError without the package.
    """
    wandb = needed("wandb", "wandb")
    folder.mkdir(parents=True, exist_ok=True)
    there = {path.name.rpartition("-")[2] for path in (folder / "wandb").glob("offline-run-*")}
    quiet = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        save_code=False,
        x_disable_stats=True,
        x_disable_meta=True,
    )
    for run in (run for run in runs if run.identity not in there):
        begun = wandb.init(
            project=study, id=run.identity, name=run.name, group=run.stage, tags=[str(run.outcome)], config=run.settings,
            dir=str(folder), mode="offline", settings=quiet, reinit="finish_previous",
        )  # fmt: skip
        by_epoch: dict[int, dict[str, float]] = {}
        for metric, epoch, value in run.points():
            by_epoch.setdefault(epoch, {})[metric] = value
        for epoch, values in sorted(by_epoch.items()):
            begun.log(values, step=epoch)
        begun.summary.update({f"scored/{name}": value for name, value in run.metrics.items()})
        begun.finish(exit_code=0 if run.status == FINISHED else 1)
    return folder / "wandb"


def to_tensorboard(runs: Sequence[TrackedRun], study: str, folder: Path) -> Path:
    """Write `folder/tensorboard/STAGE/RUN/`, event files with curves, settings and final metrics. See it with: tensorboard --logdir PATH.

    Raises InputError without the package.
    """
    del study
    needed("tensorboard", "tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    place = folder / "tensorboard"
    for run in runs:
        run_folder = place / run.stage / run.identity
        if run_folder.is_dir() and any(run_folder.iterdir()):
            continue
        writer = SummaryWriter(str(run_folder))
        for metric, epoch, value in run.points():
            writer.add_scalar(metric, value, epoch)
        scored = {f"scored/{name}": value for name, value in run.metrics.items()}
        if scored:
            writer.add_hparams(
                {name: _plain(value) for name, value in run.settings.items()}, scored, run_name="."
            )
        writer.close()
    return place


def _plain(value: Any) -> bool | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)


def to_parquet(tables: dict[str, Any], folder: Path) -> list[Path]:
    """Write each pandas frame of `tables` as `folder/NAME.parquet`. Raises InputError without pyarrow."""
    needed("pyarrow", "parquet")
    written = []
    for name, frame in tables.items():
        path = folder / f"{name}.parquet"
        write_bytes(path, frame.to_parquet(None, engine="pyarrow", index=False))
        written.append(path)
    return written
