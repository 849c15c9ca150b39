"""The racing design: many arms against one shared reference, on paired seeds, with declared looks.

An arm is trained on the first seeds of one common list until it is decided; its reference is trained on more seeds of the
same list, √k times as many for k undecided arms, because k comparisons share its error (Dunnett 1955).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, sqrt
from typing import Any

from ablate.records.errors import InputError

PAIRS = (8, 12, 18, 27, 40, 60, 90, 135, 200, 300, 450, 675, 1000)
"""Pairs of an undecided arm after each look: each look has half as many again as the one before."""
FEWEST = 5
"""Pairs of the first look, at least: fewer say nothing of a variance."""
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Racing:
    """Looks that are declared before the first run. `pairs`: an undecided arm's pairs at each look."""

    pairs: tuple[int, ...] = PAIRS[:6]
    alpha: float = ALPHA

    def __post_init__(self) -> None:
        if not self.pairs or list(self.pairs) != sorted(set(self.pairs)) or self.pairs[0] < 2:
            raise InputError(f"looks must be growing numbers of pairs, not {list(self.pairs)}")

    @classmethod
    def up_to(cls, most: int) -> Racing:
        """The looks of at most `most` pairs."""
        most = max(most, FEWEST)
        return cls((*(n for n in PAIRS if n < most), most))

    @property
    def levels(self) -> tuple[float, ...]:
        """The two-sided level of each look, equal shares of `alpha`: the family-wise error over all looks is at most `alpha`, however
        the looks depend on each other. Most arms are decided early; shares by pairs would leave the early looks too little."""
        return (self.alpha / len(self.pairs),) * len(self.pairs)

    def reference_runs(self, look: int, arms: int) -> int:
        """Runs of a reference at `look` (from 0), with so many undecided arms."""
        return ceil(self.pairs[look] * sqrt(max(arms, 1)))

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "levels": list(self.levels)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Racing:
        return cls(tuple(document["pairs"]), float(document["alpha"]))


def expected_runs(racing: Racing, arms: int, decided: Sequence[float]) -> float:
    """Runs of a race in which the share `decided[i]` of the remaining arms is decided at look i; for a plan."""
    runs, left, before, reference = 0.0, float(arms), 0, 0.0
    for look, pairs in enumerate(racing.pairs):
        runs += left * (pairs - before)
        reference = max(reference, racing.reference_runs(look, ceil(left)))
        left *= 1 - (decided[look] if look < len(decided) else 0.0)
        before = pairs
        if left < 0.5:
            break
    return runs + reference
