"""What the update of a group looks up instead of working it out anew, and what it leaves alone."""

from __future__ import annotations

import torch

from ablate.catalogue.registry import registry
from ablate.lanes.group import Group
from ablate.lanes.order import Order
from ablate.lanes.trainer import Trainer
from ablate.lanes.update import Optimizers
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.seams.draws import Draws, seed_keys, step_keys
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors, Layout, Spec
from ablate.testing import suite

CPU = torch.device("cpu")
ADAM = {"adam": {"lr": 0.01}}
MOMENTUM = {"momentum": {"lr": 0.1}}


def twice(p: Settings) -> torch.Tensor:
    doubled: torch.Tensor = 2 * p.lr
    return doubled


def group_of(*recipes: dict[str, dict[str, float]]) -> Group:
    return Group([Run("none", Recipe.of(registry(), recipe), 0, 1) for recipe in recipes], registry(), CPU)


def test_what_is_looked_up_is_what_the_step_works_out() -> None:
    checks = suite()
    context = checks.where("warmup")[0]
    tricks = MOMENTUM | {"warmup": {"share": 0.2}, "cosine_restarts": {"cycle": 1}}
    trainer = Trainer(context, [checks.run(context, tricks, seed) for seed in range(3)])
    for _ in range(2 * trainer.order.steps_per_epoch):
        trainer.index()
        for known, now in zip(trainer.known, trainer.at(trainer.steps), strict=True):
            assert torch.equal(known[trainer.within], now)
        trainer.step()


def test_the_order_goes_through_each_lane_s_permutation() -> None:
    order, seeds, epochs = Order(23, 5), seed_keys([1, 2, 3], CPU), torch.tensor([0, 4, 1])
    order.shuffle(seeds, epochs)
    drawn = Draws(step_keys(seeds, epochs)).permutation("order", 23)
    assert torch.equal(torch.cat([order.at(step) for step in range(4)], dim=1), drawn[:, :20])


def test_unused_tensors_do_not_change_a_norm() -> None:
    specs = [Spec("a", (7, 9)), Spec("b", (40,)), Spec("c", (3, 3, 5))]
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        named = {spec.name: torch.randn(3, *spec.shape, generator=generator) for spec in specs}
        plain, wide = Layout(specs), Layout([Spec("x", (50,)), specs[0], Spec("y", (1,)), *specs[1:]])
        norms = [LaneTensors(layout, layout.pack(named, 3)).norm() for layout in (plain, wide)]
        assert torch.equal(*norms)
        flat = torch.cat([tensor.flatten(1) for tensor in named.values()], dim=1)
        torch.testing.assert_close(norms[0], flat.norm(dim=1))


def test_lanes_that_do_not_move_keep_their_weights_whatever_stands_beside_them() -> None:
    group, layout = group_of(ADAM, MOMENTUM, ADAM, MOMENTUM), Layout([Spec("w", (16,))])
    weights = LaneTensors(layout, torch.arange(64.0).view(4, 16))
    optimizers, before = Optimizers(group, weights), weights.flat.clone()
    gradients = weights.like(torch.ones(4, 16).index_fill(0, torch.tensor([2]), float("nan")))
    moved = torch.tensor([True, True, False, False])
    optimizers.update(group, weights, gradients, torch.ones(4), torch.ones(4, dtype=torch.int64), moved)
    assert torch.equal(weights.flat[2:], before[2:])
    torch.testing.assert_close(before[0] - weights.flat[0], torch.full((16,), 0.01), rtol=1e-3, atol=0)
    torch.testing.assert_close(before[1] - weights.flat[1], torch.full((16,), 0.1), rtol=1e-4, atol=0)


def test_what_settings_keep_is_of_these_lanes_and_not_of_this_step() -> None:
    p = Settings.stack(registry()["momentum"], [{"lr": 1.0, "momentum": 0.5, "nesterov": False}, None], CPU)
    assert (p.anywhere, p.everywhere) == (True, False)
    assert p.once(twice) is p.replaced(lr=torch.zeros(2)).once(twice)
    assert p.once(twice)[0] == 2.0
    flat = torch.zeros(2, 3)
    assert p.replaced(lr=torch.zeros(2)).like("lr", flat)[0] == 0.0
    assert p.like("lr", flat)[0] == 1.0
    other = p.take(torch.tensor([1]))
    assert (other.anywhere, other.everywhere) == (False, False)
    assert other.once(twice).shape == (1,)
