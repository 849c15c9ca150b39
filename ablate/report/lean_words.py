"""The lean recipe in words: what was taken out of the recipe found and added to it, and why tricks without an effect are still in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ablate.records.designs import TOGGLE
from ablate.records.document import Document
from ablate.records.words import joined
from ablate.report.action import action, helped_baseline, is_helped_baseline, left_baseline, margin_text
from ablate.report.data import ReportData
from ablate.report.ladder import gain_text
from ablate.report.numbers import plural

UNCHANGED = "Nothing was taken out of the recipe that the search found, and nothing was added to it."


def lean_sentences(data: ReportData) -> list[str]:
    """All that the page says of the lean recipe; nothing where no recipe but the baseline was ranked.

    Of a ladder whose recommended rung lacks a step, only what holds for that rung.
    """
    if not _has_lean(data):
        return []
    if is_helped_baseline(data.design or {}):
        return [_instead(data)]
    if left_baseline(data.design or {}):
        return [*_changes(data), "What is left is the baseline itself."]
    return [*_changes(data), *stays(data, numbers=True)]


def lean_in_short(data: ReportData) -> str:
    """For the summary of a recipe that is recommended: whether nothing was changed, and why tricks without an effect stay."""
    if not _has_lean(data) or _used(data) is None:
        return ""
    if is_helped_baseline(data.design or {}):
        return _instead(data)
    unchanged = [UNCHANGED] if _is_unchanged((data.design or {})["lean"]) else []
    return " ".join([*unchanged, *stays(data)])


def stays(data: ReportData, *, numbers: bool = False) -> list[str]:
    """A sentence on the tricks of the recipe that have no measurable effect; none where there is none. `numbers`: with the step that says that one has to stay."""
    used = _used(data)
    kept = (data.design or {})["lean"].get("kept") or ()
    shown = [step for step in kept if used is None or step["trick"] in used]
    reasons: dict[str, list[str]] = {}
    for step in shown:
        name = f"{step['trick']} (against {step['against']})" if step.get("against") else str(step["trick"])
        size = f": {_size(data, step)}" if numbers and "effect" in step else ""
        reasons.setdefault(f"{step['why']}{size}", []).append(name)
    parts = [f"{joined(names)}, as {why}" for why, names in reasons.items()]
    return [f"No measurable effect, but still in the recipe: {'; '.join(parts)}."] if parts else []


def _instead(data: ReportData) -> str:
    """Why the recipe is not the one that was found."""
    design = data.design or {}
    found = design["helped"]["found"]
    why = (
        f"is not shown to be better than the baseline ({gain_text(found, data.units)})"
        if found
        else "came down to the baseline"
    )
    return f"The recipe that the search found {why}, so {helped_baseline(design)} was compared with it, on the same seeds."


def _has_lean(data: ReportData) -> bool:
    """Whether there is a lean recipe made of a recipe found."""
    design = data.design or {}
    return bool(design.get("lean") and design.get("recommended")) and any(
        row["estimand"] == TOGGLE for row in design["effects"]
    )


def _is_unchanged(lean: Document) -> bool:
    return not lean["removed"] and not lean.get("added")


def _used(data: ReportData) -> Document | None:
    """The recommended recipe; None where the baseline is kept: the page then tells what was compared with it."""
    recommended, chosen = (data.design or {})["recommended"], action(data)
    is_used = chosen is not None and not recommended["is_baseline"] and chosen.recipe == recommended["recipe"]
    return chosen.recipe if chosen is not None and is_used else None


def _changes(data: ReportData) -> Iterator[str]:
    design, used = data.design or {}, _used(data)
    lean = design["lean"]
    if _is_unchanged(lean):
        yield UNCHANGED
    removed = [name for name in lean["removed"] if used is None or name not in used]
    if removed:
        places = lean.get("replaced") or {}
        names = [f"{name} (in its place {places[name]})" if name in places else name for name in removed]
        compared = used is None and bool(design.get("ladder"))
        when = ", before it was compared with the baseline" if compared else ""
        yield f"Taken out of the recipe that the search found{when}: {', '.join(names)}.{_without(data, removed)}"
    added = [name for name in lean.get("added") or () if used is None or name in used]
    if added:
        tried = [step for step in design.get("lean_added") or () if step["with"] == added]
        best = max(tried, key=lambda step: float(step["effect"]), default=None)
        size = f" With {_them(added, added)} {_size(data, best)}." if best else ""
        yield f"Added to it: {', '.join(added)}.{size}"


def _without(data: ReportData, removed: Sequence[str]) -> str:
    """How the recipe trained without as many of the tricks as were left out at once."""
    tried = [
        step for step in (data.design or {}).get("lean_tried") or () if set(step["without"]) <= set(removed)
    ]
    if not tried:
        return ""
    step = max(tried, key=lambda one: len(one["without"]))
    given = f", with {joined(step['with'])}" if step.get("with") else ""
    return (
        f" Without {_them(step['without'], removed)}{given} {_size(data, step)}, "
        f"where {margin_text(data.design or {}, data.units)} does not matter."
    )


def _them(names: Sequence[str], told: Sequence[str]) -> str:
    """The names, or a pronoun where they are just those that were told."""
    if set(names) != set(told):
        return joined(names)
    return "it" if len(names) == 1 else "them"


def _size(data: ReportData, step: Any) -> str:
    units = data.units
    return (
        f"{units.effect(step['effect'])}{units.difference} ({units.interval(step['low'], step['high'])}, "
        f"90 % interval, {plural(int(step['pairs']), 'pair')})"
    )
