"""Rounds of runs in turn: while one part of a stage decides what it needs next, the workers train the runs of the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from ablate.records.recipe import Recipe

T = TypeVar("T")
Rows = Sequence[tuple[str, Recipe, int]]
"""Runs: (arm, recipe, seed)."""
Rounds = Generator[Rows, list[float], T]
"""Yields the runs that it needs next and is sent their scores; returns its result."""


def in_turn(
    parts: Sequence[Rounds[T]],
    scores: Callable[[Rows], list[float]],
    submit: Callable[[Rows], object] = lambda rows: None,
) -> list[T]:
    """The results of `parts`, each the same as if it were alone.

    `submit`: starts runs and returns at once; `scores`: waits for the runs and returns their scores.
    """
    results: dict[int, T] = {}
    waiting: deque[tuple[int, Rows]] = deque()

    def go_on(place: int, answer: list[float] | None) -> None:
        try:
            rows = parts[place].send(answer)  # type: ignore[arg-type]  # None starts a generator
        except StopIteration as end:
            results[place] = end.value
        else:
            submit(rows)
            waiting.append((place, rows))

    for place in range(len(parts)):
        go_on(place, None)
    while waiting:
        place, rows = waiting.popleft()
        go_on(place, scores(rows))
    return [results[place] for place in range(len(parts))]
