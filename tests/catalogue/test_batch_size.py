"""Batch size: the port, and what follows from it in a trainer."""

from __future__ import annotations

import pytest
import torch

from ablate.catalogue.data.batch_size import TRICK, batch_size
from ablate.seams.settings import Settings
from ablate.testing import suite


@pytest.mark.parametrize("size", [1, 8, 24, 512])
def test_port_gives_the_size_that_all_lanes_share(size):
    settings = Settings.stack(TRICK, [{"size": size}] * 3, torch.device("cpu"))
    given = batch_size(settings)
    assert given == size
    assert type(given) is int


@pytest.mark.parametrize(("size", "steps"), [(8, 9), (24, 3), (72, 1), (512, 1)])
def test_an_epoch_has_as_many_steps_as_whole_batches(size, steps):
    from ablate.lanes.trainer import Trainer

    checks = suite()
    context = checks.contexts["table"]  # 72 training examples
    trainer = Trainer(context, [checks.run(context, {"batch_size": {"size": size}}, seed) for seed in (0, 1)])
    assert trainer.order.steps_per_epoch == steps
    trainer.step()
    assert trainer.order.at(0).shape == (2, min(size, 72))


def test_runs_of_different_sizes_are_never_fused():
    from ablate.lanes.group import grouped

    checks = suite()
    context = checks.contexts["table"]
    sizes = (8, 16, 8, None)
    runs = [
        checks.run(context, {} if size is None else {"batch_size": {"size": size}}, seed)
        for seed, size in enumerate(sizes)
    ]
    assert [len(group) for group in grouped(runs, checks.catalogue, 8)] == [2, 1, 1]
