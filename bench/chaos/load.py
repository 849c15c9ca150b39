"""L: a ledger of 100,000 runs, and a table of 200,000 rows, within declared limits of time, memory and size.

Each command is a process of its own, of which processor time and peak memory are measured, imports included: a busy machine changes neither.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ablate.catalogue.registry import registry
from ablate.ledger.entry import Entry
from ablate.ledger.store import Ledger
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from bench.chaos.promise import Tally
from bench.scale import AT_ONCE, EPOCHS, planned, sample_result

COLUMNS = 30
"""Of the table: the metric, a seed, and factors."""
SEEDS = 50
FACTORS = ",".join(f"factor_{number}" for number in range(COLUMNS - 2))
RUN = "from ablate.cli.app import main; main()"
RESUME = """
import sys, time
from pathlib import Path
from ablate.ledger.store import Ledger
from bench.scale import planned
path, count = Path(sys.argv[1]), int(sys.argv[2])
runs = [one.run.identity for one in planned(count)]
began = time.process_time()
with Ledger.open(path, write=True) as ledger:
    assert not list(ledger.unfinished(runs)), "runs are missing"
print(f"{time.process_time() - began:.3f} seconds")
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a command may take: seconds of processor time, GiB of memory, MB of page (infinite for a command without one)."""

    seconds: float
    memory: float = 1.0
    page: float = float("inf")


REPORT, RESUMED, TABLE = Limits(10, page=5), Limits(3), Limits(20)


def check(folder: Path, count: int, seed: int, tally: Tally) -> None:
    """Reports of `count` runs of ten recipes, and of `count` trials with a recipe each; a resumed study; a ranking of a table with 2 × `count` rows."""
    studies = folder / "studies"
    studies.mkdir()
    runs = (Entry(one.run, sample_result(one.run), "rank", arm=one.arm) for one in planned(count))
    for name, entries in (("runs", runs), ("trials", trials(count, seed))):
        with Ledger.open(studies / f"{name}.db", write=True) as ledger:
            while some := list(islice(entries, AT_ONCE)):
                ledger.record(some)
        out = folder / "reports"
        words = ("-c", RUN, "report", name, "--studies", str(studies), "--out", str(out))
        tally.add(within(f"report of {count:,} {name}", words, folder, REPORT, out / name / "index.html"))
    words = ("-c", RESUME, str(studies / "runs.db"), str(count))
    tally.add(within(f"resuming {count:,} runs", words, folder, RESUMED))
    table = folder / "table.csv"
    write_table(table, 2 * count, seed)
    words = ("-c", RUN, "rank", "--table", str(table), "--metric", "accuracy", "--seed-column", "seed", "--factors", FACTORS, "--out", str(folder / "reports"))  # fmt: skip
    tally.add(within(f"ranking a table of {2 * count:,} rows", words, folder, TABLE))


def trials(count: int, seed: int) -> Iterator[Entry]:
    """Finished trials of a search, each with a recipe of its own."""
    draw, catalogue = random.Random(seed), registry()
    for number in range(count):
        tricks = {
            "momentum": {"lr": draw.uniform(0.01, 0.5)},
            "dropout": {"p": draw.uniform(0.01, 0.6)},
            "weight_decay": {"decay": draw.uniform(1e-5, 1e-2)},
            "label_smoothing": {"eps": draw.uniform(0.01, 0.3)},
            "mixup": {"alpha": draw.uniform(0.05, 1.0)},
            "clip_norm": {"max_norm": draw.uniform(0.1, 10.0)},
        }
        run = Run("wine", Recipe.of(catalogue, tricks), number, EPOCHS)
        yield Entry(run, sample_result(run), "search", trial=number)


def write_table(path: Path, rows: int, seed: int) -> None:
    """A CSV file of runs: factors with two levels, numbers, a seed and the accuracy."""
    draw = random.Random(seed)
    factors = FACTORS.split(",")
    with path.open("w") as file:
        file.write(",".join([*factors, "seed", "accuracy"]) + "\n")
        for number in range(rows):
            levels = draw.choices(("on", "off"), k=len(factors))
            accuracy = 0.9 + 0.01 * (levels[0] == "on") + draw.gauss(0, 0.01)
            file.write(",".join([*levels, str(number % SEEDS), f"{accuracy:.5f}"]) + "\n")


def within(what: str, words: tuple[str, ...], folder: Path, limits: Limits, page: Path | None = None) -> str:
    """ "" if the command ends well within its limits, else what it took. A command that prints `N seconds` says itself what counts."""
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *words], stdout=file, stderr=subprocess.STDOUT, cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    output = log.read_text()
    if process.returncode != 0:
        return f"{what}: exit code {process.returncode}, {output.strip().splitlines()[-1:]}"
    said = re.search(r"([\d.]+) seconds", output) if words[1] == RESUME else None
    taken = Limits(
        seconds=float(said[1]) if said else used.ru_utime + used.ru_stime,
        memory=used.ru_maxrss / (1 << 20 if sys.platform == "linux" else 1 << 30),
        page=page.stat().st_size / 1e6 if page else 0.0,
    )
    line = f"{what}: {taken.seconds:.1f} s of processor time, {taken.memory:.2f} GiB" + (
        f", {taken.page:.2f} MB of page" if page else ""
    )
    print(f"      {line}", flush=True)
    kept = taken.seconds <= limits.seconds and taken.memory <= limits.memory and taken.page <= limits.page
    return "" if kept else line
