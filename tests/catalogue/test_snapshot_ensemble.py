"""Snapshot ensembles: when snapshots are taken, and the mean of their probabilities."""

from __future__ import annotations

import pytest
import torch
from model_cases import context_of
from sweep import sweep

from ablate.catalogue.evaluation.snapshot_ensemble import average, begin, ensemble, part_ended
from ablate.catalogue.registry import registry
from ablate.lanes.trainer import Trainer
from ablate.lanes.training import Training
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.seams.facts import Facts
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors, Layout, Spec

LAYOUT = Layout([Spec("w", (16,))])


def settings(members: int, lanes: int, total: int) -> Settings:
    rows = [{"members": members}] * lanes
    return Settings.stack(
        registry()["snapshot_ensemble"], rows, torch.device("cpu"), torch.float64, Facts(None, total, 5)
    )


@pytest.mark.parametrize(("total", "members"), [(30, 3), (31, 3), (7, 5), (100, 4), (12, 2)])
def test_parts_end_where_they_should(total: int, members: int) -> None:
    ended = part_ended(torch.arange(1, total + 1), total, members).tolist()
    assert [part for part in ended if part] == list(range(1, members + 1))
    assert [step for step, part in enumerate(ended, 1) if part] == [
        total * m // members for m in range(1, members + 1)
    ]


@sweep("seed", range(20))
def test_the_ensemble_is_the_mean_of_the_probabilities_at_the_ends_of_the_parts(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    members, lanes, total = 2 + seed % 4, 5, 20 + seed
    paths = torch.randn(total + 1, lanes, 16, generator=generator, dtype=torch.float64)
    x = torch.randn(lanes, 6, 4, generator=generator, dtype=torch.float64)
    p = settings(members, lanes, total)

    def predict(x: torch.Tensor, weights: LaneTensors) -> torch.Tensor:
        return x @ weights["w"].reshape(lanes, 4, 4)

    state = begin(LaneTensors(LAYOUT, paths[0]), p)
    for step in range(1, total + 1):
        average(state, LaneTensors(LAYOUT, paths[step]), torch.full((lanes,), step), p)
    last = LaneTensors(LAYOUT, paths[-1])
    outputs = ensemble(predict, state, last, x, predict(x, last), p)
    ends = [paths[total * m // members] for m in range(1, members + 1)]
    each = [torch.stack([x[k] @ w[k].reshape(4, 4) for k in range(lanes)]).softmax(-1) for w in ends]
    torch.testing.assert_close(outputs.softmax(-1), torch.stack(each).mean(0))
    torch.testing.assert_close(outputs.exp().sum(-1), torch.ones(lanes, 6, dtype=torch.float64))


def test_a_trained_run_is_scored_by_its_snapshots() -> None:
    context = context_of("mlp")
    recipe = Recipe.of(registry(), {"momentum": {"lr": 0.1}, "snapshot_ensemble": {"members": 3}})
    runs = [Run(context.task.name, recipe, seed, 3) for seed in range(2)]
    trainer = Trainer(context, runs)
    weights = []
    for _ in range(trainer.total_steps):
        trainer.step()
        weights.append(trainer.weights.flat.clone())
    outputs = trainer.predict("validation")
    total = len(weights)
    probabilities = []
    for m in (1, 2, 3):
        trainer.weights.flat.copy_(weights[total * m // 3 - 1])
        probabilities.append(trainer.predict("validation", views=False).double().softmax(-1))
    torch.testing.assert_close(
        outputs.double().softmax(-1), torch.stack(probabilities).mean(0), rtol=1e-5, atol=1e-6
    )
    one = trainer.predict("validation", torch.tensor([1]))
    torch.testing.assert_close(one[0], outputs[1])
    training = Training(context, runs, ("validation",))
    while not training.done:
        training.epoch()
    y = context.splits["validation"].y
    for lane, run in enumerate(runs):
        expected = torch.nn.functional.cross_entropy(outputs[lane], y).item()
        assert training.results[run.identity].metrics["validation/loss"] == pytest.approx(expected, rel=1e-5)
