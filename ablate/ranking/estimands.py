"""The effects that a ranking estimates: one record an estimand, with the words of the report and the export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ablate.records.designs import ADD_ONE, AVERAGE, DROP_ONE, EXPLORATORY, TOGGLE, Estimand


@dataclass(frozen=True, slots=True)
class EstimandText:
    """`definition`: a sentence of the report. `where`: the recipe in which the trick's effect is measured, as the
    end of a sentence; `reference`: that recipe in one word; `change`: what is done with the trick there."""

    definition: str
    where: str = ""
    reference: str = ""
    change: str = ""


ESTIMANDS: Mapping[Estimand, EstimandText] = {
    AVERAGE: EstimandText(
        "Average effect: the mean difference a trick makes over all combinations of the others in the designed array "
        "(its Banzhaf value).",
        "averaged over the other tricks",
    ),
    DROP_ONE: EstimandText(
        "Drop-one effect: what the winner loses when this one trick is taken out, on paired fresh seeds.",
        "in the recipe found",
        "recipe",
        "taken out of the recipe found",
    ),
    ADD_ONE: EstimandText(
        "Add-one effect: what the baseline gains when this one trick is added, on paired seeds.",
        "on the baseline",
        "baseline",
        "added to the baseline",
    ),
    TOGGLE: EstimandText(
        "Toggle effect: what the recipe found gains from this one trick, put in or taken out, on paired seeds.",
        "in the recipe found",
        "recipe",
        "in the recipe found",
    ),
    EXPLORATORY: EstimandText(
        "Exploratory: signed least squares on the search's own trials. The search chose them by their results, so no verdict "
        "rests on these numbers."
    ),
}
"""In the order in which a report looks for the effects that it shows first."""


def reference_of(estimand: Estimand) -> str:
    """The name of the arm that an estimand's arms are compared with: `add-one: baseline`."""
    return f"{estimand}: {ESTIMANDS[estimand].reference}"
