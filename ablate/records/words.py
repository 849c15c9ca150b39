"""English words for numbers and lists."""

from __future__ import annotations

from collections.abc import Sequence


def noun(number: int, word: str, words: str = "") -> str:
    """`run` of 1, `runs` of any other number; `words`: a plural that is not `word` with an s."""
    return word if number == 1 else words or word + "s"


def alternatives(words: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def joined(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def verb(number: int, plain: str, third: str = "") -> str:
    """`diverges` of 1, `diverge` of any other number; `third`: a third person that is not `plain` with an s."""
    return (third or plain + "s") if number == 1 else plain
