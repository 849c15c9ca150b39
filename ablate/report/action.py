"""The recommended action: the recipe of a tuned ranking, with the command that trains it or decides what is open."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.analysis.tuned_arms import counts
from ablate.records.designs import ADD_ONE, TOGGLE, TUNED
from ablate.records.document import Document
from ablate.records.trick import PLACEBO
from ablate.records.words import joined
from ablate.report.data import ReportData
from ablate.report.ladder import changes_text, gain_text, gains_text
from ablate.report.numbers import Units, missing, plural, setting, significant


@dataclass(frozen=True, slots=True)
class Action:
    """`tone`: good | bad | open. `command`: what to type, or "". `recipe`: the content of `recipe.toml`."""

    tone: str
    headline: str
    detail: str
    command: str
    recipe: Document


def is_tuned_report(data: ReportData) -> bool:
    """Whether the ranking is of the tuned design, with effects."""
    return bool(data.design) and (data.design or {}).get("kind") == TUNED


def recommended_recipe(data: ReportData) -> Document | None:
    """The recipe in `recipe.toml`: the recommendation of a tuned ranking, else the best of the search; None before."""
    chosen = action(data)
    return chosen.recipe if chosen else data.winner


def action(data: ReportData, folder: Path | None = None) -> Action | None:
    """The recommendation; None unless the ranking is of the tuned design. `folder`: that of the report, for the command.

    No recipe with a trick that hurts in it is recommended; one of the baseline that hurts there is dropped.
    """
    if not is_tuned_report(data):
        return None
    design = data.design or {}
    recommended = design.get("recommended")
    if not recommended:
        return Action(
            "open", "Finish the ranking before changing anything.",
            f"{_decided(design)} The runs of the ranking that are missing are trained by the same command.",
            f"ablate rank {data.asked}", dict(data.baseline),
        )  # fmt: skip
    gain = (data.confirm or {}).get("gain")
    if recommended["is_baseline"]:
        return _keep(data, folder, None)
    if hurts := [row["trick"] for row in hurting(design, TOGGLE, recommended["recipe"])]:
        return _keep(
            data,
            folder,
            None,
            f"{' and '.join(hurts)} hurt{'s' * (len(hurts) == 1)} in the recipe that was compared.",
        )
    if gain is not None and not gain["low"] > 0:
        return _keep(data, folder, gain)
    return _use(data, folder, dict(recommended["recipe"]), gain)


def decided(data: ReportData) -> str:
    """How many tricks have a verdict, and the margin: one sentence."""
    design = data.design or {}
    return f"{_decided(design)} Differences below {margin_text(design, data.units)} do not matter{_whose(design)}."


def margin_text(design: Document, units: Units) -> str:
    """`±1 pp`; the margin in the metric's units."""
    return f"±{significant(design['margin'] * units.factor)}{units.difference}"


def hurting(design: Document, estimand: str, recipe: Document) -> list[Document]:
    """The effects of tricks of `recipe` that are marked "hurts" there."""
    return [
        row for row in design["effects"]
        if row["estimand"] == estimand and row["in_recipe"] and row["verdict"] == "hurts" and row["trick"] in recipe
    ]  # fmt: skip


def _use(data: ReportData, folder: Path | None, recipe: Document, gain: Document | None) -> Action:
    design = data.design or {}
    if gain:
        metric = str((data.confirm or {}).get("metric", data.metric))
        size = gain_text(gain, data.units_of(metric))
        detail = f"On fresh seeds it {better_than(gain, design['margin'], 'the baseline', size)}, {metric}."
        detail += _over_found(data, "It")
    else:
        ladder = (design.get("recommended") or {}).get("gain")
        detail = (
            f"It {better_than(ladder, design['margin'], 'the baseline', gain_text(ladder, data.units))} on fresh seeds, {data.metric}."
            if ladder
            else ""
        )
        if data.confirmed_another:
            detail += " The recipe that was confirmed before is another one."
        detail += f" For the gain on test data: ablate confirm {data.asked}."
    return Action(
        "good", f"Use this recipe: {' + '.join(recipe) or 'no trick'}.", " ".join(filter(None, (changes_text(data), detail.strip(), decided(data)))),
        _train(data, folder), recipe,
    )  # fmt: skip


