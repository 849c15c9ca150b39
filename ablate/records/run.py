"""A run (what is trained, and its identity) and its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from ablate.records.recipe import Recipe

RESPLIT = 1 << 31
"""Bit of a run's seed: training and validation examples are split anew, as a function of the seed."""


class Outcome(StrEnum):
    """How a run ended. `diverged` is a result: it is shown and ranked last, never dropped."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    INTERRUPTED = "interrupted"
    FAILED = "failed"

    @property
    def finished(self) -> bool:
        """Whether the outcome is final; if not, the run is trained again."""
        return self is not Outcome.INTERRUPTED


@dataclass(frozen=True, slots=True)
class Run:
    """One training: (task, recipe, seed, budget). `epochs` is the budget."""

    task: str
    recipe: Recipe
    seed: int
    epochs: int

    _identity: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        text = f"{_json_of(self.task, self.recipe.canonical())}, {self.seed:d}, {self.epochs:d}]"
        object.__setattr__(self, "_identity", hashlib.sha256(text.encode()).hexdigest()[:16])

    @property
    def resplit(self) -> bool:
        """Whether training and validation examples are split anew by the seed (the test split never is)."""
        return bool(self.seed & RESPLIT)

    @property
    def identity(self) -> str:
        """16 hexadecimal digits, equal for equal runs on every machine."""
        return self._identity


@lru_cache(maxsize=1 << 12)
def _json_of(task: str, recipe: str) -> str:
    """The beginning of `json.dumps([task, recipe, seed, epochs])`: a ledger has many seeds of each recipe."""
    return f"[{json.dumps(task)}, {json.dumps(recipe)}"


def distinct_runs(runs: Iterable[Run]) -> list[Run]:
    """`runs` without repetitions, in order of first occurrence."""
    first: dict[str, Run] = {}
    for run in runs:
        first.setdefault(run.identity, run)
    return list(first.values())


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a run.

    `metrics`: `split/metric` -> value at the scored weights, e.g. `validation/accuracy`.
    `curves`: `split/metric` -> one value per epoch (position 0 is epoch 1).
    `scores`: split -> per-example score (classification: probability of the true class; regression:
    squared error), in the split's order.
    `epochs`: epochs trained. `seconds`: the group's wall time divided by its lanes (lanes share time, so
    it does not measure the cost of one trick).
    """

    outcome: Outcome
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    epochs: int = 0
    seconds: float = 0.0
    note: str = ""
