"""`python -m bench.foreign`: networks in various styles of code, trained by ablate and by a plain torch loop.

Six networks that were not tuned for ablate (`bench/foreign_networks.py`), each with synthetic data and one recipe (SGD with
momentum). The plain loop is `DataLoader` and `torch.optim`, one trial after another. On the other side the kernel and the
number of lanes are those that `lanes/autotune.py` measures and chooses, as a study has them; a trial is training and the
validation after every epoch on both sides. Both run on one thread and their CPU time is compared, so that other
work on the machine does not count; building the models counts on both sides; choosing the kernel is reported separately.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch.utils.data import DataLoader, TensorDataset

from ablate.catalogue.registry import registry
from ablate.lanes.autotune import measured
from ablate.lanes.context import TaskContext
from ablate.lanes.train import train as train_lanes
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.tasks.task import Task
from bench import common
from bench.foreign_networks import NETWORKS

CPU = torch.device("cpu")
LR, MOMENTUM = 0.02, 0.9
ROOM = 1 << 31
"""Bytes that a group may take."""


@dataclass(frozen=True, slots=True)
class Row:
    """CPU seconds per trial on both sides, by repeat; `choosing`: CPU seconds of measuring the kernels, once per study."""

    name: str
    parameters: int
    solo: str
    kernel: str
    lanes: int
    plain: tuple[float, ...]
    own: tuple[float, ...]
    choosing: float

    @property
    def factor(self) -> float:
        return median(self.plain) / median(self.own)

    def __str__(self) -> str:
        hour = 3600 / median(self.own)
        return (
            f"| {self.name} | {self.parameters:,} | {'loop (alone)' if self.solo else self.kernel} | {self.lanes} | "
            f"{common.spread((1e3 * s for s in self.plain), '.0f', '')} | {common.spread((1e3 * s for s in self.own), '.0f', '')} | "
            f"{hour:,.0f} | {self.factor:.2f} | {self.choosing:.1f} |"
        )


HEADER = (
    "| network | parameters | kernel | lanes | plain, ms a trial | ablate, ms a trial | ablate, trials an hour | × plain | choosing, s |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def plain_trial(task: Task, seed: int) -> float:
    """One trial of the plain loop; its last validation accuracy."""
    torch.manual_seed(seed)
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), LR, momentum=MOMENTUM)
    loader = DataLoader(
        TensorDataset(task.train.x, task.train.y), task.batch_size, shuffle=True, drop_last=True
    )
    criterion = torch.nn.CrossEntropyLoss()
    accuracy = 0.0
    for _ in range(task.epochs):
        model.train()
        for x, y in loader:
            optimizer.zero_grad(set_to_none=True)
            criterion(model(x), y).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            accuracy = (model(task.validation.x).argmax(1) == task.validation.y).double().mean().item()
    return accuracy


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def compared(name: str, repeats: int, trials: int) -> Row:
    """`trials`: of the plain loop in a repeat; the other side trains one group of as many lanes as were chosen."""
    task = NETWORKS[name]()
    catalogue = registry()
    context = TaskContext.of(task, catalogue, CPU)
    recipe = Recipe.of(catalogue, {"momentum": {"lr": LR, "momentum": MOMENTUM}})
    lanes, choosing = 1, 0.0
    if not context.solo:
        started = time.process_time()
        choice = measured(context, recipe, ROOM)
        choosing = time.process_time() - started
        context, lanes = context.with_kernel(choice.kernel), choice.lanes

    def group() -> None:
        runs = max(lanes, trials) if context.solo else lanes
        for result in train_lanes(
            context, [Run(task.name, recipe, seed, task.epochs) for seed in range(runs)]
        ):
            assert result.epochs == task.epochs

    together = max(lanes, trials) if context.solo else lanes
    plain, ablate = [], []
    for _ in range(repeats):
        plain.append(seconds(lambda: [plain_trial(task, seed) for seed in range(trials)]) / trials)
        ablate.append(seconds(group) / together)
    parameters = sum(p.numel() for p in task.model().parameters())
    return Row(name, parameters, context.solo, context.kernel, lanes, tuple(plain), tuple(ablate), choosing)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.foreign",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=3, help="of the plain loop in a repeat")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(common.hardware(CPU))
    print(f"medians [least, most] of n = {args.repeats}; CPU time, one thread\n")
    print(HEADER, flush=True)
    rows = []
    for name in args.networks:
        rows.append(compared(name, args.repeats, args.trials))
        print(rows[-1], flush=True)
    return 0 if all(row.factor >= 1 for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
