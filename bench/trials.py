"""`python -m bench.trials`: trials per hour of a search, against the plain loop of bench/plain.py.

Both sides search the same space for the same number of trials and epochs, without pruning, as whole processes with
start-up, on the same device. After the search ablate trains the five best again on three seeds (15 runs), which the plain
loop does not do; the time with them is what a person waits, and the ratio of runs says what the engine does. A run costs
what its batch size makes it cost, and each side's sampler goes its own way: every repetition has a seed of its own, and the
ratio of the optimizer's steps leaves it out. `--own-only`: an absolute time, with no other side.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch

from ablate.catalogue.registry import registry
from ablate.lanes.group import batch_size
from ablate.ledger.store import Ledger
from ablate.study.search import FINALISTS, REPEATS
from ablate.tasks.load import load
from ablate.tasks.task import Task
from bench import common
from bench.plain import SPACE

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
    "import sys, torch; from ablate.tasks.load import load; from bench.plain import search; "
    "task = load(sys.argv[1]); epochs = int(sys.argv[3]) or task.epochs; "
    "print(search(task.but(epochs=epochs), int(sys.argv[2]), int(sys.argv[4]), torch.device(sys.argv[5])))"
)
LEFT_OUT = (
    "left out: pruning, lr-find, ranking and report (of both sides); which kernel and how many lanes, which a machine's first "
    "search of a model measures and later ones know, is within the time of the first repetition"
)
EAGER = "a group trains without a CUDA graph"


@dataclass
class Side:
    """One side's whole processes: seconds, and the optimizer's steps of all runs. `remarks`: what was slower than it needs be."""

    seconds: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    remarks: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return f"{common.spread(self.seconds)}, {median(self.steps):,.0f} steps"

    @property
    def pace(self) -> float:
        """Steps a second."""
        return median(steps / seconds for steps, seconds in zip(self.steps, self.seconds, strict=True))


def steps_of(ledger: Path, task: Task) -> int:
    """The steps of an optimizer that the runs of a ledger took."""
    catalogue, examples = registry(), len(task.train.x)
    with Ledger.open(ledger, write=False) as opened:
        return sum(
            entry.result.epochs * (examples // batch_size(entry.run, catalogue, task.batch_size))
            for entry in opened.entries()
        )


def plain_search(side: Side, task: str, trials: int, epochs: int, seed: int, device: torch.device) -> None:
    numbers = [str(trials), str(epochs), str(seed)]
    seconds, output, _ = common.whole_process([sys.executable, "-c", PLAIN, task, *numbers, str(device)])
    side.seconds.append(seconds)
    side.steps.append(int(output))


def own_search(side: Side, task: str, trials: int, epochs: int, seed: int, device: torch.device) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.toml"
        budget = f"epochs = {epochs}" if epochs else ""
        text = STUDY.format(task=task, seed=seed, space=SPACE, trials=trials, epochs=budget)
        file.write_text(text, encoding="utf-8")
        command = ["study", str(file), "--stages", "search", "--device", str(device)]
        command += ["--studies", folder, "--out", folder]
        command += ["--quiet"] if device.type == "cpu" else []  # on a GPU it may have remarks
        seconds, output, errors = common.whole_process([sys.executable, "-m", "ablate.cli.app", *command])
        side.seconds.append(seconds)
        side.steps.append(steps_of(Path(folder) / "bench.db", load(task)))
        side.remarks |= {line.strip() for line in (output + errors).splitlines() if EAGER in line}


def compare(
    task: str, trials: int, repeats: int, epochs: int, device: torch.device, *, own_only: bool = False
) -> tuple[Side, Side]:
    """(plain, ablate), the two taken in turn, each repetition with a seed of its own. `epochs` 0: the task's own."""
    plain, ours = Side(), Side()
    for seed in range(repeats):
        if not own_only:
            plain_search(plain, task, trials, epochs, seed, device)
        own_search(ours, task, trials, epochs, seed, device)
    return plain, ours


def report(task: str, trials: int, epochs: int, plain: Side, ours: Side, kind: str) -> Iterator[str]:
    """What came out of `compare`, line by line. `kind`: of the device."""
    indent = " " * len(task)
    if not plain.seconds:
        each = epochs or load(task).epochs
        yield f"{task}: ablate {ours}"
        yield (
            f"{indent}  {trials} trials × {each} epochs, and {FINALISTS * REPEATS} runs of finalists: an absolute time, no other "
            f"side; {3600 * trials / median(ours.seconds):,.0f} trials an hour"
        )
    else:
        ratio = median(plain.seconds) / median(ours.seconds)
        runs = 1 + FINALISTS * REPEATS / trials
        yield f"{task}: plain {plain}"
        yield f"{indent}  ablate {ours}"
        yield (
            f"{indent}  {ratio:.2f} × trials per hour ({common.target(common.targets(kind).trials(task))}), "
            f"{ratio * runs:.2f} × runs, {ours.pace / plain.pace:.2f} × steps"
        )
    for remark in sorted(ours.remarks):
        yield f"{indent}  {remark}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.trials", description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=0, help="0: the task's own")
    parser.add_argument("--tasks", nargs="*", help="built-in tasks, or file.py:name")
    parser.add_argument("--own-only", action="store_true", help="ablate alone: an absolute time")
    common.add_device(parser)
    args = parser.parse_args(argv)
    device = common.device_of_option(args.device)
    print(common.hardware(device))
    print(
        f"{args.trials} trials, no pruning, whole processes; median [least, most] of n = {args.repeats} seeds, in turn"
    )
    print(LEFT_OUT)
    if device.type == "cuda" and not args.own_only:
        print(common.ANCHOR)
    if args.tasks is None and (missing := common.left_out("trials", device.type)):
        print(missing)
    for task in common.default_tasks("trials", device.type) if args.tasks is None else args.tasks:
        plain, ours = compare(task, args.trials, args.repeats, args.epochs, device, own_only=args.own_only)
        for line in report(task, args.trials, args.epochs, plain, ours, device.type):
            print(line, flush=True)


if __name__ == "__main__":
    main()
