"""Entries for the tests of the ledger. Imports nothing slow: the processes that are killed use it too."""

from __future__ import annotations

import random
import struct
from typing import Any

from ablate.ledger.entry import Entry
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run

METRICS = (
    "train/loss",
    "train/accuracy",
    "validation/loss",
    "validation/accuracy",
    "test/loss",
    "test/accuracy",
)


def sample(
    number: int, *, outcome: Outcome = Outcome.COMPLETE, stage: str = "search", examples: int = 50
) -> Entry:
    """Entry `number`: always the same for the same arguments; 20 epochs of six metrics."""
    draw = random.Random(number)
    recipe = Recipe(
        {"adam": {"lr": draw.random(), "nesterov": number % 2 == 0}, "dropout": {"p": draw.random()}}
    )
    result = Result(
        outcome,
        {metric: draw.random() for metric in METRICS},
        {metric: tuple(draw.random() for _ in range(20)) for metric in METRICS},
        {"validation": tuple(draw.random() for _ in range(examples))},
        epochs=20,
        seconds=draw.random(),
    )
    return Entry(Run("digits", recipe, number, 20), result, stage, wave=number // 8, trial=number)


def bits(value: Any) -> Any:
    """`value` with every float as its eight bytes, so that NaN equals NaN and 0.0 differs from -0.0."""
    if isinstance(value, float):
        return "nan" if value != value else struct.pack("<d", value)
    if isinstance(value, dict):
        return [(key, bits(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [bits(item) for item in value]
    return (type(value).__name__, value)


def same(one: Entry, other: Entry) -> bool:
    """Whether two entries agree in every bit, NaN included."""

    def parts(entry: Entry) -> list[Any]:
        run, result = entry.run, entry.result
        return [
            run.identity, run.task, run.recipe.hash, run.recipe.canonical(), run.seed, run.epochs,
            str(result.outcome), dict(result.metrics), dict(result.curves), dict(result.scores),
            result.epochs, result.seconds, result.note, entry.stage, entry.wave, entry.trial, entry.arm,
        ]  # fmt: skip

    return bool(bits(parts(one)) == bits(parts(other)))
