"""What only a GPU reaches, with a stand-in for one (`cuda_stand_in.py`): captured steps, synchronisation, memory, a whole study."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from cuda_stand_in import FREE, PEAK, Gpu, stand_in
from test_graph import NO_GRADIENT, UNREACHED
from torch import nn
from torch.utils.data import Dataset

from ablate.catalogue.registry import registry
from ablate.executor_suite import sample_job
from ablate.executors.inline import Inline
from ablate.executors.job import context_of
from ablate.kernels.lower import kernel_unavailable
from ablate.lanes import autotune
from ablate.lanes.context import TaskContext
from ablate.lanes.cuda_graph import Captured, prepare
from ablate.lanes.device import wait
from ablate.lanes.phase_timer import Clock
from ablate.lanes.trainer import Trainer
from ablate.lanes.training import Training
from ablate.protocol.anywhere.restoring import restored
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.study.costs import step_bytes
from ablate.study.environment import device_of, environment
from ablate.study.kernel import GIB, SHARE, budget, key_of
from ablate.surgery.recompute import Surroundings
from ablate.tasks import memory_limit
from ablate.tasks.task import Task
from ablate.testing import suite, variants

CUDA = torch.device("cuda")
OFTEN = ("adam", "dropout", "mixup", "ema", "critic_steps")
"""Of several seams; the others belong to `make validate`."""
STEPS = 8
"""Past the end of an epoch of 6 steps."""


@pytest.fixture
def gpu(monkeypatch):
    with stand_in(monkeypatch) as there:
        yield there


@cache
def on_cuda(task: Task) -> TaskContext:
    return TaskContext.of(task, registry(), CUDA)


def test_the_stand_in_says_cuda_refuses_to_wait_and_replays(gpu: Gpu):
    x = torch.arange(3.0, device="cuda")
    assert (x.device.type, x.is_cuda, x.cpu().tolist()) == ("cuda", True, [0.0, 1.0, 2.0])
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = x * 2
        x += 1
        with pytest.raises(RuntimeError, match="not permitted"):
            float(y.sum())
    graph.replay()
    assert (x.tolist(), y.tolist()) == ([2.0, 3.0, 4.0], [2.0, 4.0, 6.0])


def trainers(name: str, count: int) -> list[Trainer]:
    checks = suite()
    case = checks.where(name)[0]
    context = on_cuda(case.task)
    runs = [
        checks.run(context, tricks, seed) for seed, tricks in enumerate(variants(context.catalogue[name]))
    ]
    return [Trainer(context, runs) for _ in range(count)]


def names() -> list[object]:
    return [
        name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow_oracle) for name in registry()
    ]


@pytest.mark.parametrize("name", names())
def test_a_captured_step_replays_as_the_eager_one(name, gpu: Gpu):
    eager, captured = trainers(name, 2)
    before = {key: tensor.clone() for key, tensor in captured.state().items()}
    prepare(captured)
    if name in UNREACHED or eager.group.ports("rests"):
        assert captured.graph is None
        assert NO_GRADIENT in captured.eager or "not updated at every step" in captured.eager
        return
    assert isinstance(captured.graph, Captured), captured.eager
    for key, tensor in captured.state().items():
        assert torch.equal(tensor, before[key]), f"{key} is changed by the capture"
    for step in range(STEPS):
        outcome = captured.step()
        for got, expected in zip(outcome, eager.step(), strict=True):
            torch.testing.assert_close(got, expected, msg=f"step {step}")
    assert gpu.graphs[-1].replays == STEPS
    for key, tensor in eager.state().items():
        torch.testing.assert_close(captured.state()[key], tensor, msg=key)


def test_a_step_that_waits_for_the_device_trains_eagerly_and_says_why(gpu: Gpu):
    eager, waiting, lost = trainers("momentum", 3)
    train_on = waiting.train_on

    def waits(index, known=None):
        assert float(index.sum()) >= 0
        return train_on(index, known)

    waiting.train_on = waits
    prepare(waiting)
    assert waiting.graph is None
    assert "not permitted when stream is capturing" in waiting.eager
    assert any("without a CUDA graph" in line for line in waiting.context.clock.slow)
    prepare(waiting)
    assert len(gpu.graphs) == 1, "a capture is tried once"
    for _ in range(3):
        assert torch.equal(waiting.step()[0], eager.step()[0])

    def full(index, known=None):
        raise torch.OutOfMemoryError("CUDA out of memory")

    lost.train_on = full
    with pytest.raises(torch.OutOfMemoryError):
        prepare(lost)


@pytest.mark.parametrize("kernel", [None, "batched"])
def test_training_is_that_of_a_cpu_within_rounding(kernel, monkeypatch):
    job = replace(sample_job(0), kernel=kernel or "vmap")
    job = replace(job, runs=job.runs[:2])
    context_of.cache_clear()
    (expected,) = [Inline().submit(job).result().results]
    context_of.cache_clear()
    with stand_in(monkeypatch) as gpu:
        (got,) = [Inline().submit(replace(job, device="cuda", kernel=kernel)).result().results]
    context_of.cache_clear()
    assert gpu.graphs, "the step was captured"
    for one, other in zip(got, expected, strict=True):
        assert one.outcome == other.outcome
        assert one.metrics == pytest.approx(other.metrics, rel=1e-3)


def test_lanes_that_diverge_are_masked_to_the_end_of_the_epoch(gpu: Gpu):
    """A check within the epoch would wait for the device: all lanes go on, and the dead ones stay as they are."""
    job = sample_job(0)
    job = replace(job, device="cuda", runs=job.runs[2:])
    context_of.cache_clear()
    (result,) = Inline().submit(job).result().results
    context_of.cache_clear()
    assert str(result.outcome) == "diverged"


class Rows(Dataset):
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        return self.x[row], int(self.x[row, 0] > 0)


def test_streamed_windows_are_pinned_and_copied(gpu: Gpu, monkeypatch):
    monkeypatch.setattr(memory_limit, "HELD", 20 * 4 * 4)
    monkeypatch.setattr(memory_limit, "WINDOW", 20 * 4 * 4)
    task = Task(lambda: nn.Linear(4, 2), train=Rows(), epochs=1, batch_size=10, name="rows")
    context = TaskContext.of(task, registry(), CUDA)
    run = Run(task.name, Recipe.of(registry(), {"momentum": {"lr": 0.1}}), 0, 1)
    Training(context, [run], ("validation",)).epoch()
    assert gpu.mode.pinned > 0


def test_measurements_wait_for_the_device(gpu: Gpu):
    wait(CUDA)
    assert gpu.asked["synchronize"] == 1
    clock = Clock()
    clock.begin()
    clock.lap("forward")
    assert gpu.asked["synchronize"] == 1
    clock.waits = True
    clock.lap("backward")
    assert gpu.asked["synchronize"] == 2


def test_memory_is_the_devices(gpu: Gpu):
    assert budget(0.0, CUDA, 3) == FREE * SHARE
    assert budget(2.0, CUDA, 4) == GIB / 2
    (trainer,) = trainers("momentum", 1)
    assert step_bytes(trainer) == PEAK
    assert gpu.asked["reset_peak_memory_stats"] == gpu.asked["max_memory_allocated"] == 1


def test_lanes_are_measured_up_to_the_memory_that_there_is(gpu: Gpu, monkeypatch):
    monkeypatch.setitem(autotune.LANES, "cuda", (2, 4, 8))
    (trainer,) = trainers("momentum", 1)
    context, recipe = trainer.context, trainer.group.runs[0].recipe
    assert autotune.counts(context) == (2, 4, 8)
    assert (context.kernel, context.probe.other, context.probe.channels_last) == ("vmap", "batched", False)
    assert kernel_unavailable("compiled", CUDA) == "it is for CPUs"
    rows = autotune.rising(context, recipe, FREE)
    assert [row.lanes for row in rows] == [2, 4, 8]
    enough = rows[0].bytes * autotune.SLACK * 5
    assert [row.lanes for row in autotune.rising(context, recipe, enough)] == [2, 4]
    assert "Stand-in" in environment(CUDA)["gpu"]
    assert key_of(context, recipe, 0.0) != key_of(replace(context, device=torch.device("cpu")), recipe, 0.0)


def test_the_devices_random_numbers_are_restored(gpu: Gpu):
    gpu.generator = torch.arange(16, dtype=torch.uint8)
    before = gpu.generator.clone()
    here = Surroundings.now(CUDA)
    gpu.set_generator(torch.zeros(16, dtype=torch.uint8))
    with here.restored():
        assert torch.equal(gpu.generator, before)
        gpu.set_generator(torch.ones(16, dtype=torch.uint8))
    assert torch.equal(gpu.generator, torch.zeros(16, dtype=torch.uint8)), "those of after the forward pass"
    with restored(nn.Linear(2, 2), ()):
        gpu.set_generator(torch.ones(16, dtype=torch.uint8))
    assert torch.equal(gpu.generator, torch.zeros(16, dtype=torch.uint8))


def test_devices_by_name(monkeypatch):
    with stand_in(monkeypatch, count=2):
        assert device_of("auto") == CUDA
        assert device_of("cuda:1") == torch.device("cuda", 1)
        with pytest.raises(InputError, match="cuda:1"):
            device_of("cuda:2")
