"""`python -m bench.rates`: is the rate that lr-find gives a good one, and what does it cost?

For each pair of task and optimizer a dense grid (a tenth of a decade, over the five decades of lr-find's own grid) is
trained with seeds that no method has seen. A rate's result is the mean over those seeds at the nearest rate of the dense grid;
its share is its accuracy over that of the best rate (regression: the best loss over its loss). lr-find, the three usual
readings of the exponential range test, and the optimizer's default are compared. Cost: training steps of a method, in
units of one seed of lr-find's plain grid of 11 rates. Rows are kept as they come (`--fresh`: all again).
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from math import log10
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from sklearn import datasets

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.train import train
from ablate.protocol.baseline import RATES, Baseline, round_rate
from ablate.protocol.cells import LOSS
from ablate.protocol.loss_drop import TEST_STEPS
from ablate.protocol.plan import Budget, short_runs
from ablate.protocol.run import lane_steps, run_steps
from ablate.protocol.steps import Setup, Step
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run
from ablate.tasks.task import Task
from bench.faults import healthy
from bench.faults.data import digits, images, made, numbers, sequences, standard, table, tokens
from bench.statistics.sections import put

RESULTS = Path(__file__).parent / "results"
TABLE, DOCUMENT = RESULTS / "rates.csv", Path(__file__).parents[1] / "docs" / "lr_find.md"
PER_DECADE, HALF_DECADES = 10, 5
FIRST_SEED, SEEDS = 100, 5
"""Seeds of the dense grid; the methods use seed 0 and those after it."""
LANES, ACCURACY = 64, "validation/accuracy"
METHODS = ("lr-find", "steepest", "valley", "minimum / 10", "default")
TASKS: dict[str, Callable[[], Task]] = {
    "digits": lambda: made(digits(0, count=900), epochs=20),
    "table": lambda: made(table(0, 1500), epochs=20),
    "regression": lambda: made(numbers(0), epochs=30, criterion="regression"),
    "tokens": lambda: made(tokens(0), healthy.bag, epochs=30),
    "breast-cancer": lambda: made(standard(datasets.load_breast_cancer, 0), epochs=30),
    "images": lambda: made(images(0), healthy.convolutional, epochs=20),
    "sequences": lambda: made(sequences(0), lambda: healthy.Recurrent(torch.nn.RNN), epochs=30),
}
PAIRS = [(task, optimizer) for task in TASKS for optimizer in ("momentum", "adam", "rmsprop")]


@dataclass(frozen=True, slots=True)
class Row:
    """A method on a pair. `share`: of the best of the dense grid; `cost`: in grids of 11 rates and one seed."""

    task: str
    optimizer: str
    method: str
    rate: float
    share: float
    cost: float


def compare(task: Task, optimizer: str) -> list[Row]:
    """All methods on one pair."""
    catalogue = registry()
    baseline = Baseline(Recipe.of(catalogue, {optimizer: {}}), catalogue)
    context = TaskContext.of(task, catalogue, torch.device("cpu"))
    spent = [0.0]

    def trained(runs: Sequence[Run], arm: str) -> list[Result]:
        results = train(context, list(runs), lanes=LANES)
        spent[0] += sum(max(result.epochs, 1) for result in results)
        return results

    setup = Setup(context, trained, baseline, 0, lambda line: None)
    steps, best = run_steps(setup, force=True, budget=Budget())
    plain_grid = RATES * task.epochs
    steps_per_epoch = -(-len(task.train) // task.batch_size)
    cost = (spent[0] + short_steps(steps, steps_per_epoch * task.epochs) / steps_per_epoch) / plain_grid
    suggested = steps[3].figures["suggestions"] if len(steps) > 3 else {}
    default = float(baseline.optimizer.parameter("lr").default)
    rates = {
        "lr-find": best.rate if best else default,
        **{m: suggested.get(m, default) for m in METHODS[1:-1]},
        "default": default,
    }
    scores = dense_grid(context, baseline)
    sign = 1 if task.direction == "higher" else -1
    top = max(scores.values(), key=lambda score: sign * score)
    costs = {"lr-find": cost, "default": 0.0}
    rows = []
    for method in METHODS:
        score = scores[min(scores, key=lambda rate: abs(log10(rate / rates[method])))]
        share = score / top if sign > 0 else top / score
        rows.append(
            Row(
                task.name,
                optimizer,
                method,
                rates[method],
                round(share if share == share else 0.0, 4),
                round(costs.get(method, TEST_STEPS / steps_per_epoch / plain_grid), 3),
            )
        )
    return rows


def short_steps(steps: Sequence[Step], run_steps: int) -> int:
    """Training steps of lr-find's steps 2 and 3, over all lanes."""
    drop = short_runs(Budget(), 0.0, run_steps).drop
    return lane_steps(drop) + sum(len(curve) for curve in steps[2].figures["curves"].values())


