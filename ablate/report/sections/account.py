"""The details: failed runs, costs, the design, and how to reproduce the study."""

from __future__ import annotations

import json
from typing import Any

from ablate.analysis.model_parts import surgery_facts
from ablate.records.trick import PLACEBO
from ablate.report import tables, tuning
from ablate.report.action import is_tuned_report
from ablate.report.continue_commands import again
from ablate.report.data import ReportData
from ablate.report.main_rows import label, recipe_rows
from ablate.report.numbers import NONE, Units, count, duration, missing, plural, setting, significant
from ablate.report.plots import costs as cost_plots
from ablate.report.plots import diagnostics as diagnostic_plots
from ablate.report.sections import Content, tuned


def header(data: ReportData) -> list[tuple[str, str]]:
    """The line under the title: task, metric, size."""
    splits = data.task.get("splits") or {}
    sizes = " / ".join(count(size) for size in splits.values())
    return tables.facts(
        [
            ("Task", data.task.get("title") or data.task.get("name") or data.study.get("task")),
            ("Metric", f"{data.metric}, {'higher' if data.higher_is_better else 'lower'} is better"),
            (
                "Length of a run",
                plural(int(data.study["epochs"]), "epoch") if data.study.get("epochs") else "",
            ),
            ("Examples", f"{sizes} ({' / '.join(splits)})" if sizes else ""),
            (
                "Hardware",
                data.environment.get("gpu") or data.environment.get("cpu") or data.environment.get("device"),
            ),
        ]
    )


def failures(data: ReportData) -> Content | None:
    """The section on runs without a value."""
    summary = tables.outcomes(data)
    if summary is None:
        return None
    rates = (data.diagnostics or {}).get("failures") or []
    return {
        "summary": summary,
        "rates": tables.failure_rates(data),
        "rates_differ": any(row["p_adjusted"] <= 0.05 for row in rates),
        "runs": tables.failures(data),
    }


def costs(data: ReportData) -> Content | None:
    """The section on time and memory per trick."""
    table = tables.costs(data)
    if table is None or data.costs is None:
        return None
    rows = data.costs.sort_values("time_ratio", ascending=False, kind="stable")
    return {"picture": cost_plots.costs(rows, [str(trick) for trick in rows["trick"]]), "table": table}


def design(data: ReportData) -> Content | None:
    """The section on the design."""
    if not data.design:
        return None
    if is_tuned_report(data):
        return tuned.design(data)
    document, diagnostics = data.design, data.diagnostics or {}
    rho = diagnostics.get("rho") or {}
    tricks = [
        row
        for row in diagnostics.get("tricks") or []
        if not missing(row["sigma_with"]) and not missing(row["sigma_without"])
    ]
    # In a saturated foldover the residuals of mirrored runs are equal, and so is σ on both sides of every trick.
    mirrored = bool(tricks) and all(
        abs(row["sigma_with"] - row["sigma_without"]) < 1e-9 * (diagnostics["sigma"] or 1.0) for row in tricks
    )
    seeds = sorted({row["seed"] for row in document.get("rows") or []})
    confirm_seeds = (data.confirm or {}).get("seeds") or []
    units = data.units
    margin = diagnostics.get("margin", document.get("margin"))
    return {
        "facts": tables.facts(
            [
                ("Design", document.get("note") or document.get("kind")),
                ("Runs", f"{diagnostics['used']} used, {diagnostics['failed']} failed, {diagnostics['excluded']} excluded, of {document['planned']} planned" if diagnostics else ""),
                ("Factors", f"{len(document.get('factors') or [])}, {PLACEBO} among them" if any(f.get("name") == PLACEBO for f in document.get("factors") or []) else len(document.get("factors") or [])),
                ("Margin m", f"{_size(margin, units)} ({document.get('margin_source') or 'declared'})" if not missing(margin) else ""),
                ("Level of each look", f"{diagnostics.get('level', document.get('alpha'))}, {plural(int(document.get('looks') or 1), 'planned look')}, Holm over tricks"),
                ("σ̂ of one run", f"{_size(diagnostics.get('sigma'), units)}, {significant(diagnostics.get('df'), 3)} degrees of freedom" if diagnostics else ""),
                ("ρ̂ within blocks", f"{significant(rho.get('estimate'), 2)} ({significant(rho.get('low'), 2)} to {significant(rho.get('high'), 2)}), n = {rho.get('n')} blocks" if not missing(rho.get("estimate")) else ""),
                ("Training seeds", ", ".join(map(str, seeds))),
                ("Confirmation seeds", ", ".join(map(str, confirm_seeds))),
                ("Trials before", f"{len(data.stage('search'))} search trials chose the recipe; the array's runs are separate" if len(data.stage("search")) else ""),
                *tuning.facts(data),
                *surgery_facts(data.surgery),
                ("Test split", _test_status(data)),
            ]
        ),
        "methods": diagnostics.get("methods", ""),
        "tuning": tuning.tuning(data),
        "scatter": tables.scatter(data),
        "mirrored": mirrored,
        "spread": diagnostic_plots.spread(tricks, [label(data, str(row["trick"]), str(row["level"])) for row in tricks], diagnostics["sigma"], units) if tricks and not mirrored else None,
        "residuals": diagnostic_plots.residuals(diagnostics["residuals"], data.metric, units) if diagnostics.get("residuals") else None,
        "aliases": tables.aliases(data),
        "matrix": tables.design_matrix(data),
    }  # fmt: skip


def reproduce(data: ReportData) -> Content:
    """The section on how to reproduce the study."""
    shown = {key: value for key, value in data.environment.items() if value not in (None, "")}
    command = str(data.study.get("command") or "")
    return {
        "command": again(data)
        if command.startswith("ablate study ")
        else command or f"ablate study {data.asked}",
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
        "baseline_tuned": _tuned_rate(data),
        "notes": [str(note) for note in data.task.get("notes") or []],
    }


def _tuned_rate(data: ReportData) -> str:
    """The rate at which a tuned ranking ran the baseline, where that is not lr-find's."""
    points = ((data.design or {}).get("tuning") or {}).get("add-one: baseline") or []
    rate = next((point["rate"] for point in points if point["chosen"]), None)
    before = next((settings["lr"] for settings in data.baseline.values() if "lr" in settings), None)
    return "" if rate in (None, before) else f" The ranking tuned its learning rate to {setting(rate)}."


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
