"""Everything in a ledger but the scores, read in one pass: for the report, which needs all runs once and draws few of their curves.

`Ledger.open` followed by `entries` computes each row's digest twice and decodes each curve. Here a row is checked once, by the same code
(`index.read_index`), and its curves stay text until someone asks for them: a third of the time and of the memory for a million runs.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from ablate.ledger import schema
from ablate.ledger.entry import Entry
from ablate.ledger.facts import documents
from ablate.ledger.index import read_index
from ablate.ledger.rows import COLUMNS, Row, curves_of, entry_of

_IDENTITY, _CURVES = map(COLUMNS.index, ("identity", "curves"))
_NO_SCORES: Mapping[str, tuple[float, ...]] = {}


def contents(path: str | Path) -> tuple[dict[str, Any], list[Entry]]:
    """The documents by key and all entries without scores, in the order of the ledger.

    The same as `facts()` and `entries(scores=False)` of an open ledger, after the same checks. Raises InputError, AblateError; so does
    an entry whose curves have the right checksum and are not curves, when they are read.
    """
    path = Path(path)
    schema.check_header(path)
    entries: list[Entry] = []

    def visit(row: Row) -> None:
        entry = entry_of(row, EncodedCurves(row[_CURVES], path), _NO_SCORES)
        if entry.identity != row[_IDENTITY]:
            raise ValueError("runs are missing or have another identity")
        entries.append(entry)

    with schema.translated_errors(path), closing(schema.connect(path, write=False)) as connection:
        connection.execute("BEGIN")
        index = read_index(connection, visit)
        return documents(path, index.facts), entries


class EncodedCurves(Mapping[str, tuple[float, ...]]):
    """The curves of a run, decoded anew each time that they are read: a million decoded ones would take gigabytes."""

    __slots__ = ("_path", "_text")

    def __init__(self, text: str, path: Path) -> None:
        self._text, self._path = text, path

    def __getitem__(self, name: str) -> tuple[float, ...]:
        return self.decoded()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.decoded())

    def __len__(self) -> int:
        return len(self.decoded())

    def items(self) -> ItemsView[str, tuple[float, ...]]:
        """Decoded once; `Mapping` would decode for each name."""
        return self.decoded().items()

    def __repr__(self) -> str:
        return repr(self.decoded())

    def decoded(self) -> dict[str, tuple[float, ...]]:
        """The curves as a dictionary. Raises InputError."""
        try:
            return curves_of(self._text)
        except schema.DECODING_ERRORS as error:
            raise schema.damaged(self._path, str(error)) from error