def dense_grid(context: TaskContext, baseline: Baseline) -> dict[float, float]:
    """Mean over `SEEDS` seeds of the metric, by rate: accuracy, or the loss. A rate at which a run diverges has 0, or infinity."""
    center = baseline.rates()[RATES // 2]
    reach = PER_DECADE * HALF_DECADES // 2
    rates = [round_rate(center * 10 ** (i / PER_DECADE)) for i in range(-reach, reach + 1)]
    runs = [
        Run(context.task.name, baseline.at(rate), FIRST_SEED + seed, context.task.epochs)
        for rate in rates
        for seed in range(SEEDS)
    ]
    results = train(context, runs, lanes=LANES)
    higher = context.task.direction == "higher"
    name, worst = (ACCURACY, 0.0) if higher else (LOSS, np.inf)

    def value(result: Result) -> float:
        return result.metrics[name] if result.outcome is Outcome.COMPLETE else worst

    return {
        rate: fmean(value(one) for one in results[i * SEEDS : (i + 1) * SEEDS])
        for i, rate in enumerate(rates)
    }


def lines_of(rows: Sequence[Row]) -> list[str]:
    """The table: a row a pair with each method's share and lr-find's cost, then means and lowest shares."""
    pairs = list(dict.fromkeys((row.task, row.optimizer) for row in rows))
    known = {(row.task, row.optimizer, row.method): row for row in rows}
    lines = [
        f"| task, optimizer | {' | '.join(METHODS)} | cost of lr-find |",
        "|---|" + "---|" * (len(METHODS) + 1),
    ]
    for pair in pairs:
        cells = [f"{known[*pair, method].share:.3f}" for method in METHODS]
        lines.append(f"| {', '.join(pair)} | {' | '.join(cells)} | {known[*pair, 'lr-find'].cost:.2f} |")
    for what, reduce in (("mean", fmean), ("lowest", min)):
        cells = [f"{reduce([row.share for row in rows if row.method == method]):.3f}" for method in METHODS]
        costs = [row.cost for row in rows if row.method == "lr-find"]
        lines.append(
            f"| {what} of {len(pairs)} | {' | '.join(cells)} | {fmean(costs) if what == 'mean' else max(costs):.2f}{'' if what == 'mean' else ' at most'} |"
        )
    return lines


def read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(
                line["task"],
                line["optimizer"],
                line["method"],
                *(float(line[name]) for name in ("rate", "share", "cost")),
            )
            for line in csv.DictReader(file)
        ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fresh", action="store_true", help="run again what the file has")
    parser.add_argument("--only", default="", help="part of 'task, optimizer'")
    parser.add_argument("--results", type=Path, default=TABLE)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = read(args.results)
    for name, optimizer in PAIRS:
        if args.only not in f"{name}, {optimizer}":
            continue
        if not args.fresh and any((row.task, row.optimizer) == (name, optimizer) for row in rows):
            continue
        rows = [row for row in rows if (row.task, row.optimizer) != (name, optimizer)]
        rows += compare(TASKS[name]().but(name=name), optimizer)
        with args.results.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
        print(
            "\n".join(
                f"{row.task}, {row.optimizer}: {row.method} {row.rate:g}, share {row.share:.3f}, cost {row.cost:.2f}"
                for row in rows[-len(METHODS) :]
            ),
            flush=True,
        )
    lines = lines_of(rows)
    put("rates", lines, DOCUMENT)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
