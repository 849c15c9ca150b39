"""Which run of a study is exported: that of the recommended recipe, with the seed of one of its runs in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ablate.ledger.entry import Entry, in_order
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Run
from ablate.report.action import recommended_recipe
from ablate.report.data import ReportData

STAGES = ("confirm", "rank", "select", "search", "compare")
"""Stages whose runs represent a recipe; the first that has any is used."""


@dataclass(frozen=True)
class Winner:
    """`run`: to be exported; `entry`: of the ledger, None where it has no such run."""

    run: Run
    entry: Entry | None

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of validation and test data that the ledger has of the run."""
        if self.entry is None:
            return {}
        return {
            name: value for name, value in self.entry.result.metrics.items() if not name.startswith("train/")
        }


def winner(data: ReportData, entries: Sequence[Entry], *, recipe: Recipe | None = None, seed: int | None = None) -> Winner:  # fmt: skip
    """The run of `recipe` (the recommended one) that the ledger has, or has to be trained. `seed`: of the run, by default the first in the order of a report.

    Raises InputError before there is a recipe.
    """
    if recipe is None:
        recommended = recommended_recipe(data)
        if recommended is None:
            raise InputError(
                f"there is no best recipe of '{data.name}' yet", hint=f"run: ablate study {data.asked}"
            )
        recipe = Recipe(recommended)
    epochs = int(data.study["epochs"])
    completed = [
        entry
        for entry in in_order(entries)
        if entry.run.recipe == recipe
        and entry.run.epochs == epochs
        and entry.result.outcome is Outcome.COMPLETE
    ]
    completed.sort(key=lambda entry: STAGES.index(entry.stage) if entry.stage in STAGES else len(STAGES))
    if seed is not None:
        completed = [entry for entry in completed if entry.run.seed == seed]
    task = (
        completed[0].run.task if completed else (entries[0].run.task if entries else str(data.study["task"]))
    )
    if completed:
        return Winner(completed[0].run, completed[0])
    return Winner(Run(task, recipe, data.study.get("seed", 0) if seed is None else seed, epochs), None)
