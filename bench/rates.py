"""`python -m bench.rates`: is the rate that lr-find gives a good one, and what does it cost?

Each pair of task and optimizer has a grid of 11 rates and three seeds (bench/rate_grids.py), trained with seeds that no method sees. A rate's
result is the mean over those seeds at the nearest rate of that grid; its share is its result over that of the best rate
(regression: the best loss over its loss). lr-find, the three usual readings of the exponential range test, and the
optimizer's default are compared. Cost: training steps of all lanes, steps 1 to 3 included, in units of one seed of lr-find's
plain grid of 11 rates. Rows are kept as they come (`--fresh`: all again), and so are the grids.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite, log10
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

import torch

from ablate.lanes.context import TaskContext
from ablate.lanes.train import train
from ablate.lanes.trainer import Trainer
from ablate.protocol.baseline import RATES, Baseline
from ablate.protocol.loss_drop import STEPS, range_test
from ablate.protocol.plan import Budget
from ablate.protocol.range_test import suggestions
from ablate.protocol.run import run_steps
from ablate.protocol.short_runs import map_lanes, train_steps
from ablate.protocol.steps import Setup
from ablate.records.run import Result, Run
from bench.rate_grids import LANES, Grid, grid_of, pair_of
from bench.rate_grids import read as read_grids
from bench.rate_grids import write as write_grids
from bench.rate_tasks import PAIRS
from bench.statistics.sections import put

RESULTS = Path(__file__).parent / "results"
TABLE, DOCUMENT = RESULTS / "rates.csv", Path(__file__).parents[1] / "docs" / "lr_find.md"
METHODS = ("lr-find", "steepest", "valley", "minimum / 10", "default")


@dataclass(frozen=True, slots=True)
class Row:
    """A method on a pair. `share`: of the best of the grid; `cost`: in grids of 11 rates and one seed."""

    task: str
    optimizer: str
    method: str
    rate: float
    share: float
    cost: float


@dataclass(slots=True)
class Spent:
    """Training steps, over all lanes."""

    steps: int = 0


def compare(context: TaskContext, baseline: Baseline, grid: Grid) -> list[Row]:
    """All methods on one pair."""
    task = context.task
    steps_per_epoch = max(1, len(task.train) // task.batch_size)
    plain_grid = RATES * task.epochs * steps_per_epoch
    best_rate, spent = searched(context, baseline, steps_per_epoch)
    default = float(baseline.optimizer.parameter("lr").default)
    suggested = read_range_test(context, baseline)
    rates = {
        "lr-find": default if best_rate is None else best_rate,
        **{method: suggested.get(method, default) for method in METHODS[1:-1]},
        "default": default,
    }
    costs = {"lr-find": spent / plain_grid, "default": 0.0}
    return [
        Row(
            task.name,
            baseline.optimizer.name,
            method,
            rate,
            round(share(grid, rate, higher=task.direction == "higher"), 4),
            round(costs.get(method, 2 * STEPS / plain_grid), 3),
        )
        for method, rate in rates.items()
    ]


def searched(context: TaskContext, baseline: Baseline, steps_per_epoch: int) -> tuple[float | None, int]:
    """lr-find's rate, and the training steps that it took: every step of a trainer outside whole runs, and whole runs by epochs."""
    spent = Spent()
    step = Trainer.step

    def counted(trainer: Trainer, *given: Any) -> Any:
        spent.steps += trainer.lanes
        return step(trainer, *given)

    def trained(runs: Sequence[Run], arm: str) -> list[Result]:
        before = spent.steps
        results = train(context, list(runs), lanes=LANES)
        spent.steps = before + steps_per_epoch * sum(max(result.epochs, 1) for result in results)
        return results

    with patch.object(Trainer, "step", counted):
        _, best = run_steps(
            Setup(context, trained, baseline, 0, lambda line: None), force=True, budget=Budget()
        )
    return None if best is None else best.rate, spent.steps


def read_range_test(context: TaskContext, baseline: Baseline) -> dict[str, float]:
    """What the three rules read off a range test of 100 steps, beside an untrained lane."""
    setup = Setup(context, lambda runs, arm: [], baseline, 0, lambda line: None)
    (untrained,) = map_lanes(context, [setup.short_run(0.0)], lambda lanes: train_steps(lanes, STEPS))
    return suggestions(*range_test(setup, untrained.losses))


def share(grid: Grid, rate: float, *, higher: bool) -> float:
    """The mean score at the grid's rate nearest to `rate`, over that of the best; 0 where a run diverged with a loss."""
    means = {one: fmean(seeds) for one, seeds in grid.items()}
    score = means[min(means, key=lambda one: abs(log10(one / rate)))]
    if higher:
        return score / max(means.values())
    return min(means.values()) / score if isfinite(score) else 0.0


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
    rows, grids = read(args.results), read_grids()
    for name, optimizer in PAIRS:
        if args.only not in f"{name}, {optimizer}":
            continue
        if not args.fresh and any((row.task, row.optimizer) == (name, optimizer) for row in rows):
            continue
        rows = [row for row in rows if (row.task, row.optimizer) != (name, optimizer)]
        context, baseline = pair_of(name, optimizer)
        if (name, optimizer) not in grids:
            grids = read_grids() | {(name, optimizer): grid_of(context, baseline)}
            write_grids(grids)
        rows += compare(context, baseline, grids[name, optimizer])
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
