"""Items that a Dataset draws at random are read anew each epoch; deterministic ones are read once."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from ablate.catalogue.registry import registry
from ablate.lanes import checkpoint
from ablate.lanes.context import TaskContext
from ablate.lanes.trainer import Trainer
from ablate.lanes.training import Training
from ablate.records.recipe import Recipe
from ablate.records.run import RESPLIT, Run
from ablate.tasks.item_reader import Reader
from ablate.tasks.items import stacked
from ablate.tasks.task import Task

CPU = torch.device("cpu")
G = torch.Generator().manual_seed(0)
X, Y = torch.randn(60, 4, generator=G), torch.arange(60) % 3
VALIDATION = (torch.randn(30, 4, generator=G), torch.arange(30) % 3)


class Items(Dataset):
    """`change(x, self)` is what happens to an item at each read."""

    def __init__(self, change, x=X, y=Y):
        self.change, self.x, self.y, self.reads = change, x, y, 0
        self.own = np.random.default_rng(0)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        self.reads += 1
        return self.change(self.x[i], self), int(self.y[i])


class Scheduled(Items):
    """Its transform changes with the epoch, and draws nothing."""

    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch


RANDOM = {
    "torch": lambda x, _: x + torch.randn(4),
    "numpy": lambda x, _: x + torch.from_numpy(np.random.standard_normal(4)).float(),
    "python": lambda x, _: x * random.random(),
    "rarely": lambda x, _: x if torch.rand(()) > 0.001 else -x,
    "own generator": lambda x, items: x + torch.from_numpy(items.own.standard_normal(4)).float(),
}


def model():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def task_of(train, validation=VALIDATION, **more):
    return Task(model, train, validation, test=False, batch_size=20, name="items", **more)


def runs(count=3, epochs=3, seed=0):
    return [
        Run("items", Recipe.of(registry(), {"momentum": {"lr": 0.02 * (i + 1)}}), seed + i, epochs)
        for i in range(count)
    ]


def without_durations(results):
    return [replace(result, seconds=0) for result in results]


@pytest.mark.parametrize("name", RANDOM)
def test_what_differs_from_read_to_read_is_found_and_told(name):
    task = task_of(Items(RANDOM[name]))
    assert task.train.items is not None
    assert "read anew each epoch" in task.notes[0]
    assert task.train.items.exact is (name != "own generator")
    assert any("runs do not repeat exactly" in note for note in task.notes) is (name == "own generator")
    assert task.but(epochs=3).train.items is task.train.items
    again = task_of(Items(RANDOM[name]))
    assert again.data_sha256 == task.data_sha256
    moved = task_of(Items(RANDOM[name], X + 1))
    assert (moved.data_sha256 == task.data_sha256) is (name == "own generator")


@pytest.mark.parametrize(
    "train",
    [TensorDataset(X, Y), Subset(TensorDataset(X, Y), range(40)), Items(lambda x, _: 2 * x)],
    ids=lambda train: type(train).__name__,
)
def test_deterministic_items_are_read_once(train):
    task = task_of(train)
    assert task.train.items is None
    assert task.notes == ()
    before = getattr(train, "reads", 0)
    Training(TaskContext.of(task, registry(), CPU), runs(), ()).finish()
    assert getattr(train, "reads", 0) == before


@pytest.mark.parametrize("kernel", ["loop", "vmap"])
def test_each_epoch_trains_on_its_own_read(kernel):
    """The batches are those of the Dataset read under the epoch's seed, in the order of the lane."""
    items = Items(RANDOM["torch"])
    trainer = Trainer(TaskContext.of(task_of(items), registry(), CPU, kernel), runs(2))
    for epoch in range(3):
        expected, _ = stacked(Reader(items, "train"), range(60), epoch)
        for _ in range(3):
            index = trainer.index()
            x, _ = trainer.data.batch(index)
            assert torch.equal(x, expected[index])
            trainer.step()
    first, second = (stacked(Reader(items, "train"), range(60), epoch)[0] for epoch in (0, 1))
    assert (first != second).any(1).all()


