"""Every released ledger format stays a fixture and opens. `fixtures/vN.db` is never written again.

A new format gets its own file: `release(Path("tests/ledger/fixtures/vN.db"))`, once, by the code that writes it.
"""

from __future__ import annotations

import math
import shutil
import sqlite3
from pathlib import Path

import pytest
from ledger_samples import same

from ablate.ledger import schema
from ablate.ledger.entry import Entry
from ablate.ledger.store import Ledger
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("v*.db"))
RECIPE = Recipe(
    {"adam": {"lr": 0.1, "nesterov": True}, "dropout": {"p": 5e-324}, "kind": {"name": "nan", "of": 3}}
)
ENTRIES = [
    Entry(
        Run("digits", RECIPE, 0, 20),
        Result(
            Outcome.COMPLETE,
            {"validation/accuracy": 0.1 + 0.2, "test/accuracy": -0.0},
            {"train/loss": (2.5, 1 / 3), "validation/loss": (math.inf, 1e300)},
            {"validation": (0.1, 0.9, math.nan), "test": ()},
            epochs=2,
            seconds=1.25,
        ),
        "search",
        trial=7,
    ),
    Entry(Run("digits", Recipe({}), 2**62, 1), Result(Outcome.DIVERGED, {"a": math.nan}, note="Über 1e9 ☃"), "rank", 3, -1, "d"),
    Entry(Run("my_task.py:task", RECIPE, 1, 20), Result(Outcome.INTERRUPTED), "confirm"),
]  # fmt: skip
FACTS = {
    "design": {"rows": [[0, 1], [1, 0]], "$key": None},
    "lr-find": {"learning_rate": 0.003, "worst": -math.inf},
}
IDENTITIES = ["5e5872f9ef80d8ab", "080a4b2298b99299", "dd8bb911c4852496"]


def release(path: Path) -> None:
    with Ledger.open(path, write=True) as ledger:
        ledger.record(ENTRIES)
        for key, document in FACTS.items():
            ledger.put(key, document)


def test_the_present_format_is_released():
    assert f"v{schema.VERSION}.db" in [path.name for path in FIXTURES]


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.name)
@pytest.mark.parametrize("write", [False, True])
def test_released_formats_open(tmp_path: Path, fixture: Path, write: bool):
    path = tmp_path / fixture.name
    shutil.copy(fixture, path)
    with Ledger.open(path, write=write) as ledger:
        assert all(same(*pair) for pair in zip(ledger.entries(), ENTRIES, strict=True))
        assert ledger.facts() == FACTS
        assert ledger.finished() == {entry.identity for entry in ENTRIES[:2]}
        assert [entry.identity for entry in ledger.entries()] == IDENTITIES
    assert path.read_bytes() == fixture.read_bytes()  # looking changes nothing


def test_columns_for_other_programs():
    """What `docs` promises to whoever reads a ledger with SQL."""
    connection = sqlite3.connect(f"{FIXTURES[0].absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    row = connection.execute(
        "SELECT stage, outcome, json_extract(metrics, '$.\"validation/accuracy\"'),"
        " json_extract(recipe, '$.adam.lr'), seconds FROM runs WHERE trial = 7"
    ).fetchone()
    connection.close()
    assert row == ("search", "complete", 0.1 + 0.2, 0.1, 1.25)