def _keep(data: ReportData, folder: Path | None, gain: Document | None, why: str = "") -> Action:
    """The baseline at its best rate, without tricks that hurt in it. `gain`: a confirmed one that does not exclude zero. `why`: another
    reason."""
    design = data.design or {}
    recommended = design["recommended"]
    arms = (data.confirm or {}).get("arms") or {}
    baseline = dict(
        recommended["recipe"] if recommended["is_baseline"] else arms.get("baseline") or data.baseline
    )
    metric = str((data.confirm or {}).get("metric", data.metric)) if gain else data.metric
    reason = gain or recommended.get("gain")
    why = why or (
        f"{_candidate(design)} is not shown to be better: {gain_text(reason, data.units_of(metric, design['margin']))} on fresh seeds, {metric}."
        if reason
        else f"{_candidate(design)} is the baseline itself."
        if left_baseline(design)
        else "No other recipe was shown to be better."
    )
    why += _nor_is(data) + (
        _over_found(data, "The baseline") if gain is None else f" {gains_text(data)}".rstrip()
    )
    rows = hurting(design, ADD_ONE, baseline)
    if rows:
        return _drop(data, folder, rows, baseline, why)
    if gain is not None and gain["high"] > 0:
        seeds = min(1000, 4 * int(gain["n"]))
        rate = f", with {_changed_rate(baseline, data.baseline)}," if baseline != data.baseline else ""
        return Action(
            "open", f"Keep your baseline{rate} until more seeds decide.", f"{why} {decided(data)}",
            f"ablate confirm {data.asked} --seeds {seeds}", baseline,
        )  # fmt: skip
    if baseline != data.baseline:
        headline = f"Keep your baseline, with {_changed_rate(baseline, data.baseline)}."
        return Action("open", headline, f"{why} {decided(data)}", _train(data, folder), baseline)
    return Action("open", "Keep your baseline.", f"{why} {decided(data)}", "", baseline)


def better_than(gain: Document, margin: float | None, other: str, size: str) -> str:
    """`beats OTHER by SIZE`, or that it is only a little better where the effect is within the margin."""
    if margin is not None and gain["effect"] < margin:
        return f"is a little better than {other}, within the margin: {size}"
    return f"beats {other} by {size}"


def _over_found(data: ReportData, which: str) -> str:
    """What is recommended against the recipe that the search found, on the same seeds: a sentence whose subject is `which`; "" where they are the same."""
    confirm = data.confirm or {}
    if not (found := confirm.get("over_found")):
        return ""
    design = data.design or {}
    units, margin = data.units_of(str(confirm["metric"]), design["margin"]), float(design["margin"])
    size = gain_text(found, units)
    other = "the recipe that the search found"
    if found["low"] > 0:
        return f" {which} {better_than(found, margin, other, size)}."
    if found["low"] > -margin:
        return f" {which} is not worse than {other} by more than {margin_text(design, units)}: {size}."
    return f" {which} is not shown to be as good as {other}: {size}; that one may be better by more than {margin_text(design, units)}."


def left_baseline(design: Document) -> bool:
    """Whether the recipe found became the baseline by what was taken out of it and added to it: the two are then not compared."""
    lean = design.get("lean") or {}
    return bool(lean.get("removed") or lean.get("added")) and not design.get("ladder")


def helped_baseline(design: Document) -> str:
    """`the baseline with mixup and without dropout`: what `helped` has; "" where nothing was compared but the recipe found."""
    helped = design.get("helped")
    return _baseline_with(helped["changes"], helped["recipe"]) if helped else ""


def _baseline_with(changed: Sequence[str], recipe: Document) -> str:
    """`the baseline with mixup and without dropout`, of the tricks that were changed and the recipe after it."""
    added = [name for name in changed if name in recipe]
    taken_out = [name for name in changed if name not in recipe]
    changes = [*([f"with {joined(added)}"] if added else []), *([f"without {joined(taken_out)}"] if taken_out else [])]  # fmt: skip
    return f"the baseline {joined(changes)}"


def is_helped_baseline(design: Document) -> bool:
    """Whether the recommended recipe is the baseline with what helps it, as the recipe found was not better."""
    return bool(design.get("helped") and design["helped"]["is_recommended"])


