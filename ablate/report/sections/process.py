"""The process: search, learning rate, learning curves."""

from __future__ import annotations

import shlex

import numpy as np
import pandas as pd

from ablate.ranking.estimation.coding import lines
from ablate.report import tables
from ablate.report.data import ReportData
from ablate.report.numbers import NONE, duration, missing, setting
from ablate.report.plots import confirm, curves, slices
from ablate.report.plots import lr_find as lr_find_plots
from ablate.report.plots import search as search_plots
from ablate.report.plots.parallel import Axis, parallel
from ablate.report.plots.picture import Picture
from ablate.report.sections import Content
from ablate.report.slices import Slice
from ablate.report.verdict import search_slices

_FIRST_SLICES = 8
_FEWEST = 3
_AXES = 7
_BEST, _COMMON = 20, 24


def search(data: ReportData) -> Content | None:
    """The section on the search."""
    trials = data.stage("search")
    if not len(trials):
        return None
    fact = data.search or {}
    panels = search_slices(data)
    # one or two points show nothing, unless there is nothing else to show
    panels = [panel for panel in panels if panel.edge or len(panel.values) >= _FEWEST] or panels
    return {
        "how": tables.facts(
            [
                ("Sampler", fact.get("sampler")),
                ("Pruner", fact.get("pruner")),
                ("Trials", f"{len(trials)} of {fact.get('trials', len(trials))}"),
                ("Parameters", len(fact.get("space") or [])),
                (
                    "Time",
                    duration(seconds)
                    if (seconds := fact.get("seconds") or data.timings.get("search"))
                    else "",
                ),
            ]
        ),
        "history": search_plots.history(trials, data.metric, data.units, higher=data.higher_is_better),
        "selection": _selection(data),
        "simpler": _simpler(data),
        "common": _common(data, trials),
        "parallel": _parallel(data, trials, panels),
        "edges": [panel.advice for panel in panels if panel.edge],
        "wider": _with_wider_ranges(data),
        "slices": slices.slices(panels[:_FIRST_SLICES], data.metric, data.units, higher=data.higher_is_better)
        if panels
        else None,
        "more_slices": slices.slices(
            panels[_FIRST_SLICES:],
            data.metric,
            data.units,
            higher=data.higher_is_better,
            name="search-slices-more",
        )
        if len(panels) > _FIRST_SLICES
        else None,
    }


def _with_wider_ranges(data: ReportData) -> tuple[str, str]:
    """What to do before, if anything, and the command that runs the study with the wider ranges of its study file."""
    if str(data.study.get("given", "")).endswith(".toml"):
        return "", f"ablate study {data.asked}"
    file = f"{data.name}.toml"
    return (
        f"Save the study file, at the end of this page, as {file} first.",
        f"ablate study {shlex.quote(file)}",
    )


def _simpler(data: ReportData) -> str:
    """The tricks that were taken out of the best trial's recipe, in a sentence."""
    best = (data.search or {}).get("best") or {}
    if not best.get("removed"):
        return ""
    return (
        f"Trial {best['trial']} was within one standard error without {', '.join(best['removed'])} "
        f"(n = {best['seeds']} seeds): what follows is about the recipe without {'it' if len(best['removed']) == 1 else 'them'}."
    )


def _selection(data: ReportData) -> Picture | None:
    """The finalists, trained again on fresh seeds: the choice among the best, and its noise."""
    values: dict[str, dict[str, float]] = {}
    for run in lines(data.stage("select")):
        if (
            run["outcome"] == "complete"
            and str(run["arm"]).startswith("finalist")
            and not missing(run[data.metric])
        ):
            values.setdefault(str(run["arm"]), {})[str(run["seed"])] = float(run[data.metric])
    if len(values) < 2:
        return None
    return confirm.arms(
        values,
        data.metric,
        data.units,
        name="search-selection",
        what="the finalists, trained again to choose among them",
    )


def _common(data: ReportData, trials: pd.DataFrame) -> Picture | None:
    """Picture of the share of trials with each trick, the best against all; tricks in the order of the difference."""
    done = trials[(trials["outcome"] == "complete") & trials[data.metric].notna()]
    if len(done) < _FIRST_SLICES:
        return None
    done = done.sort_values(data.metric, ascending=not data.higher_is_better, kind="stable")
    recipes = [data.recipes.get(recipe, ()) for recipe in done["recipe"]]
    names = sorted(set().union(*recipes))
    row = {name: number for number, name in enumerate(names)}
    on = np.zeros((len(names), len(done)), dtype=int)
    which = np.fromiter((row[name] for recipe in recipes for name in recipe), dtype=int)
    on[which, np.repeat(np.arange(len(recipes)), list(map(len, recipes)))] = 1
    table = pd.DataFrame(on, index=names)
    table = table[(table.mean(axis=1) > 0) & (table.mean(axis=1) < 1)]
    if not len(table):
        return None
    top = max(5, len(done) // 10)
    excess = table.iloc[:, :top].mean(axis=1) - table.mean(axis=1)
    table = table.loc[excess.sort_values(ascending=False, kind="stable").index].head(_COMMON)
    return search_plots.common(
        table.iloc[:, :_BEST], list(table.index), list(table.mean(axis=1)), min(top, _BEST)
    )


def _parallel(data: ReportData, trials: pd.DataFrame, panels: list[Slice]) -> Picture | None:
    """The parameters that most trials had, and the metric; None with few trials or parameters."""
    values = pd.to_numeric(trials[data.metric], errors="coerce")
    done = trials[(trials["outcome"] == "complete") & np.isfinite(values)]
    shown = sorted(panels, key=lambda panel: -len(panel.values))[:_AXES]
    if len(done) < _FIRST_SLICES or len(shown) < 2:
        return None
    axes = []
    for panel in shown:
        column = pd.to_numeric(done[panel.name], errors="coerce")
        cells = tuple(None if missing(value) else float(value) for value in column)
        axes.append(Axis(panel.name, panel.low, panel.high, panel.log, cells))
    numbers = [int(number) for number in done["trial"]]
    scores = [float(value) for value in done[data.metric]]
    return parallel(axes, numbers, scores, data.metric, data.units, higher=data.higher_is_better)


def lr_find(data: ReportData) -> Content | None:
    """The section on the learning-rate protocol."""
    if not data.lr_find:
        return None
    steps: list[Content] = []
    for step in data.lr_find.get("steps") or []:
        figures = step.get("figures") or {}
        plain = [
            (str(name).replace("_", " "), setting(value))
            for name, value in figures.items()
            if isinstance(value, int | float | str)
            and not missing(value if isinstance(value, int | float) else 0)
        ]
        picture = lr_find_plots.panel(step, data.metric, higher=data.higher_is_better)
        # the points of the panel are described in its caption
        drawn = {name for name, _ in plain if picture and f"{name} " in picture.caption}
        steps.append(
            {
                "number": step.get("step", len(steps) + 1),
                "name": str(step.get("name", "")),
                "verdict": str(step.get("verdict", "skipped")),
                "numbers": [(name, value) for name, value in plain if name not in drawn][:8],
                "findings": [dict(finding) for finding in step.get("findings") or []],
                "picture": picture,
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
    """The section with learning curves."""
    records = [record for record in data.curves if record["values"]]
    return {"picture": curves.curves(records, data.metric, data.units_of)} if records else None
