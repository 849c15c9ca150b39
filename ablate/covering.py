"""Covering arrays: few sets of tricks in which every pair that can be combined occurs together.

A test for each pair would grow with the square of the catalogue. Faults of two factors are found just as well by rows that hold many tricks
at once (Cohen et al. 1997, "The AETG System", whose greedy construction this is): their number is that of the largest two slots multiplied,
whatever else is in the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ablate.records.recipe import conflict
from ablate.records.trick import Trick

Pair = frozenset[str]


def compatible_pairs(tricks: Sequence[Trick]) -> set[Pair]:
    """The names of every two tricks that a recipe can hold together."""
    return {
        frozenset((one.name, other.name))
        for i, one in enumerate(tricks)
        for other in tricks[i + 1 :]
        if not conflict(one, other)
    }


def covering_rows(tricks: Sequence[Trick], wanted: Iterable[Pair] | None = None) -> list[tuple[str, ...]]:
    """Sets of names, each without a conflict, that hold every pair of `wanted` (of all compatible pairs if None).

    Greedy: a row begins with a pair that is still wanted; then whatever adds the most wanted pairs joins it, as long as something does.
    """
    possible = compatible_pairs(tricks)
    left = set(possible if wanted is None else wanted) & possible
    names = [trick.name for trick in tricks]
    rows = []
    while left:
        row = sorted(min(left, key=sorted))
        while (best := _best(row, names, possible, left)) is not None:
            row.append(best)
        left -= {frozenset((one, other)) for i, one in enumerate(row) for other in row[i + 1 :]}
        rows.append(tuple(sorted(row)))
    return rows


def _best(row: Sequence[str], names: Sequence[str], possible: set[Pair], left: set[Pair]) -> str | None:
    """The name that adds the most pairs of `left` to `row`, the first of equals; None where none adds any."""
    gains = {
        name: sum(frozenset((name, other)) in left for other in row)
        for name in names
        if name not in row and all(frozenset((name, other)) in possible for other in row)
    }
    best = max(gains, key=lambda name: gains[name], default=None)
    return best if best is not None and gains[best] > 0 else None
