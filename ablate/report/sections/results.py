"""The results: the ranking and its confirmation."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ablate.ranking.estimands import ESTIMANDS
from ablate.ranking.estimation.coding import lines
from ablate.records.designs import AVERAGE, DROP_ONE, EXPLORATORY, Estimand
from ablate.report import external, tables
from ablate.report.action import is_tuned_report, recommended_recipe
from ablate.report.data import ReportData
from ablate.report.ladder import gains_text
from ablate.report.main_rows import label, labels, main_rows, recipe_rows
from ablate.report.numbers import Units, missing, plural, significant
from ablate.report.plots import confirm, forest
from ablate.report.plots.picture import Picture
from ablate.report.ranking_rows import ranking_rows
from ablate.report.sections import Content, tuned


def ranking(data: ReportData) -> Content | None:
    """The ranking section."""
    if is_tuned_report(data):
        return tuned.ranking(data)
    rows = main_rows(data)
    if rows is None or data.ranking is None:
        return None
    by_effect = rows.sort_values("effect", ascending=False, kind="stable", na_position="last")
    margin = rows["margin"].dropna()
    declared = float(margin.iloc[0]) if len(margin) else None
    auto = (data.design or {}).get("margin_source") == "auto"
    other_estimands = [
        name
        for name in ESTIMANDS
        if name in set(data.ranking["estimand"]) and name != rows["estimand"].iloc[0]
    ]
    leading: Estimand = rows["estimand"].iloc[0]
    return {
        "tuned": False,
        "estimand": external.DEFINITIONS[leading] if data.external else ESTIMANDS[leading].definition,
        "unit": data.units.difference.strip(),
        "rows": ranking_rows(data, rows),
        "claims": any(row.claim for row in ranking_rows(data, rows)),
        "exploratory_only": str(rows["estimand"].iloc[0]) == EXPLORATORY and not data.external,
        "importances": tables.importances(data),
        "every_claim": tables.claims(data),
        "forest": forest.forest(by_effect, labels(data, by_effect), data.units, declared, auto=auto),
        "margin": _margin(declared, data.units, auto=auto) if declared else "",
        "beside": _average_against_drop_one(data, data.ranking),
        "interactions": tables.interactions(data),
        "others": [
            {
                "name": name,
                "size": plural(len(others), "row"),
                "sentence": ESTIMANDS[name].definition,
                "rows": ranking_rows(data, others),
            }
            for name in other_estimands
            if len(others := data.ranking[data.ranking["estimand"] == name])
        ],
        "left_out": list(((data.design or {}).get("left_out") or {}).items()),
        "inapplicable": [(name, reason) for name, reason in data.applicable.items() if reason],
    }


def _margin(margin: float, units: Units, *, auto: bool) -> str:
    """The meaning of the verdicts, in this study's numbers."""
    size = f"{significant(margin * units.factor)}{units.difference}"
    how = (
        "set automatically (0.95 σ̂ of one run); declare one in the study file to ask for less"
        if auto
        else "declared"
    )
    return (
        f"Helps and hurts: the sign is certain, with all tricks and looks accounted for. No measurable effect: shown to be smaller "
        f"than ±{size}, the margin, {how}. Undecided: neither yet. Intervals hold for each trick by itself."
    )


def _average_against_drop_one(data: ReportData, frame: pd.DataFrame) -> Picture | None:
    average, drop = frame[frame["estimand"] == AVERAGE], frame[frame["estimand"] == DROP_ONE]
    pairs = average.merge(drop, on=["trick", "level"], suffixes=("", "_drop"))
    pairs = pairs[
        np.isfinite(pairs["effect"].astype(float)) & np.isfinite(pairs["effect_drop"].astype(float))
    ]
    return forest.average_against_drop_one(pairs, labels(data, pairs), data.units) if len(pairs) else None


def confirmation(data: ReportData) -> Content | None:
    """The section on the confirmation."""
    if not data.confirm:
        return None
    values = data.confirm.get("values") or {}
    metric = str(data.confirm.get("metric", data.metric))
    units = data.units_of(metric)
    gain = data.confirm.get("gain")
    found = data.confirm.get("over_found")
    rows = [{"label": "winner − baseline", **gain}] if gain else []
    rows += [{"label": "winner − as found", **found}] if found else []
    drops = data.ranking[data.ranking["estimand"] == DROP_ONE] if data.ranking is not None else pd.DataFrame()
    rows += [
        {
            "label": f"with − without {label(data, str(row['trick']), str(row['level']))}",
            "n": int(row["runs"]) // 2,
            **row,
        }
        for row in lines(drops)
        if not missing(row["low"])
    ]
    seen = {arm: scores for arm, scores in values.items() if scores}
    return {
        "metric": metric,
        "gain": gain,
        "sentence": " ".join(
            _paired_sentence(f"Winner − {arm}", other, difference, units)
            for arm, other, difference in (
                ("baseline", "the baseline", gain),
                ("as found", "the recipe found", found),
            )
            if difference
        ),
        "gains": gains_text(data),
        "differences": confirm.differences(rows, units) if rows else None,
        "arms": confirm.arms(seen, metric, units) if seen else None,
        "on_test": metric.startswith("test/"),
        "recipe": recipe_rows(data, recommended_recipe(data) or {}),
        "missing": not seen,
    }


def _paired_sentence(name: str, other: str, gain: Content, units: Units) -> str:
    better = gain.get("better") or {}
    rho = (
        ""
        if missing(gain.get("rho"))
        else f" Over seeds the two correlate with ρ̂ = {significant(gain['rho'], 2)}."
    )
    return (
        f"{name}: {units.effect(gain['effect'])}{units.difference}, {100 * gain['level']:g} % interval "
        f"{units.interval(gain['low'], gain['high'])}, n = {gain['n']} paired seeds. The chance that one run of the winner beats one of "
        f"{other} is {significant(better.get('estimate'), 2)} ({significant(better.get('low'), 2)} to "
        f"{significant(better.get('high'), 2)}).{rho}"
    )
