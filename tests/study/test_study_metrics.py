"""The metric that a study asks for is measured wherever it is looked at: every metric, stage and kind of task."""

import math
from pathlib import Path

import pytest
from study_samples import STUDY, TABULAR, place

from ablate.catalogue.registry import registry
from ablate.records import study as studies
from ablate.records.run import Outcome
from ablate.study.driver import STAGES
from ablate.tasks.metric_table import METRICS

REGRESSION = (
    TABULAR.replace("(x[:, 0] + 0.5 * x[:, 1] > 0).long()", "x[:, :1] + 0.5 * x[:, 1:2]")
    .replace("nn.Linear(8, 2)", "nn.Linear(8, 1)")
    .replace("train=(x, y)", 'train=(x, y), criterion="regression"')
)
DETECTION = """import ablate
from ablate.tasks.load import load

scenes = load("digit-scenes")
task = ablate.Task(
    scenes.model,
    train=(scenes.train.x[:32], scenes.train.y[:32]),
    validation=(scenes.validation.x[:16], scenes.validation.y[:16]),
    criterion="detection",
    epochs=2,
)
"""
ADVERSARIAL = """import ablate
import torch
from torch import nn

points = torch.randn(96, 2, generator=torch.Generator().manual_seed(1))
task = ablate.gan_task(
    lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)),
    lambda: nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)),
    points,
    latent=3,
    epochs=2,
    batch_size=16,
)
"""
TASKS = {"classification": TABULAR, "regression": REGRESSION}
OTHERS = {"detection": DETECTION, "adversarial": ADVERSARIAL}
SMALL = (
    STUDY.replace("trials = 6", "trials = 2")
    .replace('design = "screening"', 'design = "add-one"')
    .replace(
        'include = ["dropout", "weight_decay", "warmup", "placebo"]', 'include = ["ema", "early_stopping"]'
    )
)
TUNED = SMALL.replace('design = "add-one"\nwaves = 1', 'design = "tuned"\nbudget = "120runs"')
SHIPPED = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))


def measured(here, metric, epochs=2):
    """Every run that was trained: its metric is in the result, and in its curve at each of its epochs."""
    entries = here.entries()
    assert {"search", "select", "rank", "confirm"} <= {entry.stage for entry in entries}
    for entry in entries:
        assert entry.result.outcome in (Outcome.COMPLETE, Outcome.PRUNED, Outcome.DIVERGED), entry.result.note
        assert math.isfinite(entry.result.metrics[metric]) is (entry.result.outcome is not Outcome.DIVERGED)
        assert len(entry.result.curves[metric]) == entry.result.epochs <= epochs
    assert any(entry.result.outcome is Outcome.COMPLETE for entry in entries)


@pytest.mark.parametrize(
    ("criterion", "metric"), [(criterion, metric) for criterion in TASKS for metric in METRICS[criterion]]
)
def test_every_metric_is_measured_in_every_stage(tmp_path, criterion, metric):
    asked = f'metric = "validation/{metric}"\n'
    here = place(tmp_path, TASKS[criterion], asked + SMALL)
    here.run(("search", "rank", "confirm"))
    measured(here, f"validation/{metric}")


def test_a_metric_that_is_not_the_tasks_own_goes_through_every_stage(tmp_path):
    here = place(
        tmp_path, TABULAR, 'metric = "validation/log_loss"\n' + SMALL.replace("lr = 0.1", 'lr = "lr-find"')
    )
    here.run(STAGES)
    measured(here, "validation/log_loss", 10)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_study_runs_with_its_own_metric(tmp_path, file):
    """With fewer trials and epochs, on a small task of the same criterion."""
    shipped = studies.parse(file.read_text(), str(file), catalogue=registry())
    name = shipped.metric.rpartition("/")[2]
    kinds = (text for criterion, text in {**TASKS, **OTHERS}.items() if name in METRICS[criterion])
    here = place(tmp_path, next(kinds, TABULAR), f'metric = "{shipped.metric}"\n' + TUNED)
    here.run(("search", "rank", "confirm"))
    measured(here, shipped.metric)
