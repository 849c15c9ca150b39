"""`python -m bench.lanes`: one step of one run, trained together, alone and as others train it; share of the roofline.

For each task the same recipe (SGD with momentum, as many learning rates as lanes) is trained for a number of steps:

- plain: one run, `DataLoader`, `torch.optim`, eager, torch's own number of threads
- resident: one run, the data on the device and indexed, fused optimizer, eager (on a GPU also as one CUDA graph)
- one lane, K lanes: ablate's trainer in this process, one thread on a CPU
- processes: K lanes in each of as many processes as there are cores (CPU)

Milliseconds are wall time a step of one run, medians of `--repeats`, the sides taken in turn. The roofline is the
run's floating-point operations (counted by torch) over the fastest matrix product measured on all cores or the GPU.
Left out: evaluation, start-up, and tricks, which cost both sides something.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from ablate.catalogue.registry import registry
from ablate.executors.processes import keep_memory
from ablate.lanes.bench import Bench
from ablate.lanes.device import one_thread, wait
from ablate.lanes.graph import prepare
from ablate.lanes.trainer import Trainer
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.study.environment import device_of, environment
from ablate.study.kernel import choose
from ablate.tasks.load import load
from ablate.tasks.task import Task

TASKS = ("digits", "breast-cancer")
STEPS, WARM = 40, 5
Side = Callable[[], float]
"""Milliseconds a step of one run."""


def timed(step: Callable[[], Any], device: torch.device, runs: int, steps: int = STEPS) -> float:
    """Milliseconds a step and run, `step` being one step of `runs` of them."""
    for _ in range(WARM):
        step()
    wait(device)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    wait(device)
    return 1e3 * (time.perf_counter() - started) / steps / runs


def loss_of(task: Task, outputs: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(outputs, y) if task.criterion == "classification" else F.mse_loss(outputs, y)


def plain(task: Task, device: torch.device) -> float:
    """A loop as most people write it."""
    model = task.model().to(device)
    data = TensorDataset(task.train.x, task.train.y)
    loader = DataLoader(
        data, batch_size=task.batch_size, shuffle=True, drop_last=True, pin_memory=device.type == "cuda"
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def batches() -> Any:
        while True:
            yield from loader

    source = batches()

    def step() -> None:
        x, y = next(source)
        optimizer.zero_grad(set_to_none=True)
        loss_of(task, model(x.to(device)), y.to(device)).backward()
        optimizer.step()

    return timed(step, device, 1)


def resident(task: Task, device: torch.device, *, graph: bool = False) -> float:
    """The data on the device, indexed; the optimizer fused; on a GPU, if asked, the whole step one CUDA graph."""
    model = task.model().to(device)
    x, y = task.train.x.to(device), task.train.y.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    index = torch.randint(len(y), (task.batch_size,), device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of(task, model(x[index]), y[index]).backward()
        optimizer.step()

    def drawn() -> None:
        index.copy_(torch.randint(len(y), (task.batch_size,), device=device))
        step()

    if not graph:
        return timed(drawn, device, 1)
    aside = torch.cuda.Stream()
    with torch.cuda.stream(aside):  # type: ignore[no-untyped-call]
        for _ in range(WARM):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        step()

    def replay() -> None:
        index.copy_(torch.randint(len(y), (task.batch_size,), device=device))
        captured.replay()

    return timed(replay, device, 1)


def trainer_of(bench: Bench, lanes: int) -> Trainer:
    rates = [10 ** (-2.5 + lane / lanes) for lane in range(lanes)]
    recipes = [
        Recipe.of(registry(), {"optimizer": {"name": "momentum", "lr": rate, "momentum": 0.9}})
        for rate in rates
    ]
    return Trainer(bench, [Run(bench.task.name, recipe, seed, 1) for seed, recipe in enumerate(recipes)])


def lanes_alone(bench: Bench, lanes: int) -> float:
    """K lanes in this process, of one thread on a CPU."""
    with one_thread() if bench.device.type == "cpu" else nullcontext():
        trainer = trainer_of(bench, lanes)
        prepare(trainer)
        return timed(trainer.step, bench.device, lanes, max(4, STEPS // int(math.sqrt(lanes))))


def in_processes(reference: str, kernel: str, lanes: int, processes: int) -> float:
    """K lanes in each of several processes at once, milliseconds a step of any run."""
    context = get_context("spawn")
    ready, told = context.Barrier(processes), context.SimpleQueue()
    workers = [
        context.Process(target=_worker, args=(reference, kernel, lanes, ready, told))
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    times = [told.get() for _ in workers]
    for worker in workers:
        worker.join()
    return max(times) / processes


def _worker(reference: str, kernel: str, lanes: int, ready: Barrier, told: Any) -> None:
    keep_memory()
    torch.set_num_threads(1)
    bench = Bench.of(load(reference), registry(), torch.device("cpu"), kernel)
    lanes_alone(bench, lanes)  # warm
    ready.wait()
    told.put(lanes_alone(bench, lanes))


def operations(task: Task) -> int:
    """Floating-point operations of one training step of one run, as torch counts them."""
    model: nn.Module = task.model()
    x, y = task.train.x[: task.batch_size], task.train.y[: task.batch_size]
    with FlopCounterMode(display=False) as counter:
        loss_of(task, model(x), y).backward()
    return int(counter.get_total_flops())


def peak(device: torch.device, size: int = 2048) -> float:
    """Operations a second of a square float32 matrix product, the fastest of ten."""
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    best = math.inf
    for _ in range(10):
        wait(device)
        started = time.perf_counter()
        a @ b
        wait(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def sides(reference: str, device: torch.device) -> tuple[Bench, int, dict[str, Side]]:
    task = load(reference)
    recipe = Recipe.of(registry(), {"optimizer": {"name": "momentum", "lr": 0.01, "momentum": 0.9}})
    bench, choice = choose(Bench.of(task, registry(), device), recipe, workers=os.cpu_count() or 1)
    found: dict[str, Side] = {
        "plain": partial(plain, task, device),
        "resident": partial(resident, task, device),
    }
    if device.type == "cuda":
        found["resident, CUDA graph"] = partial(resident, task, device, graph=True)
    found["one lane"] = partial(lanes_alone, bench, 1)
    found[f"{choice.lanes} lanes"] = partial(lanes_alone, bench, choice.lanes)
    if device.type == "cpu" and (cores := os.cpu_count() or 1) > 1:
        found[f"{choice.lanes} lanes in each of {cores} processes"] = partial(
            in_processes, reference, bench.kernel, choice.lanes, cores
        )
    return bench, choice.lanes, found


def report(reference: str, device: torch.device, repeats: int) -> None:
    bench, _, found = sides(reference, device)
    times: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(repeats):
        for name, side in found.items():
            times[name].append(side())
    most, flops = peak(device), operations(bench.task)
    print(
        f"{reference}: batch {bench.task.batch_size}, {flops / 1e6:.1f} MFLOP a step, kernel {bench.kernel}; "
        f"roofline {1e3 * flops / most:.4f} ms at {most / 1e9:.0f} GFLOP/s"
    )
    base = median(times["plain"])
    for name, row in times.items():
        own = median(row)
        print(
            f"  {name}: {own:.4f} ms a step and run [{min(row):.4f}, {max(row):.4f}], {base / own:.2f} × plain, "
            f"{1e3 * flops / most / own:.1%} of the roofline"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.lanes", description=__doc__)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    device = device_of(asked.device)
    about = environment(device)
    print(
        f"{about['gpu'] or about['cpu']}, {about['cores']} cores; ablate {about['ablate']}, torch {about['torch']}"
    )
    print(f"median [least, most] of n = {asked.repeats}, taken in turn")
    for reference in asked.tasks:
        report(reference, device, asked.repeats)


if __name__ == "__main__":
    main()
