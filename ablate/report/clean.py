"""Sanitise external text once, at the boundary: mask secrets, show control characters.

All text from users, task files and clusters passes through `clean` before a table, a plot or
the page shows it. Escaping is done elsewhere: HTML by Jinja (autoescape), XML by the SVG writer, CSV by the ledger.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ablate.records.secrets import mask_secrets

NUMBERS = {int, float, bool, type(None)}
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Invisible characters with an effect: control characters except newline, overrides of the reading
# direction, lone surrogates and noncharacters (both invalid in XML).
_UNSHOWABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufeff\ufffe\uffff]"
)


@lru_cache(maxsize=1 << 16)
def clean_text(text: str) -> str:
    """`text` without secrets and with unshowable characters replaced by U+FFFD; tabs become spaces."""
    return _UNSHOWABLE.sub(REPLACEMENT, mask_secrets(text).replace("\t", " ").replace("\r\n", "\n"))


def clean(value: Any) -> Any:
    """`clean_text` on every string in a plain document, including keys."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, Mapping):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def clean_columns(columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """`clean` on every name and value of a table's columns. Those of numbers alone stay as they are."""
    return {clean_text(name): _clean_column(values) for name, values in columns.items()}


def _clean_column(values: Sequence[Any]) -> list[Any]:
    kinds = set(map(type, values))
    if kinds <= NUMBERS:
        return list(values)
    if kinds <= {str}:
        # Every pattern needs another character than ASCII letters and digits: a million hashes take no regular expression.
        return [text if text.isascii() and text.isalnum() else clean_text(text) for text in values]
    return [clean(value) for value in values]


def shorten(text: str, length: int) -> str:
    """One line of at most `length` characters, shortened in the middle, where names differ least."""
    line = " ".join(text.split())
    if len(line) <= length:
        return line
    head = (length - 1) * 2 // 3
    return f"{line[:head]}…{line[-(length - 1 - head) :]}"


def short_source(source: str) -> str:
    """Long lists of authors reduced to the first: `Srivastava, Hinton, Krizhevsky 2014` -> `Srivastava et al. 2014`."""
    authors, _, year = source.rpartition(" ")
    names = [name.strip() for name in authors.split(",") if name.strip()]
    return source if len(names) < 3 else f"{names[0]} et al. {year}"
