"""Notes on the rows of a ranking: the rate, the role, and where it was tested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ablate.ranking.designs.design import Design
from ablate.ranking.designs.registry import array_design
from ablate.ranking.estimation.analysis import Analysis
from ablate.ranking.estimation.coding import lines
from ablate.records.trick import PLACEBO

UNTUNED = "learning rate not re-tuned for this trick"
APART = "fixed in the array; tested apart, by paired drop-one"
AGAIN = "the same recipe on other seeds"


def noted(analysis: Analysis, plan: Design, fact: Mapping[str, Any], *, apart: bool = False) -> Analysis:
    """The analysis with the notes that the design and the tuning before it give to each row."""
    retune = fact.get("retune") or {}
    factors = {factor.name: factor for factor in plan.factors}
    notes = []
    for row in lines(analysis.table):
        factor = factors[row["trick"]]
        said = [row["note"]] if row["note"] else []
        if apart:
            said.append(APART)
        if row["trick"] == PLACEBO and array_design(plan.kind).reference:
            said.append(AGAIN)
        if factor.role == "conditional" and array_design(plan.kind).reference:
            said.append(f"given {factor.parent} on")
        if factor.role == "needs_retune" and UNTUNED not in row["note"]:
            said.append(UNTUNED)
        if row["trick"] in retune.get("factors", ()):
            said.append(_rate(row["trick"], row["level"], retune))
        notes.append("; ".join(said))
    warned = (
        (*analysis.warnings, *_warnings(retune, fact.get("pilot") or {})) if not apart else analysis.warnings
    )
    return replace(analysis, table=analysis.table.assign(note=notes), warnings=warned)


def besides(fact: Mapping[str, Any]) -> list[str]:
    """Sentences for the methods paragraph: re-tuned rates, the pilot, what was tested apart."""
    retune, pilot = fact.get("retune") or {}, fact.get("pilot") or {}
    aside = (fact.get("apart") or {}).get("design")
    said = []
    if retune.get("best"):
        said.append(
            f"For tricks that shift the best learning rate ({', '.join(retune['factors'])}) each arm had its rate "
            f"re-tuned at equal budget before: {retune['runs_per_arm']} runs an arm, {len(retune['arms'])} arms, one seed; "
            "where such tricks meet in a run their factors are multiplied."
        )
    if pilot:
        said.append(
            f"A pilot of {pilot['runs_on'] + pilot['runs_off']} runs with all tricks on and all off preceded; its runs do "
            "not enter."
        )
    if aside:
        names = ", ".join(factor["name"] for factor in aside["factors"])
        said.append(
            f"Fixed in the array and tested apart by a paired drop-one, in a family of its own: {names}."
        )
    return said


def _rate(trick: str, level: str, retune: Mapping[str, Any]) -> str:
    """What the re-tuning gave this row; the table of arms has the details."""
    rates = retune.get("best") or {}
    note = f"rate re-tuned, {retune['runs_per_arm']} runs an arm"
    rate = rates.get(f"{trick}={level}")
    return note if rate is None else f"{note}: {rate / rates['shipped']:.2g} × the recipe's"


def _warnings(retune: Mapping[str, Any], pilot: Mapping[str, Any]) -> list[str]:
    said = []
    if edge := retune.get("edge"):
        said.append(
            f"the best learning rate lies at the edge of those tried for {', '.join(edge)}: these arms may be "
            "better than they look"
        )
    if lost := retune.get("lost"):
        said.append(f"no learning rate that was tried trains {', '.join(lost)}")
    said += [f"pilot: {warning}" for warning in pilot.get("warnings") or []]
    return said
