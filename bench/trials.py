"""`python -m bench.trials`: trials per hour of a search, against the plain loop of bench/plain.py.

Both sides search the same space for the same number of trials and epochs, without pruning, as whole processes with
start-up. After the search ablate trains the five best again on three seeds (15 runs), which the plain loop does
not do; the time with them is what a person waits, and the ratio of runs says what the engine does. A run costs what
its batch size makes it cost, and each side's sampler goes its own way: every repetition has a seed of its own, and the ratio of
the optimizer's steps leaves it out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch

from ablate.catalogue.registry import registry
from ablate.lanes.group import batch_size
from ablate.ledger.store import Ledger
from ablate.study.environment import environment
from ablate.study.search import FINALISTS, REPEATS
from ablate.tasks.load import load
from ablate.tasks.task import Task
from bench.plain import SPACE

TARGETS = {"digits": 4.0, "mammography": 8.0, "breast-cancer": 8.0}
STUDY = """\
task = "{task}"
seed = {seed}
{epochs}
{space}
[search]
trials = {trials}
pruner = "none"
"""
PLAIN = (
    "import sys; from ablate.tasks.load import load; from bench.plain import search; "
    "task = load(sys.argv[1]); epochs = int(sys.argv[3]) or task.epochs; "
    "print(search(task.but(epochs=epochs), int(sys.argv[2]), int(sys.argv[4])))"
)


@dataclass
class Side:
    """One side's whole processes: seconds, and the optimizer's steps of all runs."""

    seconds: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        least, most = min(self.seconds), max(self.seconds)
        return f"{median(self.seconds):.1f} s [{least:.1f}, {most:.1f}], {median(self.steps):,.0f} steps"

    @property
    def pace(self) -> float:
        return median(steps / seconds for steps, seconds in zip(self.steps, self.seconds, strict=True))


def timed(command: list[str]) -> tuple[float, str]:
    """Seconds of a whole process, and its standard output."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - started, done.stdout


def steps_of(ledger: Path, task: Task) -> int:
    """The steps of an optimizer that the runs of a ledger took."""
    catalogue, examples = registry(), len(task.train.x)
    with Ledger.open(ledger, write=False) as opened:
        return sum(
            entry.result.epochs * (examples // batch_size(entry.run, catalogue, task.batch_size))
            for entry in opened.entries()
        )


def compare(task: str, trials: int, repeats: int, epochs: int) -> tuple[Side, Side]:
    """(plain, ablate), the two taken in turn, each repetition with a seed of its own. `epochs` 0: the task's own."""
    plain, own = Side(), Side()
    for seed in range(repeats):
        took, said = timed([sys.executable, "-c", PLAIN, task, str(trials), str(epochs), str(seed)])
        plain.seconds.append(took)
        plain.steps.append(int(said))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "bench.toml"
            budget = f"epochs = {epochs}" if epochs else ""
            text = STUDY.format(task=task, seed=seed, space=SPACE, trials=trials, epochs=budget)
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
            own.seconds.append(timed([sys.executable, "-m", "ablate.cli.app", *command])[0])
            own.steps.append(steps_of(Path(folder) / "bench.db", load(task)))
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
        f"{asked.trials} trials, no pruning, whole processes; median [least, most] of n = {asked.repeats} seeds, in turn"
    )
    for task in asked.tasks:
        plain, own = compare(task, asked.trials, asked.repeats, asked.epochs)
        ratio = median(plain.seconds) / median(own.seconds)
        runs = 1 + FINALISTS * REPEATS / asked.trials
        print(f"{task}: plain {plain}")
        print(f"{' ' * len(task)}  ablate {own}")
        print(
            f"{' ' * len(task)}  {ratio:.2f} × trials per hour (target {TARGETS.get(task, 1):g}), {ratio * runs:.2f} × runs,"
            f" {own.pace / plain.pace:.2f} × steps"
        )


if __name__ == "__main__":
    main()
