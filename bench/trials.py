"""Trials per hour: `ablate study` against the plain loop, over the same space, same epochs, no pruning; whole processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.plain import SHARED

STUDY = """\
task = "{task}"
[baseline]
optimizer = {{ name = "momentum", lr = 0.03, momentum = 0.9 }}
[space]
include = {include}
batch_size.size = {{ low = 32, high = 256 }}
[search]
trials = {trials}
pruner = "none"
"""
PLAIN = "import sys; from ablate.tasks.load import load; from bench.plain import search; search(load(sys.argv[1]), int(sys.argv[2]))"


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ})
    return time.perf_counter() - started


def compare(task: str, trials: int, repeats: int) -> tuple[float, float]:
    """Median seconds (plain, ablate), the two taken in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        times[0].append(seconds([sys.executable, "-c", PLAIN, task, str(trials)]))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "bench.toml"
            include = "[" + ", ".join(f'"{name}"' for name in SHARED) + "]"
            file.write_text(STUDY.format(task=task, include=include, trials=trials), encoding="utf-8")
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
            times[1].append(seconds([sys.executable, "-m", "ablate.cli.app", *command]))
    return median(times[0]), median(times[1])
