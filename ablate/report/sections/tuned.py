"""The ranking section and the design section of a ranking by tuned arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ablate.analysis.model_parts import surgery_facts
from ablate.ranking.estimands import ESTIMANDS
from ablate.records.designs import ADD_ONE, TOGGLE
from ablate.records.study_rank import longest_seconds
from ablate.records.trick import PLACEBO
from ablate.report import tables
from ablate.report.action import is_untuned, margin_source, margin_text, recommended_recipe
from ablate.report.data import ReportData
from ablate.report.ladder import gains_text, step_labels
from ablate.report.lean_words import lean_sentences
from ablate.report.main_rows import recipe_rows
from ablate.report.numbers import count, duration, plural, significant
from ablate.report.plots import tuned as plots
from ablate.report.plots.tuning_curves import tuning_curves
from ablate.report.sections import Content
from ablate.report.tables import ReportTable
from ablate.report.tuned_rows import by_trick, left_out, references, tuned_rows


def ranking(data: ReportData) -> Content:
    """The ranking section of a tuned ranking."""
    design = data.design or {}
    effects, ladder = design["effects"], design.get("ladder")
    higher = data.higher_is_better
    curves = [
        picture
        for estimand in references(data)
        for picture in tuning_curves(
            design.get("tuning") or {},
            [rows[estimand] for rows in by_trick(data).values() if estimand in rows and not rows[estimand]["same"] and rows[estimand]["trick"] != PLACEBO],
            estimand, data.units, higher=higher, untuned=is_untuned(design),
        )
    ]  # fmt: skip
    return {
        "tuned": True,
        "untuned": is_untuned(design),
        "unit": data.units.difference.strip(),
        "references": [ESTIMANDS[name].where for name in references(data)],
        "rows": tuned_rows(data),
        "forest": plots.both(effects, list(by_trick(data)), data.units, float(design["margin"])),
        "words": _words(data),
        "waterfall": plots.waterfall(ladder, data.units, higher=higher) if ladder else None,
        "ladder": _ladder(data) if ladder else None,
        "gains": gains_text(data),
        "lean": lean_sentences(data),
        "steps": _steps(design),
        "curves": curves,
        "recipe": recipe_rows(data, recommended_recipe(data) or {}) if not data.confirm else [],
        "left_out": left_out(data),
        "inapplicable": [(name, reason) for name, reason in data.applicable.items() if reason],
    }


def design(data: ReportData) -> Content:
    """The design section of a tuned ranking."""
    document = data.design or {}
    spent, budget = document.get("spent") or {}, document["budget"]
    tuning, racing = budget["tuning"], budget["racing"]
    scatter = [
        f"{significant(race['sigma'] * data.units.factor)}{data.units.difference} ({ESTIMANDS[race['estimand']].where}, {race['scored']})"
        for race in document.get("races") or []
    ]
    return {
        "facts": tables.facts(
            [
                ("Design", document.get("note")),
                ("Runs used", f"{count(sum(spent.values()))}: {', '.join(f'{count(number)} {name}' for name, number in spent.items())}" if spent else ""),
                ("Upper limit", _limit(data)),
                ("Margin", f"{margin_text(document, data.units)} ({margin_source(document)})"),
                ("Looks", f"after {', '.join(map(str, racing['pairs']))} pairs, {_levels(racing['levels'])}"),
                ("Tuning of an arm", _tuning(tuning)),
                ("σ̂ of a run", "; ".join(scatter)),
                ("Validation data", "split anew for every seed" if document.get("resplit") else "the task's own split"),
                ("Trials before", f"{len(data.stage('search'))} search trials chose the recipe; the runs of the ranking are separate" if len(data.stage("search")) else ""),
                *surgery_facts(data.surgery),
                ("Test split", "touched by the confirmation only" if str((data.confirm or {}).get("metric", "")).startswith("test/") else "not touched"),
            ]
        ),
        "methods": methods(data),
        "tuning": None, "scatter": None, "mirrored": False, "spread": None, "residuals": None, "aliases": None, "matrix": None,
    }  # fmt: skip


def methods(data: ReportData) -> str:
    """The design as a paragraph for a paper."""
    document = data.design or {}
    tuning, racing = document["budget"]["tuning"], document["budget"]["racing"]
    families = ", ".join(f"{race['family']} ({ESTIMANDS[race['estimand']].where}, scored by {_scored(race['scored'])})"
                         for race in document.get("races") or [])  # fmt: skip
    looks = len(racing["pairs"])
    return (
        f"Each trick was added to (or taken out of) {' and '.join({ADD_ONE: 'the baseline', TOGGLE: 'the recipe that a search had found'}[name] for name in references(data))}. "
        f"{_how_tuned(tuning, untuned=is_untuned(document))} "
        "compared with its reference on fresh paired training seeds"
        f"{', the data split into training and validation parts anew for each seed' if document.get('resplit') else ''}. Racing: "
        f"{plural(looks, 'look was', 'looks were')} declared beforehand, after {', '.join(map(str, racing['pairs']))} pairs, "
        f"{_levels(racing['levels'])}, which spend α = {racing['alpha']:g}; decided arms stopped. Effects are mean paired "
        "differences with t intervals (95 %, each by itself; a little wider where an arm stopped before the last look, so that they hold as often); "
        "variances are moderated over arms (Smyth 2004), none below an arm's own; verdicts are Holm-adjusted "
        f"within families of {families}. “No measurable effect” means shown to lie within {margin_text(document, data.units)} (two one-sided tests; "
        f"margin: {margin_source(document)}). Runs that failed count as a constant prediction."
    )


def _how_tuned(tuning: Mapping[str, int], *, untuned: bool) -> str:
    if untuned:
        return "Only the references were tuned; every arm had its usual setting at its reference's rate (another optimizer at a rate scaled to its own), and was"
    return f"Every arm, reference and placebo was tuned over learning rate and strength by the same rule ({_tuning(tuning)}), and was then"


def _levels(levels: Sequence[float]) -> str:
    """`each at level 0.0056`, or all of them where they differ."""
    shown = [f"{level:.3g}" for level in levels]
    if len(set(shown)) == 1:
        return f"{'each ' if len(shown) > 1 else ''}at level {shown[0]}"
    return f"at levels {', '.join(shown)}"


def _scored(what: str) -> str:
    return "the value at the end" if what == "at the end" else f"the {what}"


def _tuning(budget: Mapping[str, int]) -> str:
    """The runs of an arm, for people."""
    first, rounds = plural(budget["first"], "run"), budget.get("rounds", 1)
    if not rounds:
        return first
    return f"{first}, then at most {plural(rounds, 'round')} of {budget['finalists'] * budget['repeats']} until it is settled"


def _limit(data: ReportData) -> str:
    """What the ranking may use at most: runs, or a time; and where that comes from."""
    budget, whole = (
        (data.design or {})["budget"],
        str(((data.design or {}).get("fit") or {}).get("asked") or ""),
    )
    asked = str(budget.get("asked") or "")
    seconds = longest_seconds(asked, budget.get("seconds"))
    if seconds is None:
        return f"{count(budget['runs'])} runs, {'as asked' if asked else 'as the search is small'}; a tenth more to finish a look"
    if asked:
        return f"{duration(seconds)} for the ranking" + (
            f", of {whole} for the study" if whole else ", as asked"
        )
    return f"{duration(seconds)}, until nine tricks in ten are decided; no budget was given"


def _words(data: ReportData) -> str:
    size = margin_text(data.design or {}, data.units)
    pairs = [int(row["pairs"]) for row in (data.design or {})["effects"]]
    number = f"{min(pairs)} to {max(pairs)}" if min(pairs) != max(pairs) else str(pairs[0])
    return (
        f"n = {number} pairs an effect. Helps, hurts: the sign is certain. “A little”: certain, but not beyond the margin of {size}. No measurable effect: shown to lie "
        "within the margin. Undecided: neither. Verdicts account for all tricks and looks; intervals hold for each trick by itself."
    )


def _steps(design: Mapping[str, Any]) -> str:
    """The steps of the ladder that the recommended recipe has, where these are not all."""
    number, ladder = (design.get("recommended") or {}).get("steps"), design.get("ladder")
    if not number or not ladder or number == len(ladder["steps"]):
        return ""
    return f"the first {plural(number, 'step')}" if number > 1 else "the first step"


def _ladder(data: ReportData) -> ReportTable:
    ladder, units = (data.design or {})["ladder"], data.units
    rows = [
        (
            label, str(step["settings"] or ""), "" if step["rate"] is None else f"{step['rate']:g}",
            units.effect(step["effect"]), units.interval(step["low"], step["high"]), str(step["pairs"]),
        )
        for step, label in zip(ladder["steps"], step_labels(ladder), strict=True)
    ]  # fmt: skip
    total = ladder["total"]
    rows.append(("all steps", "", "", units.effect(total["effect"]), units.interval(total["low"], total["high"]), str(total["pairs"])))  # fmt: skip
    return ReportTable(
        (("Step", "name"), ("Settings", "text"), ("Rate", "number"), (f"Effect{units.label_of_difference}", "number"), ("95 % interval", "number"), ("Pairs", "number")),
        tuple(rows),
    )  # fmt: skip
