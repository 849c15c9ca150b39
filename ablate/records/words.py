"""English words that depend on a number."""

from __future__ import annotations


def noun(number: int, word: str, words: str = "") -> str:
    """`run` of 1, `runs` of any other number; `words`: a plural that is not `word` with an s."""
    return word if number == 1 else words or word + "s"


def verb(number: int, plain: str, third: str = "") -> str:
    """`diverges` of 1, `diverge` of any other number; `third`: a third person that is not `plain` with an s."""
    return (third or plain + "s") if number == 1 else plain
