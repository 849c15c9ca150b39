"""Runs that deal training and validation anew by their seed: rows, metrics, and lanes beside each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.train import train
from ablate.lanes.training import Training
from ablate.records.recipe import Recipe
from ablate.records.run import RESPLIT, Run
from ablate.tasks.load import load
from ablate.tasks.metrics import metrics
from ablate.tasks.split import resplit
from ablate.tasks.task import Task

CATALOGUE = registry()
RECIPE = Recipe.of(CATALOGUE, {"momentum": {"lr": 0.1}})


@pytest.fixture(scope="module")
def wine() -> Task:
    return load("wine")


def test_a_deal_keeps_sizes_and_classes_and_differs_from_seed_to_seed(wine: Task):
    pool = np.concatenate([wine.train.y, wine.validation.y])
    deals = [resplit(wine.train, wine.validation, seed | RESPLIT, stratified=True) for seed in range(20)]
    for training, held in deals:
        assert np.array_equal(np.sort(np.concatenate([training, held])), np.arange(len(pool)))
        assert np.array_equal(np.bincount(pool[held]), np.bincount(wine.validation.y))
    assert len({held.tobytes() for _, held in deals}) == 20
    share = np.mean([np.isin(np.arange(len(pool)), held) for _, held in deals], axis=0)
    assert share.max() < 0.8  # no example is always held out


def test_resplit_runs_are_those_of_a_task_with_that_split(wine: Task, monkeypatch: pytest.MonkeyPatch):
    """The same model, order and draws on a task that was given the rows of the deal as its own splits."""
    seed = 5 | RESPLIT
    x, y = (torch.cat([getattr(part, name) for part in (wine.train, wine.validation)]) for name in "xy")
    training, held = map(torch.from_numpy, resplit(wine.train, wine.validation, seed, stratified=True))
    resplit_task = wine.but(train=(x[training], y[training]), validation=(x[held], y[held]))
    run = Run("wine", RECIPE, seed, 3)
    dealt = {
        kernel: train(TaskContext.of(wine, CATALOGUE, torch.device("cpu"), kernel), [run])[0]
        for kernel in ("loop", "vmap", "batched")
    }
    first = np.arange(len(training)), np.arange(len(held)) + len(training)
    monkeypatch.setattr("ablate.lanes.lane_splits.resplit", lambda *_, **__: first)
    for kernel, result in dealt.items():
        (given,) = train(TaskContext.of(resplit_task, CATALOGUE, torch.device("cpu"), kernel), [run])
        assert result.curves == given.curves
        assert result.metrics == given.metrics
        assert result.scores == given.scores


def test_lanes_with_and_without_a_deal_are_what_they_are_alone(wine: Task):
    context = TaskContext.of(wine, CATALOGUE, torch.device("cpu"))
    runs = [Run("wine", RECIPE, seed, 3) for seed in (1, 2 | RESPLIT, 3 | RESPLIT, 4)]
    together = train(context, runs)
    for run, result in zip(runs, together, strict=True):
        (alone,) = train(context, [run])
        assert result.curves == alone.curves
        assert result.metrics == alone.metrics
        assert result.scores == alone.scores


def test_refilled_lanes_keep_their_own_examples(wine: Task):
    context = TaskContext.of(wine, CATALOGUE, torch.device("cpu"), "vmap")
    runs = [Run("wine", RECIPE, seed, 2) for seed in (1, 2, 3 | RESPLIT, 4 | RESPLIT)]
    results = Training(context, runs, (), lanes=2).finish()
    for run, result in zip(runs, results, strict=True):
        assert result.curves == train(context, [run])[0].curves


@pytest.mark.parametrize("criterion", ["classification", "regression"])
def test_metrics_with_targets_of_each_lane_are_those_of_the_lane_alone(criterion: str):
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(5, 40, 3, generator=generator)
    y = (
        torch.randint(0, 3, (5, 40), generator=generator)
        if criterion == "classification"
        else torch.randn(5, 40, 3, generator=generator)
    )
    y[0] = y[0].clamp(max=1)  # a lane whose targets lack a class
    values = metrics(criterion, output, y)
    for lane in range(5):
        alone = metrics(criterion, output[lane : lane + 1], y[lane])
        for name, value in alone.items():
            torch.testing.assert_close(values[name][lane], value[0], rtol=1e-12, atol=1e-12)


def test_a_task_without_validation_data_may_be_dealt_anew():
    x, y = torch.randn(50, 3), torch.arange(50) % 2
    assert Task(lambda: nn.Linear(3, 2), (x, y)).random_split
    assert not Task(lambda: nn.Linear(3, 2), (x, y), (x, y)).random_split
