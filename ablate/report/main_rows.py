"""The leading rows of the ranking, what a row is called, and a recipe with the verdicts on its tricks."""

from __future__ import annotations

import pandas as pd

from ablate.ranking.designs.registry import estimand_of
from ablate.ranking.estimands import ESTIMANDS
from ablate.ranking.estimation.coding import lines
from ablate.records.designs import TOGGLE
from ablate.records.document import Document
from ablate.report.action import is_tuned_report
from ablate.report.data import ReportData
from ablate.report.numbers import NONE, setting


def main_rows(data: ReportData) -> pd.DataFrame | None:
    """The rows of the ranking's leading estimand: that of its design, else the first that there is.

    A confirmation's rows, on the test split, lead only where there is no other row.
    """
    if data.ranking is None:
        return None
    designed = estimand_of(str((data.design or {}).get("kind")))
    first = None
    for estimand in dict.fromkeys([*([designed] if designed else []), *ESTIMANDS]):
        rows = data.ranking[data.ranking["estimand"] == estimand]
        rows_of_metric = rows[rows["metric"] == data.metric]
        if len(rows_of_metric):
            return rows_of_metric
        first = rows if first is None and len(rows) else first
    return first


def label(data: ReportData, trick: str, level: str) -> str:
    """How a row of the ranking is called: `batch_norm`, or `optimizer: adam` for a level of a slot."""
    return trick if level in ("on", "", "nan", "None", "True", "true") else f"{trick}: {level}"


def labels(data: ReportData, rows: pd.DataFrame) -> list[str]:
    """The labels of `rows`."""
    return [label(data, str(row["trick"]), str(row["level"])) for row in lines(rows)]


def recipe_rows(data: ReportData, recipe: Document) -> list[tuple[str, str, str, str]]:
    """Trick, its settings, its verdict in the ranking, and where it comes from (baseline or added)."""
    rows = main_rows(data)
    if is_tuned_report(data) and data.ranking is not None and recipe != data.baseline:
        rows = data.ranking[data.ranking["estimand"] == TOGGLE]
    verdicts = {}
    if rows is not None:
        for row in lines(rows):
            verdicts[str(row["trick"])] = verdicts[str(row["level"])] = str(row["verdict"])
    absent = "no arm" if is_tuned_report(data) else ""
    shown = []
    for name, settings in recipe.items():
        values = ", ".join(f"{key} = {setting(value)}" for key, value in dict(settings or {}).items()) or NONE
        slot = data.tricks.get(name, {}).get("slot")
        replaced = next(
            (one for one in data.baseline if slot and data.tricks.get(one, {}).get("slot") == slot), ""
        )
        if data.baseline.get(name) == settings:
            origin = "as in the baseline"
        elif name in data.baseline:
            origin = "other settings"
        else:
            origin = f"replaces {replaced}" if replaced else "added"
        shown.append((name, values, verdicts.get(name, absent), origin))
    return shown
