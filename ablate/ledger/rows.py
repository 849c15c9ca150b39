"""Conversion between entries and rows of the table `runs`, with a checksum that detects a flipped bit.

Every column is readable with any SQLite tool; only `scores` is packed. `digest` is BLAKE2b over all
columns before it. `scores` is the last column and has its own digest, so that checking a ledger and reading
entries without scores never read the bulk of the file. Digests protect against damage, not against manipulation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from sys import intern
from typing import Any

from ablate.ledger.codec import ESCAPE, decode, encode, pack, unpack
from ablate.ledger.entry import Entry
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run

COLUMNS = (
    "position", "identity", "stage", "wave", "trial", "arm",
    "task", "recipe", "seed", "budget",
    "outcome", "epochs", "seconds", "note", "metrics", "curves", "scores_digest",
)  # fmt: skip
Row = tuple[Any, ...]
_CURVES = COLUMNS.index("curves")
_OUTCOMES = {str(outcome): outcome for outcome in Outcome}


def digest(values: Sequence[Any]) -> str:
    """32 hexadecimal digits over the columns. `ascii` accepts everything that SQLite can return and, unlike
    `repr`, does not depend on the Unicode tables of the Python version."""
    return blake2b(ascii(tuple(values)).encode(), digest_size=16).hexdigest()


def to_row(position: int, entry: Entry) -> Row:
    """COLUMNS, `digest`, `scores`. Raises InputError for values that SQLite cannot store."""
    run, result = entry.run, entry.result
    for name, number in (
        ("seed", run.seed),
        ("budget", run.epochs),
        ("wave", entry.wave),
        ("trial", entry.trial),
    ):
        if not -(2**63) <= number < 2**63:
            raise InputError(f"the {name} {number} does not fit into 64 bits", hint="choose a smaller one")
    for name, text in (("task", run.task), ("stage", entry.stage), ("arm", entry.arm)):
        if _utf8(text) != text:
            raise InputError(f"the {name} {text!r} is not valid Unicode", hint="rename it")
    scores = pack({split: tuple(map(float, values)) for split, values in result.scores.items()})
    # In a REAL column SQLite turns NaN into NULL and drops the sign of zero.
    seconds = None if result.seconds != result.seconds else float(result.seconds) + 0.0
    columns = (
        position, run.identity, entry.stage, entry.wave, entry.trial, entry.arm,
        run.task, encode(run.recipe.to_dict()), run.seed, run.epochs,
        str(result.outcome), result.epochs, seconds, _utf8(result.note),
        encode({name: float(value) for name, value in result.metrics.items()}),
        encode({name: [float(value) for value in curve] for name, curve in result.curves.items()}),
        digest([scores]),
    )  # fmt: skip
    return (*columns, digest(columns), scores)


def checksum_matches(row: Row) -> bool:
    """Whether the columns match their digest. `row`: COLUMNS, `digest`."""
    return bool(digest(row[: len(COLUMNS)]) == row[len(COLUMNS)])


def from_row(row: Row, scores: bytes | None) -> Entry:
    """The entry of a row (COLUMNS, `digest`); `scores` is the packed column, or None to leave scores out.

    Raises ValueError (zlib.error, KeyError, TypeError, AttributeError for forged text) if the row is
    not one that `to_row` wrote. The caller compares the identity.
    """
    if not checksum_matches(row):
        raise ValueError("a run's checksum is wrong")
    if scores is not None and digest([scores]) != row[COLUMNS.index("scores_digest")]:
        raise ValueError("the checksum of a run's scores is wrong")
    return entry_of(row, curves_of(row[_CURVES]), unpack(scores) if scores else {})


def entry_of(
    row: Row, curves: Mapping[str, tuple[float, ...]], scores: Mapping[str, tuple[float, ...]]
) -> Entry:
    """The entry of a row whose checksum was compared. Raises as `from_row` does.

    Words that most rows share (names of metrics, stage, arm, task) are one object in memory.
    """
    (
        _position, _identity, stage, wave, trial, arm, task, recipe, seed, budget,
        outcome, epochs, seconds, note, metrics, _curves, _scores_digest, _digest,
    ) = row  # fmt: skip
    result = Result(
        outcome=_OUTCOMES[outcome],
        metrics={intern(name): value for name, value in decode(metrics).items()},
        curves=curves,
        scores=scores,
        epochs=epochs,
        seconds=float("nan") if seconds is None else seconds,
        note=note,
    )
    run = Run(intern(task), _recipe(recipe), seed, budget)
    return Entry(run, result, intern(stage), wave, trial, intern(arm))


def curves_of(text: str) -> dict[str, tuple[float, ...]]:
    """The column `curves`, decoded."""
    curves: Mapping[str, list[float]] = decode(text)
    return {name: tuple(curve) for name, curve in curves.items()}


@lru_cache(maxsize=4096)
def _recipe(text: str) -> Recipe:
    """A study trains each recipe on several seeds, one after another."""
    # Without escaped keys the text is the canonical one: `encode` writes what `Recipe` has sorted.
    return Recipe(decode(text)) if ESCAPE in text else Recipe.from_canonical(text, decode(text))


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