@pytest.mark.parametrize("lanes", [3, 1])
def test_a_run_is_the_same_alone_and_beside_runs_of_another_age(lanes):
    """With one lane fewer than runs, later runs join when the first have ended, in the middle of the others."""
    task = task_of(Items(RANDOM["torch"]))
    context = TaskContext.of(task, registry(), CPU, "vmap")
    together = Training(context, runs(4), (), lanes=lanes).finish()
    alone = [Training(context, [run], ()).finish()[0] for run in runs(4)]
    assert without_durations(together) == without_durations(alone)


def test_lanes_of_different_ages_read_different_epochs():
    items = Items(RANDOM["torch"])
    context = TaskContext.of(task_of(items), registry(), CPU, "vmap")
    old, young = Trainer(context, runs(1)), Trainer(context, runs(1, seed=5))
    for _ in range(3):
        old.step()
    old.extend(young)
    index = old.index()
    x, _ = old.data.batch(index)
    for lane, epoch in enumerate((1, 0)):
        assert torch.equal(x[lane], stacked(Reader(items, "train"), range(60), epoch)[0][index[lane]])


def test_a_run_goes_on_from_the_middle_of_an_epoch(tmp_path):
    context = TaskContext.of(task_of(Items(RANDOM["numpy"])), registry(), CPU)
    whole = Training(context, runs(), ("validation",)).finish()
    training = Training(context, runs(), ("validation",))
    training.epoch()
    training.step()
    checkpoint.save(tmp_path / "c", training)
    other = TaskContext.of(task_of(Items(RANDOM["numpy"])), registry(), CPU)
    assert without_durations(checkpoint.load(tmp_path / "c", other).finish()) == without_durations(whole)


def test_rows_that_are_dealt_anew_are_read_anew_too():
    """Training and validation of one Dataset: a run that deals both anew trains on fresh reads of its own rows."""
    items = Items(RANDOM["torch"])
    task = task_of(items, validation=None)
    assert any("validation" in note for note in task.notes)
    run = replace(runs(1)[0], seed=RESPLIT | 3)
    trainer = Trainer(TaskContext.of(task, registry(), CPU, "loop"), [run])
    for _ in range(trainer.order.steps_per_epoch):
        trainer.step()
    index = trainer.index()
    x, target = trainer.data.batch(index)
    rows = np.concatenate([task.train.rows, task.validation.rows])[
        trainer.data.rows["train"][0][index[0]].numpy()
    ]
    assert torch.equal(target[0].argmax(1), Y[torch.from_numpy(rows)])
    assert not torch.isclose(x[0], X[torch.from_numpy(rows)]).all()


class Wrapped(Dataset):
    """A wrapper of one's own, as for a transform of a part."""

    def __init__(self, inner: Dataset) -> None:
        self.parts = {"train": inner}

    def __len__(self) -> int:
        return len(self.parts["train"])

    def __getitem__(self, row: int) -> object:
        return self.parts["train"][row]


WRAPPERS = {
    "none": lambda items: items,
    "Subset": lambda items: Subset(items, range(len(items))),
    "ConcatDataset": lambda items: ConcatDataset([items]),
    "its own": Wrapped,
    "a Subset of it": lambda items: Subset(Wrapped(items), range(len(items))),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_transform_that_changes_with_the_epoch_is_told_the_epoch(wrapper):
    items = WRAPPERS[wrapper](Scheduled(lambda x, items: x * (1 + items.epoch)))
    trainer = Trainer(TaskContext.of(task_of(items), registry(), CPU), runs(1))
    for epoch in range(3):
        index = trainer.index()
        assert torch.equal(trainer.data.batch(index)[0], X[index] * (1 + epoch))
        for _ in range(3):
            trainer.step()


def test_one_draw_of_validation_data_is_kept_and_told():
    task = task_of((X, Y), Items(RANDOM["torch"]))
    assert task.notes == (
        "the validation Dataset draws its items at random: one draw is kept, so that all runs are judged by the same",
    )


def test_reading_leaves_the_global_generators_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    task_of(Items(RANDOM["torch"]))
    assert torch.equal(torch.rand(3), expected)
