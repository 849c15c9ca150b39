"""The ladder in words: what each step changes, and its gain beside the confirmed one."""

from __future__ import annotations

from math import hypot

from ablate.records.document import Document
from ablate.report.data import ReportData
from ablate.report.numbers import MINUS, Units, plural


def step_labels(ladder: Document) -> list[str]:
    """What each step changes: `+ mixup`, `− dropout`, `adamw → nadam`, or `ema: other settings`.

    Read off the recipes before and after the step. A ledger without the recipes of its steps knows only what happened to the trick of each step.
    """
    labels, before = [], ladder.get("baseline")
    for step in ladder["steps"]:
        after = step.get("recipe")
        labels.append(_recorded(step) if before is None or after is None else _changed(step, before, after))
        before = after
    return labels


def steps_text(data: ReportData) -> str:
    """The steps with their effects, and both gains where one is confirmed; "" without a ladder of steps."""
    ladder = (data.design or {}).get("ladder")
    if not ladder or not ladder["steps"]:
        return ""
    units = data.units
    effects = (
        f"{label} ({units.effect(step['effect'])})"
        for step, label in zip(ladder["steps"], step_labels(ladder), strict=True)
    )
    steps = f"Steps from the baseline, in {data.metric}{units.label_of_difference}: {'; '.join(effects)}."
    return " ".join(filter(None, (steps, gains_text(data))))


def changes_text(data: ReportData) -> str:
    """What the recommended recipe changes in the baseline: the ladder's steps up to it; "" without a ladder."""
    design = data.design or {}
    if not design.get("ladder"):
        return ""
    labels = step_labels(design["ladder"])[: (design.get("recommended") or {}).get("steps")]
    return f"Changes to the baseline: {'; '.join(labels)}." if labels else ""


def gains_text(data: ReportData) -> str:
    """The ladder's gain beside the confirmed one: which data each is measured on, and whether they agree; "" unless there are both, of one metric."""
    confirm = data.confirm or {}
    confirmed, ladder = confirm.get("gain"), ((data.design or {}).get("recommended") or {}).get("gain")
    metric = str(confirm.get("metric", ""))
    if not (confirmed and ladder) or metric.rpartition("/")[2] != data.metric.rpartition("/")[2]:
        return ""
    both = f"The gain is {gain_text(ladder, data.units)} in the ladder ({data.metric}) and {gain_text(confirmed, data.units_of(metric))} in the confirmation ({metric}), each on fresh seeds of its own"
    if agree(ladder, confirmed):
        return f"{both}: the two agree within their intervals."
    return f"{both}: the two differ by more than their intervals allow. Trust the confirmed one, which no choice was made on."


def agree(first: Document, second: Document) -> bool:
    """Whether two independent effects differ by no more than the interval of their difference."""
    halves = ((one["high"] - one["low"]) / 2 for one in (first, second))
    return bool(abs(first["effect"] - second["effect"]) <= hypot(*halves))


def gain_text(gain: Document, units: Units) -> str:
    """`+2.00 pp (+1.00 to +3.00, 10 pairs)`."""
    number = int(gain.get("pairs") or gain.get("n") or 0)
    return f"{units.effect(gain['effect'])}{units.difference} ({units.interval(gain['low'], gain['high'])}, {plural(number, 'pair')})"


def _changed(step: Document, before: Document, after: Document) -> str:
    out, new = (
        ", ".join(name for name in one if name not in other)
        for one, other in ((before, after), (after, before))
    )
    if out and new:
        return f"{out} → {new}"
    if out or new:
        return f"+ {new}" if new else f"{MINUS} {out}"
    return f"{step['trick']}: other settings"


def _recorded(step: Document) -> str:
    signs = {"added": "+ ", "taken out": f"{MINUS} "}
    return (
        f"{signs[step['change']]}{step['trick']}"
        if step["change"] in signs
        else f"{step['trick']}: {step['change']}"
    )
