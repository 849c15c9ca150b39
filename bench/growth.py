"""`python -m bench.growth`: scaling of a trial's overhead with trials, of a lane's step with lanes, of a report with runs.

Each line gives the cost per item and its ratio to the previous size: 1 means linear growth of the total. Trials and lanes: CPU
time of this process (lanes on a GPU: wall time). The report is of synthetic runs (tests/report/report_synthetic.py), in wall time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import optuna
import torch

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.cuda_graph import prepare
from ablate.lanes.device import wait
from ablate.lanes.trainer import Trainer
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.report.build import build
from ablate.tasks.load import load
from bench import common
from bench.search import overhead

TRIALS = (100, 1000, 10_000)
LANES = {"cpu": (1, 2, 4, 8, 16, 32, 64, 128), "cuda": (1, 4, 16, 64, 128, 256, 512)}
RUNS = (100, 1000, 10_000)
WARM, STEPS = 3, 15
RECIPES = (
    {"momentum": {"lr": 0.02}, "dropout": {"p": 0.1}, "batch_norm": {}},
    {"adam": {}, "label_smoothing": {}, "weight_decay": {}},
    {"rmsprop": {}, "activation": {"kind": "gelu"}, "clip_norm": {}},
    {"momentum": {"lr": 0.02}, "ema": {}, "warmup": {}, "group_norm": {}},
    {"adamw": {}, "skip_connection": {}},
)
"""Recipes of the lanes, cyclically."""
Point = tuple[int, float]


def by_trials(repeats: int, device: str) -> dict[str, list[Point]]:
    """ms per trial of sampling and of the ledger."""
    costs: dict[str, list[Point]] = {"sampling, ms a trial": [], "ledger, ms a trial": []}
    for trials in TRIALS:
        spent = [overhead(trials, seed, device=device) for seed in range(repeats)]
        costs["sampling, ms a trial"].append((trials, 1e3 * median(one.sampling for one in spent) / trials))
        costs["ledger, ms a trial"].append((trials, 1e3 * median(one.ledger for one in spent) / trials))
    return costs


def by_lanes(device: torch.device) -> dict[str, list[Point]]:
    """ms per lane and step, an MLP on breast-cancer, one thread; on a GPU one graph per step, if it can be captured."""
    torch.set_num_threads(1)
    context = TaskContext.of(load("breast-cancer"), registry(), device)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    costs: list[Point] = []
    for lanes in LANES.get(device.type, LANES["cpu"]):
        runs = [
            Run(context.task.name, Recipe.of(context.catalogue, RECIPES[i % len(RECIPES)]), i, 5)
            for i in range(lanes)
        ]
        trainer = Trainer(context, runs)
        prepare(trainer)
        times = []
        for step in range(WARM + STEPS):
            wait(device)
            started = clock()
            trainer.step()
            wait(device)
            if step >= WARM:
                times.append(clock() - started)
        costs.append((lanes, 1e3 * median(times) / lanes))
    return {"step, ms a lane": costs}


def by_runs() -> dict[str, list[Point]]:
    """Milliseconds and kilobytes of the report per run."""
    sys.path.append(str(Path(__file__).parent.parent / "tests" / "report"))
    from report_synthetic import Synthetic

    costs: dict[str, list[Point]] = {"report, ms a run": [], "report page, kB a run": []}
    for runs in RUNS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            ledger = Synthetic(trials=runs).write(folder / "study.db")
            started = time.perf_counter()
            page = build(ledger, folder / "report")
            seconds = time.perf_counter() - started
            costs["report, ms a run"].append((runs, 1e3 * seconds / runs))
            costs["report page, kB a run"].append((runs, page.stat().st_size / 1e3 / runs))
    return costs


def table(costs: dict[str, list[Point]]) -> Iterator[str]:
    for name, points in costs.items():
        before = None
        yield f"| {name} | " + " | ".join(str(size) for size, _ in points) + " |"
        yield "|" + "---|" * (len(points) + 1)
        yield "| cost | " + " | ".join(f"{cost:.3g}" for _, cost in points) + " |"
        factors = []
        for _, cost in points:
            factors.append("" if before is None else f"×{cost / before:.2f}")
            before = cost
        yield "| ratio to the previous | " + " | ".join(factors) + " |"
        yield ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--repeats", type=int, default=1, help="of the search's overhead")
    parser.add_argument(
        "--parts", nargs="*", default=["trials", "lanes", "runs"], choices=["trials", "lanes", "runs"]
    )
    common.add_device(parser)
    args = parser.parse_args()
    device = common.device_of_option(args.device)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(common.hardware(device))
    print(f"n = {args.repeats} a figure of trials, 1 of runs; a step is the median of {STEPS}")
    parts = {
        "trials": lambda: by_trials(args.repeats, device.type),
        "lanes": lambda: by_lanes(device),
        "runs": by_runs,
    }
    for part in args.parts:
        for line in table(parts[part]()):
            print(line, flush=True)


if __name__ == "__main__":
    main()
