"""The names of the designs of a ranking and of the effects that they estimate, as study files and ledgers write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

DesignName = Literal["tuned", "screening", "factorial", "drop-one", "add-one"]
Estimand = Literal["add-one", "toggle", "average", "drop-one", "exploratory"]
"""What an effect compares. The two paired designs have the name of the effect that they estimate."""

PairedEstimand = Literal["drop-one", "add-one"]
TunedEstimand = Literal["add-one", "toggle"]
"""The estimands of the paired designs, and of the tuned design."""

TUNED: Final = "tuned"
SCREENING: Final = "screening"
FACTORIAL: Final = "factorial"
DROP_ONE: Final = "drop-one"
ADD_ONE: Final = "add-one"
TOGGLE: Final = "toggle"
AVERAGE: Final = "average"
EXPLORATORY: Final = "exploratory"

DESIGN_NAMES: tuple[DesignName, ...] = get_args(DesignName)
ARRAY_DESIGNS: tuple[DesignName, ...] = tuple(name for name in DESIGN_NAMES if name != TUNED)
"""The designs other than the default: rows that are fixed before the first run."""
DESIGN_NOTES: Mapping[DesignName, str] = {
    TUNED: "what each trick adds to the baseline and to the recipe found, every arm at its own best learning rate; "
    "needs hundreds of runs, so not where a run takes many minutes",
    SCREENING: "a trick's average over all settings of the others, for many tricks in few runs; "
    "does not serve where the best learning rate depends on the trick, or where combinations diverge",
    FACTORIAL: "the average effects and all interactions of at most 4 tricks; "
    "does not serve for more, as the runs double with each",
    DROP_ONE: "what the recipe loses without each of its tricks, on few runs; "
    "does not judge tricks outside the recipe",
    ADD_ONE: "what the baseline gains with each trick, on few runs; "
    "does not show what a trick gives beside the others",
}
"""What a design answers; and when it does not serve."""
