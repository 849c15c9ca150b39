"""What the search's own trials suggest about each trick: signed effects, always labelled exploratory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from ablate.ledger.entry import Entry
from ablate.ranking.designs.design import RESERVED, Factor
from ablate.ranking.tables.exploratory import exploratory
from ablate.records.document import Document
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
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
    names = sorted({name for entry in trials for name in entry.run.recipe} - {PLACEBO, *RESERVED})
    columns: dict[str, list[str]] = {}
    factors = []
    for name in dict.fromkeys(slots.get(name) or name for name in names):
        members = [other for other in names if (slots.get(other) or other) == name]
        single = members == [name]
        labels = ["on" if single else level for level in members]
        by_member = dict(zip(members, labels, strict=True))
        column = [_level(entry.run.recipe, by_member) for entry in trials]
        common = [level for level in ["off", *labels] if column.count(level) >= _FEWEST]
        reference = next((by_member[one] for one in baseline if one in by_member), "off")
        levels = sorted(common, key=lambda level: (level != reference, common.index(level)))
        if len(levels) >= 2:
            factors.append(Factor(name, tuple(levels)))
            columns[name] = column
    if not factors:
        return None
    frame = pd.DataFrame(columns)
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


def _level(recipe: Recipe, by_member: Mapping[str, str]) -> str:
    return next((label for name, label in by_member.items() if name in recipe), "off")
