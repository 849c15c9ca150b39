"""`python -m bench.kernels`: CPU time of a training step under each kernel.

Groups of K runs as a search makes them: recipes drawn from the space of bench/plain.py, at the task's own batch size. The kernels
take turns. Time is the process's CPU time in one thread, in milliseconds per step of the whole group, so that other work on
the machine counts little.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ablate.catalogue.registry import registry
from ablate.kernels.lower import available_kernels
from ablate.lanes.context import TaskContext
from ablate.lanes.device import one_thread
from ablate.lanes.trainer import Trainer
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.tasks.load import load
from bench import common
from bench.plain import ACTIVATIONS

CPU = torch.device("cpu")
TASKS = ("digits", "mammography", f"{Path(__file__).parent / 'residual_cnn.py'}:task")
WARM = 3
"""Steps before the first that is timed."""


def recipe(draw: random.Random) -> Recipe:
    """One of the space that bench.trials searches, without batch sizes: those are the same for all lanes of a group."""

    def log(low: float, high: float) -> float:
        return low * (high / low) ** draw.random()

    def maybe(name: str, **settings: Any) -> dict[str, dict[str, Any]]:
        return {name: settings} if draw.random() < 0.5 else {}

    rate = log(1e-3, 1e-1)
    optimizer = draw.choice(
        [{"name": "momentum", "lr": rate, "momentum": 0.9}, *({"name": n, "lr": rate / 10} for n in ("adam", "rmsprop"))]
    )  # fmt: skip
    settings: dict[str, Any] = {"optimizer": optimizer}
    settings |= maybe("weight_decay", decay=log(1e-6, 1e-2))
    settings |= maybe("label_smoothing", eps=0.3 * draw.random())
    settings |= maybe("dropout", p=0.6 * draw.random())
    settings |= {norm: {} for norm in [draw.choice(["", "batch_norm", "group_norm"])] if norm}
    settings |= maybe("activation", kind=draw.choice([kind for kind in ACTIVATIONS if kind != "relu"]))
    settings |= maybe("clip_norm", max_norm=log(0.1, 10.0))
    settings |= maybe("cosine_restarts")
    return Recipe.of(registry(), settings)


def trainer_of(context: TaskContext, lanes: int, seed: int) -> Trainer:
    draw = random.Random(seed)
    recipes = [recipe(draw) for _ in range(lanes)]
    return Trainer(
        context,
        [Run(context.task.name, lane_recipe, number, 1) for number, lane_recipe in enumerate(recipes)],
    )


def milliseconds(trainer: Trainer, steps: int) -> float:
    """CPU time of the fastest step."""
    times = []
    for _ in range(steps):
        started = time.process_time()
        trainer.step()
        times.append(time.process_time() - started)
    return 1e3 * min(times)


def measure(context: TaskContext, kernels: Sequence[str], lanes: int, seed: int, rounds: int, steps: int) -> dict[str, list[float]]:  # fmt: skip
    """Kernel -> milliseconds a step in each round, of one group."""
    trainers = {kernel: trainer_of(context.with_kernel(kernel), lanes, seed) for kernel in kernels}
    for trainer in trainers.values():
        for _ in range(WARM):
            trainer.step()
    times: dict[str, list[float]] = {kernel: [] for kernel in kernels}
    for _ in range(rounds):
        for kernel, trainer in trainers.items():
            times[kernel].append(milliseconds(trainer, steps))
    return times


def report(reference: str, lanes: int, groups: int, rounds: int, steps: int) -> Iterator[str]:
    context = TaskContext.of(load(reference), registry(), CPU)
    name = context.task.name
    kernels = [kernel for kernel in available_kernels(CPU) if not context.solo or kernel == "loop"]
    for seed in range(groups):
        times = measure(context, kernels, lanes, seed, rounds, steps)
        each = ", ".join(f"{kernel} {common.spread(row, '.2f', ' ms')}" for kernel, row in times.items())
        yield f"{name}, group {seed + 1}: {each}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.kernels", description=__doc__)
    parser.add_argument("--tasks", nargs="*", default=TASKS, help="built-in tasks, or file.py:name")
    parser.add_argument("--lanes", type=int, default=17)
    parser.add_argument("--groups", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="in a round, of which the fastest counts")
    args = parser.parse_args(argv)
    print(common.hardware(CPU))
    print(
        f"{args.lanes} lanes; CPU ms a step, median [least, most] of n = {args.rounds} rounds, taken in turn"
    )
    with one_thread():
        for reference in args.tasks:
            for line in report(reference, args.lanes, args.groups, args.rounds, args.steps):
                print(line, flush=True)


if __name__ == "__main__":
    main()
