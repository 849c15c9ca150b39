"""What the oracle's networks hold beside weights survives a checkpoint and a file: a resumed run is the run, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from oracle import LR, NETWORKS, QUICK, TRAIN, context_of, run_of
from safetensors.torch import load_file

from ablate.catalogue.registry import registry
from ablate.lanes import checkpoint, weights
from ablate.lanes.context import TaskContext
from ablate.lanes.trainer import Trainer
from ablate.lanes.training import Training
from ablate.records.recipe import Recipe
from ablate.records.run import Run

pytestmark = [
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad"),
]
QUICKLY = (
    "late_buffer", "teacher", "first_step_flag", "batch_norm", "spread_tying", "recomputed_dropout", "frozen_in_train",
    "weight_norm_parametrised", "top_expert", "dropout_by_epoch", "unregistered_layer",
)  # fmt: skip
NOT_RESUMABLE = ("counting", "frozen_late", "own_generator", "array_state", "unfreezing")
"""State outside of parameters and buffers: no checkpoint is kept of them."""
NAMES = [pytest.param(name, marks=() if name in QUICKLY else pytest.mark.slow_oracle) for name in NETWORKS]


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_is_the_run_bit_for_bit(name: str) -> None:
    context = context_of(name, QUICK)
    if not context.probe.resumable:
        pytest.skip("a checkpoint does not hold all of the model's state, and none is kept")
    run = run_of(context)
    whole = Training(context, [run], ("validation",), keep_weights=True)
    whole.epoch()
    whole.step()  # in the middle of an epoch
    again = checkpoint.loads(checkpoint.dumps(whole), context)
    for training in (whole, again):
        training.finish()
    first, second = (training.results[run.identity] for training in (whole, again))
    assert first.curves == second.curves
    kept, expected = (training.traces[run.identity].weights for training in (again, whole))
    assert kept.keys() == expected.keys()
    assert all(torch.equal(kept[tensor], expected[tensor]) for tensor in expected)


@pytest.mark.parametrize("name", NOT_RESUMABLE)
def test_state_that_a_checkpoint_cannot_hold_is_noticed(name: str) -> None:
    assert not context_of(name).probe.resumable


@pytest.mark.parametrize("name", NAMES)
def test_the_users_class_takes_the_weights_and_computes_the_same(name: str, tmp_path: Path) -> None:
    context = context_of(name, QUICK)
    run = run_of(context)
    trainer = Trainer(context, [run])
    trainer.step()
    weights.save(tmp_path / "w", context.task, run, trainer.model(0).state_dict())
    loaded, fresh = weights.load(tmp_path / "w", context.task), context.task.model()
    if name != "late_buffer":  # which torch does not load into a fresh module either
        fresh.load_state_dict(load_file(tmp_path / "w"), strict=True)
    saved_all = set(dict(fresh.named_buffers())) <= set(fresh.state_dict())
    if context.probe.reseed or not context.probe.resumable or not saved_all:
        return  # it draws, or computes from state that a state dict does not hold
    x = context.task.validation.x
    with torch.no_grad():
        ours = trainer.predict("validation")[0]
        drawn = "is drawn when the model is made" in context.solo  # and of that a state dict holds nothing
        for module in (loaded,) if drawn or name == "late_buffer" else (loaded, fresh):
            torch.testing.assert_close(ours, module.eval()(x.clone()), rtol=1e-4, atol=1e-5)


def test_a_lane_whose_gradient_is_not_finite_touches_no_other() -> None:
    """Whatever the optimizer and the gradient tricks are that its group shares."""
    for name in ("batch_norm", "shared_norm"):
        for tricks in ({"adam": {"lr": LR}}, {"momentum": {"lr": LR}, "clip_norm": {}, "weight_decay": {}}):
            _check_no_leak(context_of(name, TRAIN), tricks)


def _check_no_leak(context: TaskContext, tricks: dict[str, dict[str, object]]) -> None:
    runs = [Run(context.task.name, Recipe.of(registry(), tricks), seed, 1) for seed in range(2)]
    both, alone = Trainer(context, runs), Trainer(context, runs[1:])
    both.step()
    alone.step()
    with torch.no_grad():
        both.weights.flat[0] = float("nan")
    for _ in range(3):
        losses, _ = both.step()
        expected, _ = alone.step()
        assert losses[0].isnan()
        assert torch.equal(losses[1], expected[0])
    assert both.alive.tolist() == [False, True]
    assert torch.equal(both.weights.flat[1], alone.weights.flat[0])
