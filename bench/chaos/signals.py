"""R6: a signal at an exact moment of a command, once or twice, gives one line and its exit code within ten seconds, and no traceback; what was finished is kept.

Ten seconds are those of an idle machine: they are multiplied by how much longer the command took up to the signal than its processor time.
Only signals that were sent count: the command leaves a mark (`bench.chaos.moments`).
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ablate.ledger.store import Ledger
from bench.chaos.count import Row, rows
from bench.chaos.moments import RANGE, SENT
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
SECONDS, MOST = 10.0, 100.0
"""From a signal to the end: of an idle machine, and of any."""
TRIES = 3
"""So many moments are drawn for each signal: a command whose moments were counted may end before one of them all the same."""
PATIENCE = 300
"""Seconds of wall time after which a command counts as hanging: it may have a fiftieth of a core."""


def moments(draw: random.Random, ranges: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[str, str]]:
    """Endlessly, a command and its moment: an import, two calls (small numbers are as frequent as large ones), waiting for threads, exit.

    ranges: command -> its numbers of imports and calls.
    """
    for turn in itertools.count():
        name = list(COMMANDS)[turn % len(COMMANDS)]
        calls = f"call:{int(ranges[name]['call'] ** draw.uniform(0.5, 1))}"
        kinds = (f"import:{draw.randrange(1, ranges[name]['import'])}", calls, "shutdown", calls, "exit")
        yield name, kinds[turn // len(COMMANDS) % len(kinds)]


def ranges_in(folder: Path) -> dict[str, dict[str, int]]:
    """The moments of each of `COMMANDS` in a copy of `folder`, undisturbed."""
    ranges = {}
    for name, words in COMMANDS.items():
        place = folder.with_name(f"range-{name}")
        shutil.copytree(folder, place)
        subprocess.run(
            [sys.executable, "-m", "bench.chaos.moments", "0", "0", "count", *words],
            cwd=place, env=environment(), check=True, capture_output=True,
        )  # fmt: skip
        ranges[name] = json.loads((place / RANGE).read_text())
        shutil.rmtree(place)
    return ranges


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


def seen(folder: Path, number: signal.Signals, times: int, moment: str, words: list[str]) -> str | None:
    """What was seen instead of what is promised; "" where it was kept, None where no signal was sent. `times`: see `bench.chaos.moments`."""
    case = f"{number.name} x{times} at {moment} of {words[0]}"
    before = {file.name: rows(file) for file in (folder / "studies").glob("*.db")}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.chaos.moments", str(int(number)), str(times), moment, *words],
            cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=PATIENCE,
            start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"{case}: no end within {PATIENCE} s"
    ended, lines = time.time(), [line for line in done.stderr.splitlines() if line.startswith("ablate: ")]
    end = f"{case}: exit {done.returncode}, {done.stderr.strip().splitlines()[-1:]}"
    mark = folder / SENT
    if not mark.is_file():
        reached = moment.startswith(("call", "import"))
        return None if reached and done.returncode == 0 and not lines else f"{end}, without a signal"
    what, code = ("interrupted", 130) if number == signal.SIGINT else ("terminated", 143)
    if done.returncode != code or lines != [f"ablate: {what}; {KEPT}"] or "Traceback" in done.stderr:
        return end
    sent = json.loads(mark.read_text())
    if late := too_late(sent, ended):
        return f"{case}: {late}"
    loss = lost(folder / "studies", before, set(sent["finished"]))
    return f"{case}: {loss}" if loss else ""


def too_late(sent: Mapping[str, Any], ended: float) -> str:
    """What is to be said of a command that ended at `ended`, seconds since 1970; "" if that was soon enough. sent: the content of `SENT`."""
    took = ended - sent["at"]
    limit = min(SECONDS * max(1.0, sent["wall"] / max(sent["processor"], 0.01)), MOST)
    return f"{took:.0f} s until the end, {limit:.0f} are allowed" if took > limit else ""


def lost(studies: Path, before: Mapping[str, list[Row]], finished: set[str]) -> str:
    """What is wrong with the ledgers, "" for nothing: each opens, has its rows as they were `before`, and together they have the `finished` runs."""
    there: set[str] = set()
    for file in studies.glob("*.db"):
        with Ledger.open(file, write=False) as ledger:
            there |= ledger.finished()
        now = {row[0]: row for row in rows(file)}
        if changed := sum(now.get(row[0]) != row for row in before.get(file.name, [])):
            return f"{changed} runs of {file.name} are lost or changed"
    return f"{len(finished - there)} finished runs are lost" if finished - there else ""


def check(folder: Path, count: int, seed: int, tally: Tally) -> None:
    """`count` signals over all commands, numbers and moments."""
    draw = random.Random(seed)
    begun(folder / "begun")
    at = moments(draw, ranges_in(folder / "begun"))
    for turn, (name, moment) in zip(range(TRIES * count), at, strict=False):
        if tally.late or tally.count >= count:
            return
        place = folder / f"turn-{turn}"
        shutil.copytree(folder / "begun", place)
        complaint = seen(place, draw.choice(NUMBERS), draw.choice((0, 1, 2)), moment, COMMANDS[name])
        if complaint is not None:
            tally.add(complaint)
        shutil.rmtree(place)
    if tally.count < count:
        tally.add(f"only {tally.count} of {count} signals were sent")
