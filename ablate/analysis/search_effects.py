"""What the search's own trials suggest about each trick: signed effects, always labelled exploratory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ablate.ledger.entry import Entry
from ablate.ranking.designs.design import RESERVED, Factor
from ablate.ranking.tables.exploratory import exploratory
from ablate.records.document import Document
from ablate.records.errors import InputError
from ablate.records.trick import PLACEBO, Trick

_FEWEST = 3


def explored(
    entries: Sequence[Entry], baseline: Document, records: Mapping[str, Trick], metric: str, *, higher: bool
) -> pd.DataFrame | None:
    """Effects from search trials, one row a trick (or level of a slot) that was both on and off.

    None where there are no trials, or too few that finished.
    """
    trials = [entry for entry in entries if entry.stage == "search"]
    if len(trials) < 2 * _FEWEST:
        return None
    slots = {name: trick.slot for name, trick in records.items() if trick.slot}
    recipes = [entry.run.recipe.tricks for entry in trials]
    names = sorted(set().union(*recipes) - {PLACEBO, *RESERVED})
    labels: dict[str, dict[str, str]] = {}  # factor -> its tricks -> their levels
    for name in names:
        labels.setdefault(slots.get(name) or name, {})[name] = name
    for name, by_member in labels.items():
        if list(by_member) == [name]:
            by_member[name] = "on"
    columns = _columns(recipes, labels)
    factors = []
    for name, by_member in labels.items():
        column = columns[name]
        common = [level for level in ["off", *by_member.values()] if column.count(level) >= _FEWEST]
        reference = next((by_member[one] for one in baseline if one in by_member), "off")
        levels = sorted(common, key=lambda level: (level != reference, common.index(level)))
        if len(levels) >= 2:
            factors.append(Factor(name, tuple(levels)))
    if not factors:
        return None
    frame = pd.DataFrame({factor.name: columns[factor.name] for factor in factors})
    frame["outcome"] = [str(entry.result.outcome) for entry in trials]
    frame[metric] = [entry.result.metrics.get(metric, float("nan")) for entry in trials]
    in_levels = pd.Series(True, index=frame.index)
    for factor in factors:
        in_levels &= frame[factor.name].isin(factor.levels)
    try:
        return exploratory(
            frame[in_levels].reset_index(drop=True), factors, metric, "higher" if higher else "lower"
        )
    except InputError:
        # Not one finished trial with a value: there is nothing to suggest.
        return None


def _columns(
    recipes: Sequence[Mapping[str, Any]], labels: Mapping[str, Mapping[str, str]]
) -> dict[str, list[str]]:
    """Factor -> each recipe's level of it: the label of the first of its tricks in the recipe, or "off"."""
    columns = {factor: ["off"] * len(recipes) for factor in labels}
    places = {name: (columns[factor], label) for factor in labels for name, label in labels[factor].items()}
    for number, recipe in enumerate(recipes):
        for name in sorted(recipe, reverse=True):
            if name in places:
                column, label = places[name]
                column[number] = label
    return columns
