"""Averaged weights are evaluated with running statistics of their own: those of `torch.optim.swa_utils.update_bn`."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from ablate.kernels.lower import available_kernels
from ablate.lanes.running_statistics import batches, statistics_of
from ablate.lanes.trainer import Trainer
from ablate.seams.draws import Draws, step_keys
from ablate.seams.running_statistics import is_running
from ablate.surgery.norms import BatchNorm
from ablate.testing import suite
from ablate.trick_suite import advance

CPU = torch.device("cpu")
LANES = (
    {"batch_norm": {"momentum": 0.3}, "ema": {"decay": 0.99}},
    {"batch_norm": {}, "ema": {"decay": 0.0}},
    {"group_norm": {}, "ema": {"decay": 0.9}},
    {"batch_norm": {"momentum": 0.02}, "ema": {"decay": 0.9}},
)
MEMBERS = (
    {"batch_norm": {"momentum": 0.3}, "snapshot_ensemble": {"members": 2}},
    {"group_norm": {}, "snapshot_ensemble": {"members": 2}},
    {"batch_norm": {"momentum": 0.02}, "snapshot_ensemble": {"members": 2}},
)


def trained(kernel: str, lanes: tuple[dict[str, dict[str, float]], ...] = LANES, steps: int = 7) -> Trainer:
    checks = suite()
    context = checks.contexts["images"].with_kernel(kernel)
    return advance(context, [checks.run(context, tricks, seed) for seed, tricks in enumerate(lanes)], steps)


def running(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers() if is_running(name)}


def with_torchs_norms(model: nn.Module) -> nn.Module:
    """`model` with torch's batch norms in the place of ablate's, which `update_bn` does not know."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, BatchNorm):
                norm = nn.BatchNorm2d(len(child.weight), float(child.eps), float(child.momentum))
                norm.load_state_dict(child.state_dict(), strict=False)
                setattr(module, name, norm)
    return model


@pytest.mark.parametrize("kernel", available_kernels(CPU))
def test_statistics_are_those_of_update_bn(kernel: str) -> None:
    trainer = trained(kernel)
    before = {name: buffer.clone() for name, buffer in trainer.forward.buffers().items()}
    given = list(batches(trainer, torch.arange(len(LANES))))
    own_examples = [torch.cat([x[lane] for x in given]) for lane in range(len(LANES))]
    outputs = trainer.predict("validation")
    x = trainer.context.splits["validation"].x
    for lane, tricks in enumerate(LANES):
        model = trainer.model(lane)
        expected = with_torchs_norms(trainer.model(lane))
        if "batch_norm" in tricks and tricks["ema"]["decay"]:
            assert running(model), "the model has running statistics"
            update_bn([x[lane] for x in given], expected)
        for name, value in running(expected).items():
            torch.testing.assert_close(running(model)[name], value, rtol=2e-4, atol=1e-5)
        with torch.no_grad():
            torch.testing.assert_close(outputs[lane], expected.eval()(x), rtol=1e-3, atol=1e-4)
        assert len(own_examples[lane]) == len(given) * trainer.order.batch_size
    after = trainer.forward.buffers()
    assert all(torch.equal(before[name], after[name]) for name in before), "training goes on as it was"


@pytest.mark.parametrize("kernel", available_kernels(CPU))
def test_each_snapshot_has_statistics_of_its_own(kernel: str) -> None:
    """Those of `update_bn` on a model with the snapshot's weights; the last member has those of training."""
    trainer = trained(kernel, MEMBERS, steps=0)
    at = {}
    for step in range(1, trainer.total_steps + 1):
        trainer.step()
        at[step] = trainer.weights.flat.clone()
    snapshot, last = at[trainer.total_steps // 2], at[trainer.total_steps]
    before = {name: buffer.clone() for name, buffer in trainer.forward.buffers().items()}
    outputs = trainer.predict("validation").double().softmax(-1)
    after = trainer.forward.buffers()
    assert all(torch.equal(before[name], after[name]) for name in before)
    x, given = trainer.context.splits["validation"].x, list(batches(trainer, torch.arange(len(MEMBERS))))
    for lane in range(len(MEMBERS)):
        total = torch.zeros(())
        for flat in (snapshot, last):
            trainer.weights.flat.copy_(flat)
            model = with_torchs_norms(trainer.model(lane))
            if flat is snapshot:
                update_bn([x[lane] for x in given], model)
            with torch.no_grad():
                total = total + model.eval()(x).double().softmax(-1)
        torch.testing.assert_close(outputs[lane], total / 2, rtol=1e-3, atol=1e-4)


def test_lanes_whose_own_weights_are_evaluated_keep_their_statistics() -> None:
    trainer = trained("loop", LANES[1:3])
    lanes = torch.arange(2)
    before = {name: buffer.clone() for name, buffer in trainer.forward.buffers().items()}
    with statistics_of(trainer, trainer.scored_weights(), lanes, trainer.forward):
        within = trainer.forward.buffers()
        assert all(torch.equal(before[name], within[name]) for name in before)


def test_a_pass_sees_each_example_once_in_an_order_of_the_seed() -> None:
    trainer = trained("loop", LANES[:2], steps=1)
    keys = step_keys(trainer.seeds, torch.zeros(2, dtype=torch.int64))
    order = Draws(keys).permutation("running statistics", trainer.order.examples)
    assert (order.sort(dim=1).values == torch.arange(trainer.order.examples)).all()
    assert not torch.equal(order[0], order[1])
    seen = torch.cat(list(batches(trainer, torch.tensor([1]))), dim=1)[0]
    assert torch.equal(seen, trainer.context.splits["train"].x[order[1, : len(seen)]])
