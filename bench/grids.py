"""`python -m bench.grids`: lr-find's grids as lanes, against the same runs one after another.

ablate runs `ablate study TASK --stages lr-find`; the ledger then says which runs that were (learning rate, weight
decay, epochs), and the plain loop of bench/plain.py trains those. Two times are told: the grids alone (from the first run
sent to the last received, against the plain loop's own time), and whole processes, in which lr-find also does its
first three steps and a range test, which the other side is spared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from ablate.ledger.store import Ledger
from ablate.study.environment import environment
from ablate.tasks.load import load
from bench.plain import train

TASKS = ("digits", "breast-cancer")
TARGET = 4.0


def ours(task: str, folder: Path) -> tuple[float, float]:
    """Seconds of (the grids, the whole process)."""
    started = time.perf_counter()
    command = ["study", task, "--stages", "lr-find", "--force", "--quiet", "--json", "--profile"]
    command += ["--studies", str(folder), "--out", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "ablate.cli.app", *command], check=True, capture_output=True, text=True
    )
    whole = time.perf_counter() - started
    return float(json.loads(done.stdout)["profile"]["seconds"]["waiting"]), whole


def grid(folder: Path) -> list[tuple[float, float, int, int]]:
    """(learning rate, weight decay, seed, epochs) of every run of lr-find in the folder's ledger."""
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


def plain(task: str, folder: Path) -> tuple[float, float]:
    """The same runs in a process of their own, one after another: seconds of (training, the whole process)."""
    file = folder / "grid.json"
    file.write_text(json.dumps(grid(folder)), encoding="utf-8")
    started = time.perf_counter()
    command = [sys.executable, "-m", "bench.grids", "--one-after-another", task, str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout), time.perf_counter() - started


def one_after_another(name: str, file: Path) -> None:
    task = load(name)
    started = time.perf_counter()
    for rate, decay, seed, epochs in json.loads(file.read_text(encoding="utf-8")):
        asked = {
            "optimizer": "momentum", "lr": rate, "batch_size": task.batch_size, "weight_decay": decay,
            "label_smoothing": 0.0, "dropout": 0.0, "norm": "none", "activation": "relu", "clip": float("inf"),
            "cosine": False,
        }  # fmt: skip
        train(task.but(epochs=epochs), asked, seed)
    print(time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.grids", description=__doc__)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one-after-another", nargs=2, metavar=("TASK", "FILE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one_after_another:
        name, file = asked.one_after_another
        one_after_another(name, Path(file))
        return
    about = environment(torch.device("cpu"))
    print(f"{about['cpu']}, {about['cores']} cores; ablate {about['ablate']}, torch {about['torch']}")
    print(f"lr-find, median of n = {asked.repeats}, taken in turn")
    for task in asked.tasks:
        own: list[tuple[float, float]] = []
        other: list[tuple[float, float]] = []
        for _ in range(asked.repeats):
            with tempfile.TemporaryDirectory() as folder:
                own.append(ours(task, Path(folder)))
                other.append(plain(task, Path(folder)))
                runs = len(grid(Path(folder)))
        print(f"{task}: {runs} runs (target {TARGET:g})")
        for place, what in enumerate(("grids alone", "whole processes")):
            a, b = (median(times[place] for times in side) for side in (other, own))
            print(f"  {what}: one after another {a:.1f} s, ablate {b:.1f} s, ratio {a / b:.2f}")


if __name__ == "__main__":
    main()
