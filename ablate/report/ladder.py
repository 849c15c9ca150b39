"""The ladder in words: what each step changes, and its gain beside the confirmed one."""

from __future__ import annotations

from ablate.records.document import Document
from ablate.report.numbers import MINUS


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
