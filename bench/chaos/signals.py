"""R6: a signal at an exact moment of a command, once or twice, gives one line and its exit code, and no traceback."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.chaos.promise import ROOT, Tally
from bench.chaos.tiny_study import study_in

KEPT = "what is finished is kept: run the same command to continue"
COMMANDS = {
    "lr-find": ["lr-find", "chaos.toml", "--workers", "2"],
    "search": ["study", "chaos.toml", "--stages", "lr-find,search", "--executor", "inline"],
    "rank": ["rank", "chaos.toml", "--around", "baseline", "--workers", "2"],
    "report": ["report", "chaos"],
    "compare": ["compare", "one.toml", "two.toml", "--task", "chaos_task.py:task", "--executor", "inline"],
}
NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
CALLS = 3_000_000
"""Up to which call of a Python function signals are sent; a command that ends before must have ended well."""
PATIENCE = 300
"""Seconds of wall time after which a command counts as hanging: it may have a fiftieth of a core."""


def moments(draw: random.Random) -> Iterator[str]:
    """Endlessly: an import, two calls (small numbers are as frequent as large ones), waiting for threads, exit."""
    while True:
        yield f"import:{draw.randrange(1, 1500)}"
        yield f"call:{int(CALLS ** draw.uniform(0.5, 1))}"
        yield "shutdown"
        yield f"call:{int(CALLS ** draw.uniform(0.5, 1))}"
        yield "exit"


def begun(folder: Path) -> None:
    """A folder with a study that has a learning rate, so that each of `COMMANDS` can run in a copy of it."""
    study_in(folder)
    (folder / "one.toml").write_text("[momentum]\nlr = 0.1\n")
    (folder / "two.toml").write_text("[momentum]\nlr = 0.05\n")
    words = ["study", "chaos.toml", "--stages", "lr-find", "--executor", "inline"]
    subprocess.run(
        [sys.executable, "-m", "ablate.cli.app", *words],
        cwd=folder, env=environment(), check=True, capture_output=True,
    )  # fmt: skip


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def seen(folder: Path, number: signal.Signals, times: int, moment: str, words: list[str]) -> str:
    """What was seen instead of what is promised; "" where it was kept. `times`: see `bench.chaos.moments`."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.chaos.moments", str(int(number)), str(times), moment, *words],
            cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=PATIENCE,
            start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"{number.name} x{times} at {moment} of {words[0]}: no end within {PATIENCE} s"
    what, code = ("interrupted", 130) if number == signal.SIGINT else ("terminated", 143)
    told = [line for line in done.stderr.splitlines() if line.startswith("ablate: ")]
    kept = done.returncode == code and told == [f"ablate: {what}; {KEPT}"]
    over = done.returncode == 0 and not told and moment.startswith(("call", "import"))
    if "Traceback" not in done.stderr and (kept or over):
        return ""
    end = done.stderr.strip().splitlines()[-1:]
    return f"{number.name} x{times} at {moment} of {words[0]}: exit {done.returncode}, {end}"


def check(folder: Path, count: int, seed: int, tally: Tally) -> None:
    """`count` signals over all commands, numbers and moments."""
    draw = random.Random(seed)
    begun(folder / "begun")
    at = moments(draw)
    for turn in range(count):
        if tally.late:
            return
        place = folder / f"turn-{turn}"
        shutil.copytree(folder / "begun", place)
        words = list(COMMANDS.values())[turn % len(COMMANDS)]
        tally.add(seen(place, draw.choice(NUMBERS), draw.choice((0, 1, 2)), next(at), words))
        shutil.rmtree(place)