def _nor_is(data: ReportData) -> str:
    """That the baseline with what helps it was no better either: a sentence; "" where that was not compared, or is the candidate."""
    design = data.design or {}
    name = helped_baseline(design)
    if not name or is_helped_baseline(design):
        return ""
    return f" Nor is {name}, though each change helps by itself: {gain_text(design['helped']['gain'], data.units)}."


def _candidate(design: Document) -> str:
    """What was compared with the baseline, by name."""
    lean, ladder = design.get("lean") or {}, design.get("ladder")
    alone = not any(row["estimand"] == TOGGLE for row in design["effects"])
    name = (
        helped_baseline(design)
        if is_helped_baseline(design)
        else _baseline_with([step["trick"] for step in ladder["steps"]], lean.get("recipe") or {})
        if alone and ladder
        else ""
    )
    if name:
        return name[0].upper() + name[1:]
    places = lean.get("replaced") or {}
    removed = [name for name in lean.get("removed") or () if name not in places]
    added = [name for name in lean.get("added") or () if name not in places.values()]
    changes = [
        *([f"without {joined(removed)}"] if removed else []),
        *(f"with {new} in place of {old}" for old, new in places.items()),
        *([f"with {joined(added)}"] if added else []),
    ]
    return " ".join(["The recipe found", *([joined(changes)] if changes else [])])


def _changed_rate(baseline: Document, before: Document) -> str:
    """The learning rate of `baseline` in words, if that is all that differs from `before`."""
    rates = {settings["lr"] for settings in baseline.values() if "lr" in settings}
    others = [
        {name: {**settings, "lr": None} for name, settings in recipe.items()} for recipe in (baseline, before)
    ]
    if len(rates) == 1 and others[0] == others[1]:
        return f"the learning rate {setting(next(iter(rates)))}"
    return "the learning rate in recipe.toml"


def _drop(
    data: ReportData, folder: Path | None, rows: list[Document], baseline: Document, why: str
) -> Action:
    names = [str(row["trick"]) for row in rows]
    recipe = (
        dict(rows[0]["recipe_without"])
        if len(rows) == 1
        else {name: settings for name, settings in baseline.items() if name not in names}
    )
    costs = ", ".join(f"{row['trick']} costs {_size(row, data.units)}" for row in rows)
    return Action(
        "good", f"Drop {' and '.join(names)} from your baseline.", f"{costs}. {why} {decided(data)}", _train(data, folder), recipe,
    )  # fmt: skip


def _train(data: ReportData, folder: Path | None) -> str:
    task = shlex.quote(str(data.study.get("task", data.name)))
    recipe = (folder or Path("reports", data.name)) / "recipe.toml"
    return f"ablate train {task} --recipe {shlex.quote(str(recipe))}"


def _size(row: Document, units: Units) -> str:
    size = units.effect(abs(row["effect"])).lstrip("+")
    return f"{size}{units.difference} ({units.interval(row['low'], row['high'])}, {plural(int(row['pairs']), 'pair')})"


def _decided(design: Document) -> str:
    done, number = counts({"rows": design["effects"]})
    return f"{done} of {plural(number, 'trick')} decided."


def _whose(design: Document) -> str:
    return f" ({margin_source(design)})" if design.get("margin_source") == "auto" else ""


def margin_source(design: Document) -> str:
    """Who chose the margin, in words."""
    return "set automatically" if design["margin_source"] == "auto" else str(design["margin_source"])


def is_untuned(design: Document) -> bool:
    """Whether the budget of a tuned ranking left one run for the rate of an arm: no tuning."""
    tuning = design["budget"]["tuning"]
    return bool(tuning["first"] <= 1 and not tuning["rounds"])


def undecided(data: ReportData) -> list[tuple[str, Any]]:
    """(trick, pairs that would decide it or None) of every trick without a verdict on some reference."""
    open_rows: dict[str, Any] = {}
    for row in (data.design or {}).get("effects") or []:
        if row["verdict"] == "undecided" and row["trick"] != PLACEBO:
            more, most = row.get("more_pairs"), open_rows.get(row["trick"], 0)
            open_rows[row["trick"]] = None if missing(more) or most is None else max(most, int(more))
    return list(open_rows.items())
