"""`python -m bench.trials`: trials per hour of a search, against the plain loop of bench/plain.py.

Both sides search the same space for the same number of trials and epochs, without pruning, as whole processes with
start-up. After the search ablate trains the five best again on three seeds (15 runs), which the plain loop does
not do; the time with them is what a person waits, and the ratio of runs says what the engine does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from ablate.study.environment import environment
from ablate.study.search import FINALISTS, REPEATS
from bench.plain import SPACE

TARGETS = {"digits": 4.0, "mammography": 8.0, "breast-cancer": 8.0}
STUDY = """\
task = "{task}"
{epochs}
{space}
[search]
trials = {trials}
pruner = "none"
"""
PLAIN = (
    "import sys; from ablate.tasks.load import load; from bench.plain import search; "
    "task = load(sys.argv[1]); epochs = int(sys.argv[3]) or task.epochs; "
    "search(task.but(epochs=epochs), int(sys.argv[2]))"
)


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - started


def compare(task: str, trials: int, repeats: int, epochs: int) -> tuple[list[float], list[float]]:
    """Seconds of (plain, ablate), the two taken in turn. `epochs` 0: the task's own."""
    plain, own = [], []
    for _ in range(repeats):
        plain.append(seconds([sys.executable, "-c", PLAIN, task, str(trials), str(epochs)]))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "bench.toml"
            budget = f"epochs = {epochs}" if epochs else ""
            text = STUDY.format(task=task, space=SPACE, trials=trials, epochs=budget)
            file.write_text(text, encoding="utf-8")
            command = [
                "study",
                str(file),
                "--stages",
                "search",
                "--studies",
                folder,
                "--out",
                folder,
                "--quiet",
            ]
            own.append(seconds([sys.executable, "-m", "ablate.cli.app", *command]))
    return plain, own


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.trials", description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=0, help="0: the task's own")
    table = "mammography" if os.environ.get("ABLATE_DATA") else "breast-cancer"
    parser.add_argument("--tasks", nargs="*", default=["digits", table])
    asked = parser.parse_args()
    about = environment(torch.device("cpu"))
    print(
        f"{about['cpu']}, {about['cores']} cores; ablate {about['ablate']}, torch {about['torch']}, optuna {about['optuna']}"
    )
    print(
        f"{asked.trials} trials, no pruning, whole processes; median [least, most] of n = {asked.repeats}, in turn"
    )
    for task in asked.tasks:
        plain, own = compare(task, asked.trials, asked.repeats, asked.epochs)
        ratio = median(plain) / median(own)
        runs = 1 + FINALISTS * REPEATS / asked.trials
        print(
            f"{task}: plain {told(plain)}, ablate {told(own)}: {ratio:.2f} × trials per hour"
            f" (target {TARGETS.get(task, 1):g}), {ratio * runs:.2f} × runs per hour"
        )


def told(times: list[float]) -> str:
    return f"{median(times):.1f} s [{min(times):.1f}, {max(times):.1f}]"


if __name__ == "__main__":
    main()
