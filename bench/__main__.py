"""`make bench`: all speed benchmarks. Each part is also a separate command with options for sizes.

python -m bench.trials    (a, b) trials per hour of a whole search against a plain Optuna + DataLoader loop
python -m bench.grids     (c) lr-find's grids against the same runs one after another
python -m bench.lanes     (d, f) a run's step alone, in lanes, in processes and in reference loops; share of the roofline
python -m bench.search    (e) search and ledger per trial (--overhead); regret of the search (--regret)
python -m bench.growth    (g) scaling with trials, lanes and runs
python -m bench.kernels   CPU time of a step under each kernel (not part of make bench)
python -m bench.faults    planted faults and healthy tasks under lr-find (an hour; not part of make bench)
python -m bench.rates     lr-find's rate against a grid, range tests and defaults (minutes; not part of make bench)
python -m bench.curves    labelled runs for lr-find's step 6 (a minute; not part of make bench)
python -m bench.quality   the search's result at equal wall time, on three real tasks (an hour; not part of make bench)

If there is a CUDA GPU all of them train on it (`--device cpu`: not), (a) and (b) also on Fashion-MNIST, with an absolute
time for 100 trials × 10 epochs. `python -m bench --keep` also writes the lines to bench/results/DEVICE.txt; `--trials` and
`--repeats` size it, `--list` says what would run.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ablate.study.environment import environment
from ablate.tasks.task_cards import CARDS, DATA
from bench import common

RESULTS = Path(__file__).parent / "results"
TRIALS = {"cpu": 40, "cuda": 100}
"""Of (a) and (b), where `--trials` does not say."""
ABSOLUTE = ("--tasks", common.CLOTHES, "--trials", "100", "--epochs", "10", "--own-only")


@dataclass(frozen=True, slots=True)
class Part:
    """A command after `python -m`. `without`: why it is left out, if it is."""

    command: tuple[str, ...]
    without: str = ""

    def __str__(self) -> str:
        return f"python -m {' '.join(self.command)}"


def parts(kind: str, device: str, *, trials: int = 0, repeats: int = 3) -> tuple[Part, ...]:
    """What `make bench` runs on a `device` of that kind ("cpu", "cuda"), and what it leaves out and why."""
    where, n = ("--device", device), ("--repeats", str(repeats))
    without = ""
    if kind == "cpu":
        without = "it is for a GPU; two cores would take about an hour (an estimate, not measured)"
    elif not CARDS[common.CLOTHES].ready():
        without = f"{DATA} names no folder with {', '.join(CARDS[common.CLOTHES].missing())}"
    return (
        Part(("bench.trials", "--trials", str(trials or TRIALS.get(kind, TRIALS["cpu"])), *n, *where)),
        Part(("bench.grids", *n, *where)),
        Part(("bench.lanes", *n, *where)),
        Part(("bench.trials", *ABSOLUTE, *n, *where), without),
        Part(("bench.search", "--overhead", *n, *where)),
        Part(("bench.growth", *where)),
    )


def run(part: Part, tell: Callable[[str], None]) -> int:
    """Run a part in a separate process and print its lines; returns its exit code."""
    tell(f"\n# {part}\n")
    if part.without:
        tell(f"left out: {part.without}\n")
        return 0
    command = [sys.executable, "-m", *part.command]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        for line in process.stdout:
            tell(line)
    if process.returncode:
        tell(f"failed with exit code {process.returncode}\n")
    return process.returncode


def kept_name(about: dict[str, object]) -> str:
    """`DEVICE.txt` of an `environment`: the GPU's name, or the processor's and its cores."""
    name = about["gpu"] or f"{about['cpu']} {about['cores']} cores"
    return f"{re.sub(r'[^a-z0-9]+', '-', str(name).lower()).strip('-')}.txt"


def run_all(chosen: Sequence[Part], file: TextIO | None) -> int:
    """Run every part, even if one fails; returns the first non-zero exit code."""

    def tell(line: str) -> None:
        print(line, end="", flush=True)
        if file is not None:
            file.write(line)
            file.flush()

    codes = [run(part, tell) for part in chosen]
    return next((code for code in codes if code), 0)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common.add_device(parser)
    parser.add_argument("--trials", type=int, default=0, help="of (a) and (b); 0: 40, on a GPU 100")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="write the lines to bench/results/DEVICE.txt too")
    parser.add_argument("--list", action="store_true", help="say what would run, and run nothing")
    args = parser.parse_args(argv)
    device = common.device_of_option(args.device)
    chosen = parts(device.type, str(device), trials=args.trials, repeats=args.repeats)
    if args.list:
        for part in chosen:
            print(part, f"(left out: {part.without})" if part.without else "")
        return 0
    if not args.keep:
        return run_all(chosen, None)
    path = RESULTS / kept_name(environment(device))
    with path.open("w", encoding="utf-8") as file:
        code = run_all(chosen, file)
    print(f"\nkept in {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return code


if __name__ == "__main__":
    sys.exit(main())
