"""`python -m bench.curves`: real runs, labelled by how they were made, for step 6 of lr-find.

Six kinds of runs, six seeds each, kept in bench/results/curves.json; a test reads what step 6 says about each of them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.train import train
from ablate.protocol.curve_check import diagnose_recorded
from ablate.protocol.prior import PriorLosses
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.tasks.task import Task
from bench.faults import models
from bench.faults.data import Data, digits, generator, made, perceptron, table

RESULTS = Path(__file__).parent / "results" / "curves.json"
SEEDS = 6
DIGITS = 5
"""Significant digits that are kept."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`expected`: the codes of step 6 that are true of runs made like this; empty: no warning is."""

    name: str
    task: Callable[[int], Task]
    tricks: Mapping[str, Any]
    expected: tuple[str, ...] = field(default=())


def small(seed: int, noise: float) -> Data:
    """60 training examples, a share of whose labels is drawn anew."""
    x, y, new, new_y = digits(seed)
    x, y = x[:60], y[:60].clone()
    draw = generator(seed + 1)
    hit = torch.rand(60, generator=draw) < noise
    y[hit] = torch.randint(10, (int(hit.sum()),), generator=draw)
    return x, y, new, new_y


def _alike(given: Data) -> Data:
    """Validation examples from the same rows as every second training example, moved a little: as hard as those."""
    x, y, _, _ = given
    return x, y, x[::2] + 0.01 * torch.randn(x[::2].shape, generator=generator(0)), y[::2]


def linear() -> nn.Module:
    return nn.Linear(8, 3)


KINDS = (
    Kind("sound", lambda seed: made(digits(seed), epochs=20), {"momentum": {"lr": 0.02}}),
    Kind(
        "few examples, many wrong labels, long", lambda seed: made(small(seed, 0.3), lambda: perceptron(64, 10, width=128), epochs=100),
        {"momentum": {"lr": 0.05}}, ("validation-rising", "wide-gap"),
    ),
    Kind("a tenth of a good rate, ten epochs", lambda seed: made(digits(seed), epochs=10), {"momentum": {"lr": 0.002}}, ("still-falling",)),
    Kind("four sigmoid layers", lambda seed: made(digits(seed), models.deep(3, nn.Sigmoid), epochs=40), {"momentum": {"lr": 0.2}}, ("start-up-plateau",)),
    Kind("warm restarts at a high rate", lambda seed: made(digits(seed), epochs=32, batch_size=16),
        {"momentum": {"lr": 0.2}, "cosine_restarts": {"cycle": 8, "multiplier": 1}}, ("spikes", "validation-rising"),
    ),
    Kind("a linear model of a table that is not linear", lambda seed: made(_alike(table(seed, 1500)), linear, epochs=20), {"momentum": {"lr": 0.02}}, ("no-gap",)),
)  # fmt: skip


def runs_of(kind: Kind) -> list[dict[str, Any]]:
    """The curves of `SEEDS` runs that differ in their seed."""
    catalogue = registry()
    recipe = Recipe.of(catalogue, kind.tricks)
    records = []
    task = kind.task(0)
    context = TaskContext.of(task, catalogue, torch.device("cpu"))
    results = train(context, [Run(task.name, recipe, seed, task.epochs) for seed in range(SEEDS)])
    for seed, result in enumerate(results):
        curves = {name: [rounded(value) for value in values] for name, values in result.curves.items()}
        records.append({
            "kind": kind.name, "expected": list(kind.expected), "seed": seed, "outcome": str(result.outcome),
            "prior": rounded(PriorLosses.of(task).loss), "examples": len(task.validation), "curves": curves,
        })  # fmt: skip
    return records


def rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="part of a kind's name; the others' runs are kept")
    args = parser.parse_args()
    torch.set_num_threads(1)
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if args.only else []
    runs = []
    for kind in KINDS:
        again = args.only in kind.name
        of_kind = runs_of(kind) if again else [run for run in kept if run["kind"] == kind.name]
        for run in of_kind:
            findings = diagnose_recorded(run["curves"], run["prior"], run["examples"])
            codes = [f"{finding.level} {finding.code}" for finding in findings]
            print(run["kind"], run["seed"], run["outcome"], codes, flush=True)
        runs += of_kind
    RESULTS.write_text("[\n" + ",\n".join(json.dumps(run) for run in runs) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
