"""`python -m bench.grids`: lr-find's grids as lanes, against the same runs one after another.

ablate runs `ablate study TASK --stages lr-find`; the ledger then says which runs that were (learning rate, weight
decay, epochs), and the plain loop of bench/plain.py trains those, on the same device. Two times are reported: the grids alone
(from the first run sent to the last received, bench/timed_study.py, against the plain loop's own time), and whole processes,
in which lr-find also does its first three steps and a range test, unlike the other side. On a GPU the plain loop
trains one epoch before its clock starts, as the range test makes the device ready for ablate's grids.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ablate.lanes.device import wait
from ablate.ledger.store import Ledger
from ablate.tasks.load import load
from ablate.tasks.task import Task
from bench import common
from bench.plain import train

LEFT_OUT = (
    "left out of the grids alone: start-up, the first three steps and the range test; whole processes: ablate does all of these, "
    "the other side start-up only"
)
Row = tuple[float, float, int, int]
"""(learning rate, weight decay, seed, epochs) of a run."""
Seconds = tuple[float, float]
"""Of (the grids alone, the whole process)."""


def ours(task: str, folder: Path, device: torch.device) -> Seconds:
    command = ["study", task, "--stages", "lr-find", "--force", "--quiet", "--device", str(device)]
    command += ["--studies", str(folder), "--out", str(folder)]
    whole, output, _ = common.whole_process([sys.executable, "-m", "bench.timed_study", *command])
    return float(output.split()[-1]), whole


def grid(folder: Path) -> list[Row]:
    """Every run of lr-find in the folder's ledger."""
    (path,) = folder.glob("*.db")
    with Ledger.open(path, write=False) as ledger:
        entries = ledger.entries(scores=False)
    rows = []
    for entry in entries:
        recipe = entry.run.recipe
        optimizer = next(settings for settings in recipe.values() if "lr" in settings)
        decay = recipe.get("weight_decay", {}).get("decay", 0.0)
        rows.append((float(optimizer["lr"]), float(decay), entry.run.seed, entry.run.epochs))
    return rows


def plain(task: str, folder: Path, device: torch.device) -> Seconds:
    """The same runs in a separate process, one after another."""
    file = folder / "grid.json"
    file.write_text(json.dumps(grid(folder)), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "bench.grids",
        "--one-after-another",
        task,
        str(file),
        "--device",
        str(device),
    ]
    whole, output, _ = common.whole_process(command)
    return float(output), whole


def sequentially(task: Task, rows: list[Row], device: torch.device) -> float:
    """Seconds of training."""

    def settings(rate: float, decay: float) -> dict[str, Any]:
        return {
            "optimizer": "momentum", "lr": rate, "batch_size": task.batch_size, "weight_decay": decay,
            "label_smoothing": 0.0, "dropout": 0.0, "norm": "none", "activation": "relu", "clip": 0.0,
            "cosine": False,
        }  # fmt: skip

    if device.type != "cpu":
        rate, decay, seed, _ = rows[0]
        train(task.but(epochs=1), settings(rate, decay), seed, device=device)
    wait(device)
    started = time.perf_counter()
    for rate, decay, seed, epochs in rows:
        train(task.but(epochs=epochs), settings(rate, decay), seed, device=device)
    wait(device)
    return time.perf_counter() - started


def report(task: str, runs: int, other: list[Seconds], ours: list[Seconds], kind: str) -> Iterator[str]:
    """The results as lines. `kind`: of the device."""
    yield f"{task}: {runs} runs ({common.target(common.targets(kind).grids)} for the grids alone)"
    for index, what in enumerate(("grids alone", "whole processes")):
        theirs, mine = ([times[index] for times in side] for side in (other, ours))
        yield (
            f"  {what}: one after another {common.spread(theirs)}, ablate {common.spread(mine)}, "
            f"ratio {median(theirs) / median(mine):.2f}"
        )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.grids", description=__doc__)
    parser.add_argument("--tasks", nargs="*", help="built-in tasks, or file.py:name")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one-after-another", nargs=2, metavar=("TASK", "FILE"), help=argparse.SUPPRESS)
    common.add_device(parser)
    args = parser.parse_args(argv)
    device = common.device_of_option(args.device)
    if args.sequentially:
        name, file = args.sequentially
        print(sequentially(load(name), json.loads(Path(file).read_text(encoding="utf-8")), device))
        return
    print(common.hardware(device))
    print(f"lr-find, median [least, most] of n = {args.repeats}, taken in turn")
    print(LEFT_OUT)
    for task in common.default_tasks("grids", device.type) if args.tasks is None else args.tasks:
        timings: list[Seconds] = []
        other: list[Seconds] = []
        for _ in range(args.repeats):
            with tempfile.TemporaryDirectory() as folder:
                timings.append(ours(task, Path(folder), device))
                other.append(plain(task, Path(folder), device))
                runs = len(grid(Path(folder)))
        for line in report(task, runs, other, timings, device.type):
            print(line, flush=True)


if __name__ == "__main__":
    main()
