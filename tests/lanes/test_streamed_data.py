"""Data that are not held are streamed: in windows, read once for all lanes, the same as if they were held, resumable anywhere."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ablate.catalogue.registry import registry
from ablate.lanes import checkpoint
from ablate.lanes.applicable import applicable
from ablate.lanes.context import TaskContext
from ablate.lanes.data import DeviceSplit
from ablate.lanes.order import Order
from ablate.lanes.self_check import self_checked
from ablate.lanes.trainer import Trainer
from ablate.lanes.training import Training
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import RESPLIT, Run
from ablate.tasks import memory_limit
from ablate.tasks.check import check
from ablate.tasks.item_reader import Reader
from ablate.tasks.items import stacked
from ablate.tasks.task import Task

CPU = torch.device("cpu")
N, FEATURES, BATCH = 130, 16, 10
X = torch.randn(N, FEATURES, generator=torch.Generator().manual_seed(0))
Y = torch.arange(N) % 3
VALIDATION = (X[:31] + 5, Y[:31])


class Rows(Dataset):
    def __init__(self, change=lambda x: x):
        self.change, self.reads = change, []

    def __len__(self):
        return N

    def __getitem__(self, row):
        self.reads.append(row)
        return self.change(X[row]), int(Y[row])


class Stream(IterableDataset):
    def __init__(self, change=lambda x: x):
        self.change = change

    def __len__(self):
        return N

    def __iter__(self):
        for row in range(N):
            yield self.change(X[row]), int(Y[row])


def noisy(x):
    return x + torch.randn(FEATURES) + random.random() + np.random.random()


@pytest.fixture(autouse=True)
def little(monkeypatch):
    """Up to 40 examples may be held, and a window has 24: two steps, of whose 24 examples 20 are one."""
    monkeypatch.setattr(memory_limit, "HELD", 40 * FEATURES * 4)
    monkeypatch.setattr(memory_limit, "WINDOW", 24 * FEATURES * 4)


def model():
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, 3))


def task_of(data, validation=VALIDATION, **more):
    return Task(model, data, validation, test=False, batch_size=BATCH, name="rows", **more)


def runs(count=3, epochs=2):
    return [
        Run("rows", Recipe.of(registry(), {"momentum": {"lr": 0.02 * (i + 1)}}), i, epochs)
        for i in range(count)
    ]


def without_durations(results):
    return [replace(result, seconds=0) for result in results]


def context_of(task, kernel="loop"):
    return TaskContext.of(task, registry(), CPU, kernel)


@pytest.mark.parametrize("data", [Rows, Stream])
@pytest.mark.parametrize("change", [lambda x: x, noisy])
def test_an_epoch_is_a_read_under_its_seed_seen_once_by_each_lane(data, change):
    trainer = Trainer(context_of(task_of(data(change))), runs(2))
    for epoch in range(2):
        expected, _ = stacked(Reader(data(change), "train"), range(N), epoch)
        seen = []
        for _ in range(N // BATCH):
            index = trainer.index()
            x, target = trainer.data.batch(index)
            assert torch.equal(x, expected[index])
            assert torch.equal(target.argmax(2), Y[index])
            seen.append(index)
            trainer.step()
        lanes = torch.cat(seen, 1)
        assert all(len(set(lane.tolist())) == N for lane in lanes)
        assert not torch.equal(*lanes)


def test_one_read_serves_all_lanes_and_no_more_than_a_window_is_held():
    data = Rows()
    training = Training(context_of(task_of(data)), runs(3), ())
    data.reads.clear()
    training.epoch()
    assert sorted(data.reads) == list(range(N))
    windows = training.trainer.data.windows
    held = [len(epoch.window) for epoch in windows._epochs.values()]
    assert held == [N - 6 * 20 + 0], "the last window has what is left over"
    assert data.reads != sorted(data.reads), "windows are of examples from everywhere"


@pytest.mark.parametrize("lanes", [3, 1])
def test_a_run_is_the_same_alone_and_beside_runs_of_another_age(lanes):
    context = context_of(task_of(Rows(noisy)), "vmap")
    together = Training(context, runs(4), (), lanes=lanes).finish()
    alone = [Training(context, [run], ()).finish()[0] for run in runs(4)]
    assert without_durations(together) == without_durations(alone)


@pytest.mark.parametrize("data", [Rows, Stream])
def test_a_run_goes_on_from_the_middle_of_an_epoch(data, tmp_path):
    context = context_of(task_of(data(noisy)))
    whole = Training(context, runs(), ("validation",)).finish()
    training = Training(context, runs(), ("validation",))
    training.epoch()
    for _ in range(5):
        training.step()
    checkpoint.save(tmp_path / "c", training)
    source = data(noisy)
    other = context_of(task_of(source))
    if data is Rows:
        source.reads.clear()
    assert without_durations(checkpoint.load(tmp_path / "c", other).finish()) == without_durations(whole)
    if data is Rows:
        assert len(set(source.reads)) < N, "what is over is not read again"


@pytest.mark.parametrize("data", [Rows, Stream])
def test_workers_read_the_same(data):
    torch.manual_seed(3)
    plain = Training(context_of(task_of(data(noisy))), runs(1, 1), ()).finish()
    loaded = task_of(DataLoader(data(noisy), BATCH, num_workers=2))
    assert "its batch size 10 and its 2 workers" in loaded.notes[0]
    assert loaded.data_sha256 == task_of(data(noisy)).data_sha256
    assert without_durations(Training(context_of(loaded), runs(1, 1), ()).finish()) == without_durations(
        plain
    )
    drawn = torch.rand(())
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(())), "the global generators are left alone"


def test_evaluation_data_are_streamed_or_held_and_give_the_same():
    held = Training(context_of(task_of((X, Y), (X, Y))), runs(2), ("validation",)).finish()
    task = task_of((X, Y), Rows())
    assert task.validation.streams
    streamed = Training(context_of(task), runs(2), ("validation",)).finish()
    assert without_durations(streamed) == without_durations(held)


def test_dealt_out_splits_are_held_where_they_fit():
    task = task_of(Rows(noisy), None)
    assert task.train.streams
    assert not task.validation.streams
    expected, _ = stacked(Reader(Rows(noisy), "train"), range(N))
    assert torch.equal(task.validation.x, expected[torch.from_numpy(task.validation.rows)])
    assert not task.random_split, "no run deals anew what is streamed"
    with pytest.raises(InputError, match="cannot be split anew"):
        Trainer(context_of(task), [replace(runs(1)[0], seed=RESPLIT | 1)])


def test_what_is_done_is_told_and_tricks_of_the_order_do_not_apply():
    task = task_of(Rows())
    assert task.notes == (
        "130 training examples take 7.75e-06 GiB and are streamed: each epoch reads them once for all runs that train together, 24 at a time",
    )
    assert check(task) == ()
    reasons = applicable(context_of(task), ("balanced_sampling", "data_echoing", "mixup"))
    assert reasons["mixup"] == ""
    assert "streamed" in reasons["data_echoing"]
    assert "balanced" in reasons["balanced_sampling"]
    echoing = Recipe.of(registry(), {"momentum": {}, "data_echoing": {}})
    trainer = Trainer(context_of(task), [replace(runs(1)[0], recipe=echoing)])
    with pytest.raises(InputError, match="order of examples that are streamed"):
        trainer.step()


def test_a_kernel_is_checked_on_streamed_data():
    context = context_of(task_of(Rows(noisy)), "vmap")
    kept, note = self_checked(context)
    assert (kept.kernel, note) == ("vmap", "")


def test_faults_of_streamed_examples_are_found(monkeypatch):
    def broken(x):
        return x.where(x != X[77], torch.nan)

    with pytest.raises(InputError, match="train x holds NaN in 1 example, first at row 77"):
        check(task_of(Rows(broken)))
    assert check(task_of(Rows(), Rows())) == (
        "130 of 130 validation examples also occur in train data, with equal inputs",
    )
    assert task_of(Rows()).data_sha256 != task_of(Rows(lambda x: x + 1)).data_sha256


@pytest.mark.parametrize("window", [10, 20, 25, 500])
def test_windows_hold_every_example_once(window):
    order = Order(53, 10, window)
    places = [place for places in order.windows for place in places]
    assert places == list(range(53))
    assert all(len(places) >= 10 for places in order.windows)


def test_an_order_of_one_window_is_a_permutation_of_all():
    task = task_of(Rows())
    split = DeviceSplit.of(task.train, task, CPU)
    order = Order.of(split, BATCH)
    assert order.windowed
    assert sorted(order.in_epoch(3, CPU).tolist()) == list(range(N))
    assert not torch.equal(order.in_epoch(3, CPU), order.in_epoch(4, CPU))
