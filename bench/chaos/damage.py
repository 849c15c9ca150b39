"""R3: a ledger with one flipped bit, or cut at any length, gives the recorded numbers or one line, never other numbers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from ablate.ledger.entry import Entry
from ablate.ledger.store import Ledger
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run
from bench.chaos.promise import Tally

RUNS = 12


def recorded() -> list[Entry]:
    """The runs of the ledger that is damaged."""
    draw = random.Random(5)
    return [
        Entry(
            Run("digits", Recipe({"adam": {"lr": draw.random()}}), seed, 3),
            Result(
                Outcome.COMPLETE,
                {"validation/accuracy": draw.random()},
                {"validation/accuracy": tuple(draw.random() for _ in range(3))},
                {"validation": tuple(draw.random() for _ in range(30))},
                epochs=3,
                seconds=draw.random(),
            ),
            "search",
            trial=seed,
        )
        for seed in range(RUNS)
    ]


def seen(path: Path, entries: list[Entry], facts: dict[str, Any]) -> str:
    """What was read instead of what was recorded, or of one line; "" where the promise was kept."""
    try:
        with Ledger.open(path, write=False) as ledger:
            same = ledger.entries() == entries and ledger.facts() == facts
    except InputError as error:
        return "" if "\n" not in str(error) else f"more than a line: {error}"
    except Exception as error:  # noqa: BLE001 - whatever else is raised breaks the promise, and is reported
        return f"{type(error).__name__}: {error}"
    return "" if same else "other numbers"


def check(folder: Path, count: int, seed: int, tally: Tally) -> None:
    """`count` flipped bits, and as many truncations of the last pages (every length, where `count` suffices)."""
    entries, facts = recorded(), {"design": {"rows": [1, 2.5]}}
    path = folder / "good.db"
    with Ledger.open(path, write=True) as ledger:
        ledger.record(entries)
        ledger.put("design", facts["design"])
    good, draw = path.read_bytes(), random.Random(seed)
    damaged = folder / "damaged.db"
    for _ in range(count):
        if tally.late:
            return
        place = draw.randrange(len(good) * 8)
        flipped = bytearray(good)
        flipped[place // 8] ^= 1 << place % 8
        damaged.write_bytes(flipped)
        complaint = seen(damaged, entries, facts)
        tally.add(complaint and f"bit {place}: {complaint}")
    every = max(1, 8192 // count)
    for length in range(len(good) - 8192, len(good), every):
        if tally.late:
            return
        damaged.write_bytes(good[:length])
        complaint = seen(damaged, entries, facts)
        tally.add(complaint and f"cut at {length}: {complaint}")
