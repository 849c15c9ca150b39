"""Mixed precision: the loss scale against torch.amp.GradScaler, overflow lane by lane, and whole trainings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sweep import sweep

from ablate.catalogue.precision.amp import INITIAL, TRICK, begin, context, next_scale, scale, unscale
from ablate.lanes.train import train
from ablate.lanes.trainer import Trainer
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors, Layout, Spec
from ablate.testing import advance, assert_same_lane, suite

CPU = torch.device("cpu")
LAYOUT = Layout([Spec("w", (3,))])


def settings(dtype, lanes=1):
    return Settings.stack(TRICK, [{"dtype": dtype}] * lanes, CPU)


DTYPES = ["bfloat16", "float16"]
KERNELS = ("vmap", "loop", "batched", "compiled")


def benches(kernels=KERNELS, first=0):
    """Each kernel in one of two tasks; `first` is the task of the first of them, so that 0 and 1 are the product."""
    checks = suite()
    for number, kernel in enumerate(kernels, first):
        yield checks, checks.contexts[("images", "table")[number % 2]].with_kernel(kernel)


@sweep("seed", range(20))
def test_scale_follows_torchs_scaler(seed):
    random = np.random.default_rng(seed)
    interval, lanes = int(random.integers(1, 6)), int(random.integers(1, 4))
    overflows = random.random((40, lanes)) < 0.2
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(lanes)]
    optimizers = [torch.optim.SGD([weight], lr=0.1) for weight in weights]
    scalers = [
        torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=interval) for _ in range(lanes)
    ]
    state, good = torch.full((lanes,), 2.0**16), torch.zeros(lanes, dtype=torch.int64)
    for row in overflows:
        for weight, optimizer, scaler, overflow in zip(weights, optimizers, scalers, row, strict=True):
            optimizer.zero_grad()
            scaler.scale((weight * 0.001).sum()).backward()
            if overflow:
                weight.grad[1] = random.choice([torch.inf, -torch.inf, torch.nan])
            scaler.step(optimizer)
            scaler.update()
        state, good = next_scale(state, good, torch.tensor(row), interval)
        assert state.tolist() == [scaler.get_scale() for scaler in scalers]


def test_scale_does_not_grow_beyond_the_largest_number():
    largest = torch.tensor([2.0**127])
    assert next_scale(largest, torch.tensor([1999]), torch.tensor([False]))[0].item() == 2.0**127
    assert next_scale(torch.ones(1), torch.tensor([1998]), torch.tensor([False]))[0].item() == 1
    assert next_scale(torch.ones(1), torch.tensor([1999]), torch.tensor([False]))[0].item() == 2


def test_scaling_back_and_forth_does_not_round():
    weights = LaneTensors(LAYOUT, torch.zeros(2, LAYOUT.width))
    p = settings("float16", 2)
    state = begin(weights, p)
    assert state["scale"].tolist() == [INITIAL, INITIAL]
    gradient = torch.randn(2, LAYOUT.width, generator=torch.Generator().manual_seed(0))
    scaled = torch.stack([scale(column, state, p) for column in gradient.unbind(1)], dim=1)
    back, overflow = unscale(weights.like(scaled), state, p)
    assert torch.equal(back.flat, gradient)
    assert not overflow.any()


def test_bfloat16_needs_no_scale():
    weights = LaneTensors(LAYOUT, torch.zeros(1, LAYOUT.width))
    p = settings("bfloat16")
    state = begin(weights, p)
    losses = torch.tensor([0.3])
    assert torch.equal(scale(losses, state, p), losses)
    broken = weights.like(torch.full((1, LAYOUT.width), torch.inf))
    assert not unscale(broken, state, p)[1].any()  # left to the engine, which ends the lane


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_are_in_16_bits(dtype):
    with context(settings(dtype), CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == getattr(torch, dtype)
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize("dtype", DTYPES)
def test_lanes_are_what_they_are_alone_in_every_kernel(dtype):
    for checks, task_context in benches(first=DTYPES.index(dtype)):
        runs = [checks.run(task_context, {"amp": {"dtype": dtype}}, seed) for seed in range(3)]
        together = advance(task_context, runs, steps=8)
        assert together.predict("test").dtype == torch.float32
        for lane, run in enumerate(runs):
            assert_same_lane(
                together,
                lane,
                advance(task_context, [run], steps=8),
                0,
                f"{task_context.kernel} {task_context.task.name}",
            )


def test_an_overflow_skips_one_lanes_step_and_nothing_else():
    for checks, task_context in benches():
        runs = [checks.run(task_context, {"amp": {"dtype": "float16"}}, seed) for seed in range(2)]
        calm, shaken = (advance(task_context, runs, steps=3) for _ in range(2))
        before = shaken.weights.flat.clone()
        velocity = shaken.optimizers.parts[0].state["velocity"].clone()
        shaken.extra["amp"]["scale"][0] = 2.0**100
        calm.step()
        shaken.step()
        assert torch.equal(shaken.weights.flat[0], before[0])
        assert torch.equal(shaken.optimizers.parts[0].state["velocity"][0], velocity[0])
        assert shaken.extra["amp"]["scale"].tolist() == [2.0**99, INITIAL]
        assert shaken.alive.all()
        assert torch.equal(shaken.weights.flat[1], calm.weights.flat[1])
        assert not torch.equal(calm.weights.flat[0], before[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_loss_stays(dtype):
    """The claim, on two small tasks: within a tenth of the spread between seeds' losses."""
    for checks, task_context in benches(("compiled", "batched")):
        plain = train(task_context, [checks.run(task_context, {}, seed) for seed in range(4)])
        mixed = train(
            task_context, [checks.run(task_context, {"amp": {"dtype": dtype}}, seed) for seed in range(4)]
        )
        losses = [[result.metrics["validation/loss"] for result in results] for results in (plain, mixed)]
        assert np.abs(np.subtract(*losses)).mean() < 0.1 * np.std(losses[0])
        assert losses[0] != losses[1]


def test_a_trainer_keeps_weights_in_32_bits():
    checks, context = next(benches())
    trainer = Trainer(context, [checks.run(context, {"amp": {"dtype": "float16"}})])
    trainer.step()
    assert trainer.weights.flat.dtype == torch.float32
