"""Costs: the baseline and the trick take turns, and inference is what is scored: counted in forward passes instead of seconds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from ablate.lanes.trainer import Trainer
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.study import costs
from ablate.study.session import Session
from ablate.testing import suite

BASE = {"momentum": {"lr": 0.02}}


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A clock that goes on by a second with each forward pass of a model; the list counts them."""
    count, forward = [0], Trainer.outputs

    def counted(self: Trainer, *given: Any, **options: Any) -> torch.Tensor:
        count[0] += 1
        return forward(self, *given, **options)

    monkeypatch.setattr(Trainer, "outputs", counted)
    monkeypatch.setattr(costs.time, "perf_counter", lambda: float(count[0]))
    return count


@pytest.mark.parametrize(
    ("trick", "training", "inference"),
    [("tta", 1, "views"), ("snapshot_ensemble", 1, "members"), ("swa", 1, 1), ("ema", 1, 1), ("sam", 2, 1)],
)
def test_passes_of_training_and_of_inference(passes, trick: str, training: int, inference: str | int) -> None:
    checks = suite()
    context = checks.contexts["images"]
    baseline = Recipe.of(checks.catalogue, BASE)
    session = SimpleNamespace(run=lambda recipe, seed: Run(context.task.name, recipe, seed, 20))
    row = costs.measured(cast(Session, session), context, baseline, trick)
    assert row is not None
    defaults = checks.catalogue[trick].defaults
    expected = float(defaults[inference]) if isinstance(inference, str) else inference
    assert row["time_ratio"] == pytest.approx(training)
    assert row["inference_ratio"] == pytest.approx(expected)


def test_they_take_turns(passes) -> None:
    context = suite().contexts["images"]
    run = Run(context.task.name, Recipe.of(suite().catalogue, BASE), 0, 1)
    pair = [Trainer(context, [run]) for _ in range(2)]
    order: list[int] = []

    def work(trainer: Trainer) -> int:
        order.append(pair.index(trainer))
        return 4

    one, other = costs.interleaved(pair, work)
    assert order == [0, 1] * (costs.WARM + costs.STEPS)
    assert len(one) == len(other) == costs.STEPS
