"""What each section of the page holds: pictures and tables from `ReportData`, or None where there is nothing."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from ablate.report import tables
from ablate.report.data import PLACEBO, ReportData
from ablate.report.numbers import NONE, Units, count, duration, missing, plural, setting, significant
from ablate.report.plots import confirm as confirm_plots
from ablate.report.plots import costs as cost_plots
from ablate.report.plots import curves as curve_plots
from ablate.report.plots import diagnostics as diagnostic_plots
from ablate.report.plots import forest as forest_plots
from ablate.report.plots import lr_find as lr_find_plots
from ablate.report.plots import search as search_plots
from ablate.report.plots import slices as slice_plots
from ablate.report.verdict import label, labels, main_rows, recipe_rows, search_slices

Content = dict[str, Any]
_ESTIMANDS = {
    "average": "Average effect: the mean difference a trick makes over all combinations of the others in the designed array "
    "(its Banzhaf value).",
    "drop-one": "Drop-one effect: what the winner loses when this one trick is taken out, on paired fresh seeds.",
    "add-one": "Add-one effect: what the baseline gains when this one trick is added, on paired seeds.",
    "exploratory": "Exploratory: signed least squares on the search's own trials. The search chose them by their results, so no verdict "
    "rests on these numbers.",
}
_FIRST_SLICES = 8
_BEST, _COMMON = 20, 24


def header(data: ReportData) -> list[tuple[str, str]]:
    """The line under the title: task, metric, size."""
    splits = data.task.get("splits") or {}
    sizes = " / ".join(count(size) for size in splits.values())
    return tables.facts(
        [
            ("Task", data.task.get("title") or data.task.get("name") or data.study.get("task")),
            ("Metric", f"{data.metric}, {'higher' if data.higher_is_better else 'lower'} is better"),
            (
                "Budget",
                plural(int(data.study["epochs"]), "epoch") + " a run" if data.study.get("epochs") else "",
            ),
            ("Examples", f"{sizes} ({' / '.join(splits)})" if sizes else ""),
            (
                "Hardware",
                data.environment.get("gpu") or data.environment.get("cpu") or data.environment.get("device"),
            ),
        ]
    )


def ranking(data: ReportData) -> Content | None:
    rows = main_rows(data)
    if rows is None:
        return None
    by_effect = rows.sort_values("effect", ascending=False, kind="stable", na_position="last")
    margin = rows["margin"].dropna()
    rest = [
        name
        for name in _ESTIMANDS
        if name in set(data.ranking["estimand"]) and name != rows["estimand"].iloc[0]
    ]
    return {
        "estimand": _ESTIMANDS[str(rows["estimand"].iloc[0])],
        "unit": data.units.difference.strip(),
        "rows": tables.ranking_rows(data, rows),
        "claims": any(row.claim for row in tables.ranking_rows(data, rows)),
        "exploratory_only": str(rows["estimand"].iloc[0]) == "exploratory",
        "forest": forest_plots.forest(
            by_effect, labels(data, by_effect), data.units, float(margin.iloc[0]) if len(margin) else None
        ),
        "beside": _beside(data),
        "interactions": tables.interactions(data),
        "others": [
            {"name": name, "sentence": _ESTIMANDS[name], "rows": tables.ranking_rows(data, others)}
            for name in rest
            if len(others := data.ranking[data.ranking["estimand"] == name])
        ],
        "inapplicable": [(name, reason) for name, reason in data.applicable.items() if reason],
    }


def _beside(data: ReportData) -> Any:
    frame = data.ranking
    average, drop = frame[frame["estimand"] == "average"], frame[frame["estimand"] == "drop-one"]
    pairs = average.merge(drop, on=["trick", "level"], suffixes=("", "_drop"))
    pairs = pairs[
        np.isfinite(pairs["effect"].astype(float)) & np.isfinite(pairs["effect_drop"].astype(float))
    ]
    return forest_plots.beside(pairs, labels(data, pairs), data.units) if len(pairs) else None


def confirmation(data: ReportData) -> Content | None:
    if not data.confirm:
        return None
    values = data.confirm.get("values") or {}
    metric = str(data.confirm.get("metric", data.metric))
    units = Units.of(metric)
    gain = data.confirm.get("gain")
    rows = [{"label": "winner − baseline", **gain}] if gain else []
    drops = (
        data.ranking[data.ranking["estimand"] == "drop-one"] if data.ranking is not None else pd.DataFrame()
    )
    rows += [
        {
            "label": f"with − without {label(data, str(row['trick']), str(row['level']))}",
            "n": int(row["runs"]) // 2,
            **row,
        }
        for row in drops.to_dict("records")
        if not missing(row["low"])
    ]
    seen = {arm: scores for arm, scores in values.items() if scores}
    return {
        "metric": metric,
        "gain": gain,
        "sentence": _paired_sentence(gain, units) if gain else "",
        "differences": confirm_plots.differences(rows, units) if rows else None,
        "arms": confirm_plots.arms(seen, metric, units) if seen else None,
        "on_test": metric.startswith("test/"),
        "recipe": recipe_rows(data, data.winner or {}),
        "missing": not seen,
    }


def _paired_sentence(gain: Content, units: Units) -> str:
    better = gain.get("better") or {}
    rho = (
        ""
        if missing(gain.get("rho"))
        else f" Over seeds the two correlate with ρ̂ = {significant(gain['rho'], 2)}."
    )
    return (
        f"Winner − baseline: {units.effect(gain['effect'])}{units.difference}, {100 * gain['level']:g} % interval "
        f"{units.interval(gain['low'], gain['high'])}, n = {gain['n']} paired seeds. The chance that one run of the winner beats one of "
        f"the baseline is {significant(better.get('estimate'), 2)} ({significant(better.get('low'), 2)} to "
        f"{significant(better.get('high'), 2)}).{rho}"
    )


def search(data: ReportData) -> Content | None:
    trials = data.stage("search")
    if not len(trials):
        return None
    fact = data.search or {}
    panels = search_slices(data)
    return {
        "how": tables.facts(
            [
                ("Sampler", fact.get("sampler")),
                ("Pruner", fact.get("pruner")),
                ("Trials", f"{len(trials)} of {fact.get('trials', len(trials))}"),
                ("Parameters", len(fact.get("space") or [])),
                ("Time", duration(fact["seconds"]) if fact.get("seconds") else ""),
            ]
        ),
        "history": search_plots.history(trials, data.metric, data.units, higher=data.higher_is_better),
        "common": _common(data, trials),
        "edges": [panel.advice for panel in panels if panel.edge],
        "slices": slice_plots.slices(panels[:_FIRST_SLICES], data.metric, data.units) if panels else None,
        "more_slices": slice_plots.slices(
            panels[_FIRST_SLICES:], data.metric, data.units, name="search-slices-more"
        )
        if len(panels) > _FIRST_SLICES
        else None,
    }


def _common(data: ReportData, trials: pd.DataFrame) -> Any:
    """On or off in the best trials, against all trials; tricks in the order of the difference."""
    done = trials[(trials["outcome"] == "complete") & trials[data.metric].notna()]
    if len(done) < _FIRST_SLICES:
        return None
    done = done.sort_values(data.metric, ascending=not data.higher_is_better, kind="stable")
    names = sorted({name for recipe in done["recipe"] for name in data.recipes.get(recipe, {})})
    table = pd.DataFrame(
        {
            place: [int(name in data.recipes.get(recipe, {})) for name in names]
            for place, recipe in enumerate(done["recipe"])
        },
        index=names,
    )
    table = table[(table.mean(axis=1) > 0) & (table.mean(axis=1) < 1)]
    if not len(table):
        return None
    top = max(5, len(done) // 10)
    excess = table.iloc[:, :top].mean(axis=1) - table.mean(axis=1)
    table = table.loc[excess.sort_values(ascending=False, kind="stable").index].head(_COMMON)
    return search_plots.common(
        table.iloc[:, :_BEST], list(table.index), list(table.mean(axis=1)), min(top, _BEST)
    )


def lr_find(data: ReportData) -> Content | None:
    if not data.lr_find:
        return None
    steps = []
    for step in data.lr_find.get("steps") or []:
        figures = step.get("figures") or {}
        plain = [
            (str(name).replace("_", " "), setting(value))
            for name, value in figures.items()
            if isinstance(value, int | float | str)
            and not missing(value if isinstance(value, int | float) else 0)
        ]
        steps.append(
            {
                "number": step.get("step", len(steps) + 1),
                "name": str(step.get("name", "")),
                "verdict": str(step.get("verdict", "skipped")),
                "numbers": plain[:8],
                "findings": [dict(finding) for finding in step.get("findings") or []],
                "picture": lr_find_plots.panel(step),
            }
        )
    return {
        "steps": steps,
        "learning_rate": setting(data.lr_find.get("learning_rate"))
        if data.lr_find.get("learning_rate") is not None
        else NONE,
        "weight_decay": setting(data.lr_find.get("weight_decay"))
        if data.lr_find.get("weight_decay") is not None
        else NONE,
        "device": str(data.lr_find.get("device") or ""),
    }


def learning_curves(data: ReportData) -> Content | None:
    records = [record for record in data.curves if record["values"]]
    return {"picture": curve_plots.curves(records, data.metric)} if records else None


def failures(data: ReportData) -> Content | None:
    summary = tables.outcomes(data)
    if summary is None:
        return None
    return {"summary": summary, "rates": tables.failure_rates(data), "runs": tables.failures(data)}


def costs(data: ReportData) -> Content | None:
    table = tables.costs(data)
    if table is None or data.costs is None:
        return None
    rows = data.costs.sort_values("time_ratio", ascending=False, kind="stable")
    return {"picture": cost_plots.costs(rows, [str(trick) for trick in rows["trick"]]), "table": table}


def design(data: ReportData) -> Content | None:
    if not data.design:
        return None
    found, diagnostics = data.design, data.diagnostics or {}
    rho = diagnostics.get("rho") or {}
    tricks = [
        row
        for row in diagnostics.get("tricks") or []
        if not missing(row["sigma_with"]) and not missing(row["sigma_without"])
    ]
    seeds = sorted({row["seed"] for row in found.get("rows") or []})
    confirm_seeds = (data.confirm or {}).get("seeds") or []
    units = data.units
    margin = diagnostics.get("margin", found.get("margin"))
    return {
        "facts": tables.facts(
            [
                ("Design", found.get("note") or found.get("kind")),
                ("Runs", f"{diagnostics['used']} used, {diagnostics['failed']} failed, {diagnostics['excluded']} excluded, of {found['planned']} planned" if diagnostics else ""),
                ("Factors", f"{len(found.get('factors') or [])}, {PLACEBO} among them" if any(f.get("name") == PLACEBO for f in found.get("factors") or []) else len(found.get("factors") or [])),
                ("Margin m", f"{_size(margin, units)} ({found.get('margin_source') or 'declared'})" if not missing(margin) else ""),
                ("Level of each look", f"{diagnostics.get('level', found.get('alpha'))}, {plural(int(found.get('looks') or 1), 'planned look')}, Holm over tricks"),
                ("σ̂ of one run", f"{_size(diagnostics.get('sigma'), units)}, {significant(diagnostics.get('df'), 3)} degrees of freedom" if diagnostics else ""),
                ("ρ̂ within blocks", f"{significant(rho.get('estimate'), 2)} ({significant(rho.get('low'), 2)} to {significant(rho.get('high'), 2)}), n = {rho.get('n')} blocks" if not missing(rho.get("estimate")) else ""),
                ("Training seeds", ", ".join(map(str, seeds))),
                ("Confirmation seeds", ", ".join(map(str, confirm_seeds))),
                ("Trials before", f"{len(data.stage('search'))} search trials chose the recipe; the array's runs are separate" if len(data.stage("search")) else ""),
                ("Test split", _test_status(data)),
            ]
        ),
        "methods": diagnostics.get("methods", ""),
        "scatter": tables.scatter(data),
        "spread": diagnostic_plots.spread(tricks, [label(data, str(row["trick"]), str(row["level"])) for row in tricks], diagnostics["sigma"], units) if tricks else None,
        "residuals": diagnostic_plots.residuals(diagnostics["residuals"], data.metric, units) if diagnostics.get("residuals") else None,
        "aliases": tables.aliases(data),
        "matrix": tables.design_matrix(data),
    }  # fmt: skip


def reproduce(data: ReportData) -> Content:
    shown = {key: value for key, value in data.environment.items() if value not in (None, "")}
    return {
        "command": str(data.study.get("command") or f"ablate study {data.name}"),
        "facts": tables.facts(
            [
                ("Study file, SHA-256", data.study.get("sha256")),
                ("Data, SHA-256", data.task.get("data_sha256")),
                ("Task file, SHA-256", data.task.get("source_sha256")),
                ("Seed", data.study.get("seed")),
                ("Created", data.study.get("created")),
                (
                    "Parameters of the model",
                    count(data.task["parameters"]) if data.task.get("parameters") else "",
                ),
            ]
        ),
        "environment": [(key, _plain(value)) for key, value in shown.items()],
        "timings": [
            (stage, duration(seconds))
            for stage, seconds in data.timings.items()
            if isinstance(seconds, int | float)
        ],
        "file": str(data.study.get("file") or ""),
        "baseline": recipe_rows(data, data.baseline),
        "notes": [str(note) for note in data.task.get("notes") or []],
    }


def _test_status(data: ReportData) -> str:
    if data.confirm and str(data.confirm.get("metric", "")).startswith("test/"):
        return "touched by the confirmation only"
    return "not touched"


def _size(value: Any, units: Units) -> str:
    return NONE if missing(value) else f"{significant(value * units.factor)}{units.difference}"


def _plain(value: Any) -> str:
    return (
        json.dumps(value, ensure_ascii=False, sort_keys=True)
        if isinstance(value, dict | list)
        else str(value)
    )
