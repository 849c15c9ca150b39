"""Shared by the benchmarks: devices, targets, tasks, and running whole processes.

All take `--device auto|cpu|cuda`; auto is the GPU if there is one.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from ablate.records.errors import InputError
from ablate.study.environment import device_of, environment
from ablate.tasks.task_cards import CARDS, DATA


@dataclass(frozen=True, slots=True)
class Targets:
    """Target speed-ups of ablate; None: no target.

    image, tabular: trials per hour of a search against the plain loop, by the task's kind. grids: lr-find's grids
    against the same runs one after another. graphed: a step of one run among K lanes against a solo loop whose step
    is one CUDA graph.
    """

    image: float | None = None
    tabular: float | None = None
    grids: float | None = None
    graphed: float | None = None

    def trials(self, task: str) -> float | None:
        """Of a search on a built-in task; other tasks have no target."""
        card = CARDS.get(task)
        return {"image": self.image, "tabular": self.tabular}.get(card.kind) if card else None


TARGETS = {
    "cpu": Targets(image=4.0, tabular=8.0, grids=4.0),
    "cuda": Targets(image=20.0, tabular=20.0, grids=15.0, graphed=3.0),
}
ANCHOR = (
    "an anchor, not a target: HFTA (Wang et al. 2021, arXiv 2102.02344) reports up to 15.1 × the throughput of one job per GPU, "
    "on models and GPUs of its own"
)
CLOTHES = "fashion-mnist"


def targets(kind: str) -> Targets:
    """Those of a kind of device (`torch.device.type`); none for kinds other than CPUs and CUDA devices."""
    return TARGETS.get(kind, Targets())


def target(factor: float | None) -> str:
    return "no target" if factor is None else f"target {factor:g}"


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto (a GPU where there is one), cpu, cuda, cuda:1")


def device_of_option(name: str) -> torch.device:
    """The device of `--device`. Exits with a one-line message if it is unavailable."""
    try:
        return device_of(name)
    except InputError as error:
        raise SystemExit(f"{error}") from error


def hardware(device: torch.device) -> str:
    """One line: processor, cores, versions; for a CUDA device its name, memory and CUDA version too."""
    about = environment(device)
    processor = f"{about['cpu']}, {about['cores']} cores"
    versions = ", ".join(f"{name} {about[name]}" for name in ("ablate", "python", "torch", "optuna"))
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory / (1 << 30)
        return f"{about['gpu']}, {memory:.0f} GiB, CUDA {torch.version.cuda}; {processor}; {versions}"
    return f"{processor}; {versions}"


def default_tasks(part: str, kind: str) -> list[str]:
    """The default tasks of a benchmark: digits, a table, and on a GPU Fashion-MNIST if its data are available."""
    table = "mammography" if CARDS["mammography"].ready() else "breast-cancer"
    if kind != "cuda" or part == "grids":
        return ["digits", table if part == "trials" else "breast-cancer"]
    return ["digits", *([CLOTHES] if CARDS[CLOTHES].ready() else []), table]


def left_out(part: str, kind: str) -> str:
    """Why a default task is missing from `default_tasks`; empty if none is."""
    if kind != "cuda" or part == "grids" or CARDS[CLOTHES].ready():
        return ""
    return f"left out: {CLOTHES}: {DATA} names no folder with {', '.join(CARDS[CLOTHES].missing())}"


def spread(values: Iterable[float], form: str = ".1f", unit: str = " s") -> str:
    """`median unit [least, most]`."""
    values = list(values)
    return f"{median(values):{form}}{unit} [{min(values):{form}}, {max(values):{form}}]"


def whole_process(command: Sequence[str]) -> tuple[float, str, str]:
    """Wall seconds of a process, its standard output and standard error. Exits if the process fails."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command[:3])} … failed ({done.returncode}):\n{done.stdout[-1000:]}{done.stderr}"
        )
    return time.perf_counter() - started, done.stdout, done.stderr
