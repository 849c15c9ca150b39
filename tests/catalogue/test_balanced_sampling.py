"""Class-balanced sampling against the cumulated weights searched one by one, and against its shares of the classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sweep import sweep

from ablate.catalogue.data.balanced_sampling import drawn_examples
from ablate.lanes.trainer import Trainer
from ablate.testing import suite


@sweep("seed", range(5))
def test_draws_are_the_inverse_of_the_cumulated_weights(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.choice(4, (20, 60), p=[0.7, 0.2, 0.07, 0.03])
    uniform, powers = random.random((20, 30)), random.random(20)
    examples = drawn_examples(*map(torch.from_numpy, (labels, powers, uniform))).numpy()
    for lane in range(20):
        counts = np.bincount(labels[lane])
        weights = np.array([counts[label] ** (powers[lane] - 1) for label in labels[lane]])
        shares = weights / weights.sum()
        for place in range(30):
            total, example = 0.0, -1
            while total <= uniform[lane, place]:
                example += 1
                total += shares[example]
            assert examples[lane, place] == example


def test_the_largest_number_is_an_example() -> None:
    labels = torch.tensor([[0, 1, 2], [0, 0, 1]])
    assert drawn_examples(labels, torch.zeros(2), torch.ones(2, 1)).tolist() == [[2], [2]]


def test_classes_come_up_as_often_as_asked() -> None:
    labels = torch.tensor([0] * 90 + [1] * 10).expand(3, -1)
    uniform = (torch.arange(10000, dtype=torch.float64) + 0.5).expand(3, -1) / 10000
    drawn_labels = labels.gather(1, drawn_examples(labels, torch.tensor([0.0, 0.5, 1.0]), uniform))
    rare = drawn_labels.double().mean(1).tolist()
    assert rare == pytest.approx([0.5, 10**0.5 / (10**0.5 + 90**0.5), 0.1], abs=1e-3)


def test_the_engine_draws_with_replacement_where_asked_and_only_there() -> None:
    checks = suite()
    context = checks.contexts["table"]
    runs = [checks.run(context, tricks, 3) for tricks in ({"balanced_sampling": {"power": 0.0}}, {})]
    trainer = Trainer(context, runs)
    trainer.index()
    drawn, plain = torch.stack([trainer.order.at(i) for i in range(trainer.order.steps_per_epoch)]).unbind(1)
    assert len(drawn.unique()) < drawn.numel()
    assert len(plain.unique()) == plain.numel()
