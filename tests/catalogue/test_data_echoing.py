"""Data echoing: each example, or each batch, comes up as often as asked before a fresh one does."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from ablate.catalogue.data.data_echoing import position
from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.trainer import Trainer
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.seams.settings import Settings
from ablate.tasks.task import Task
from ablate.testing import suite


def by_hand(count: int, batch: int, factor: int, unit: str) -> list[int]:
    """Repeat every item `factor` times, then cut to the length of the epoch."""
    if unit == "example":
        return [place for place in range(count) for _ in range(factor)][:count]
    batches = [list(range(start, start + batch)) for start in range(0, count, batch)]
    return [place for places in batches for _ in range(factor) for place in places][:count]


@pytest.mark.parametrize("seed", range(5))
def test_places_are_repeated(seed: int) -> None:
    batch, steps = 2 + seed, 7 + seed
    lanes = [{"factor": f, "unit": unit} for f in range(1, 11) for unit in ("batch", "example")]
    p = Settings.stack(registry()["data_echoing"], lanes, torch.device("cpu"))
    places = position(torch.arange(batch * steps), batch, p)
    for lane, lane_settings in enumerate(lanes):
        assert places[lane].tolist() == by_hand(
            batch * steps, batch, lane_settings["factor"], lane_settings["unit"]
        )


def test_the_engine_trains_on_the_repeated_batches() -> None:
    checks = suite()
    context = checks.contexts["table"]
    runs = [checks.run(context, tricks, 3) for tricks in ({"data_echoing": {"factor": 2}}, {})]
    trainer = Trainer(context, runs)
    seen = []
    for _ in range(trainer.order.steps_per_epoch):
        seen.append(trainer.index())
        trainer.step()
    echoed, plain = torch.stack(seen).unbind(1)
    assert torch.equal(echoed[::2], echoed[1::2])
    assert torch.equal(echoed[::2], plain[: len(plain) // 2])
    assert len(plain.unique()) == plain.numel()


class Slow(Dataset):
    """Items that take long to read, and are augmented by the Dataset at each read; what is counted here is reads."""

    def __init__(self) -> None:
        self.x, self.reads = torch.arange(60.0)[:, None].repeat(1, 4), 0

    def __len__(self) -> int:
        return 60

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        self.reads += 1
        return self.x[i] + torch.rand(4) / 4, i % 3


@pytest.mark.parametrize(
    ("recipe", "share"),
    [
        ({}, 1),
        ({"data_echoing": {"factor": 5, "unit": "batch"}}, 5),
        ({"data_echoing": {"factor": 4, "unit": "example"}, "input_noise": {"share": 0.1}}, 4),
    ],
)
def test_a_slow_dataset_is_read_less_and_what_is_read_is_right(recipe: dict, share: int) -> None:
    items = Slow()
    task = Task(
        lambda: nn.Linear(4, 3),
        items,
        (items.x[:6], torch.arange(6) % 3),
        test=False,
        batch_size=6,
        name="slow",
    )
    context = TaskContext.of(task, registry(), torch.device("cpu"))
    run = Run("slow", Recipe.of(registry(), {"momentum": {"lr": 1e-4}, **recipe}), 0, 3)
    trainer = Trainer(context, [run])
    for epoch in range(3):
        before, seen = items.reads, []
        whole = task.train.in_epoch(epoch).in_memory
        every, before = items.reads - before, items.reads
        for _ in range(10):
            index = trainer.index()
            batch, _ = trainer.data.batch(index)
            assert torch.equal(batch[0], whole[index[0]]), (
                "an item as of this epoch, the same in all its echoes"
            )
            seen.append(index[0])
            trainer.step()
        assert len(torch.cat(seen).unique()) == 60 // share
        assert items.reads - before == every // share
        if epoch:
            assert every == 60
