"""A claim of the literature as an experiment: two recipes that differ in a trick, and the metric that the claim is made in.

    task = "digits"
    epochs = 12

    [claim]
    trick = "label_smoothing"
    statement = "probabilities are better calibrated"
    metric = "ece"
    direction = "down"

    [both]
    momentum = { lr = 0.1 }
    [with]
    label_smoothing = true

`[without]` and `[with]` are recipes in the form of `Recipe.of`, each completed by `[both]`. Errors name the file and the line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from ablate.records.errors import unknown
from ablate.records.recipe import Catalogue, Recipe
from ablate.records.study_rank import OPTIMIZER
from ablate.records.table import Table

Direction = Literal["up", "down", "same", "not lower", "not higher"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
_SECTIONS = ("task", "epochs", "seed", "tuned_on", "claim", "both", "without", "with")
_CLAIM = ("trick", "statement", "metric", "direction", "margin", "rates")


@dataclass(frozen=True, slots=True)
class ClaimFile:
    """One claim and its experiment.

    `metric`: a metric of the task without its split, or one of `records/claim_metrics.py`. `direction`: what the claim says of it. `margin`: the
    largest difference that still counts as none, in the metric's units (of time and memory: as a share). `tuned_on`: the metric by which each recipe's
    learning rate is chosen; "" is the task's own. `rates`: "tuned", or "given" where the claim is about that very rate.
    """

    task: str
    trick: str
    statement: str
    metric: str
    direction: Direction
    without: Recipe
    with_trick: Recipe
    epochs: int | None = None
    seed: int = 0
    tuned_on: str = ""
    margin: float = 0.0
    rates: Literal["tuned", "given"] = "tuned"


def parse(text: str, source: str, *, catalogue: Catalogue) -> ClaimFile:
    """Parse `text`, the content of the file `source`. Raises InputError with file, line and what to do."""
    top = Table.read(text, source)
    top.check_keys(_SECTIONS)
    claim = top.table("claim")
    claim.check_keys(_CLAIM)
    for key in ("trick", "statement", "metric", "direction"):
        if key not in claim.data:
            raise claim.fail(
                f"[claim] needs '{key}'", hint="a claim names a trick, a statement, a metric and a direction"
            )
    trick = claim.text("trick", "")
    if trick not in catalogue:
        with claim.at("trick"):
            raise unknown("trick", trick, catalogue)
    direction = cast(Direction, claim.choice("direction", "", DIRECTIONS))
    margin = claim.number("margin")
    if direction not in ("up", "down") and not (margin or 0.0) > 0:
        raise claim.fail(
            f"the direction '{direction}' needs a margin above zero",
            "margin" if "margin" in claim.data else "direction",
        )
    without, with_trick = (_recipe(top, side, catalogue) for side in ("without", "with"))
    if without == with_trick:
        raise top.fail(
            "[without] and [with] are the same recipe", "with", hint="they must differ in the trick"
        )
    return ClaimFile(
        task=top.text("task", "digits"),
        trick=trick,
        statement=claim.text("statement", ""),
        metric=claim.text("metric", ""),
        direction=direction,
        without=without,
        with_trick=with_trick,
        epochs=top.integer("epochs", 1, 1, 1_000_000) if "epochs" in top.data else None,
        seed=top.integer("seed", 0, 0, 2**31 - 1),
        tuned_on=top.text("tuned_on", ""),
        margin=margin or 0.0,
        rates=cast(Literal["tuned", "given"], claim.choice("rates", "tuned", ("tuned", "given"))),
    )  # fmt: skip


def _recipe(top: Table, side: str, catalogue: Catalogue) -> Recipe:
    """The recipe of one side: the tricks of `[both]` and its own."""
    tables = [top.table("both"), top.table(side)]
    for table in tables:
        for name, settings in table.data.items():
            with table.at(name):
                Recipe.of(catalogue, {name: settings})
    merged: Mapping[str, object] = {**tables[0].data, **tables[1].data}
    with tables[1].at():
        recipe = Recipe.of(catalogue, merged)
    if recipe.slot(catalogue, OPTIMIZER) is None:
        raise top.fail(
            f"the recipe [{side}] has no optimizer", hint="write momentum = { lr = 0.1 } under [both]"
        )
    return recipe
