"""Checks of the design options of the rank stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablate.records.designs import ARRAY_DESIGNS, DESIGN_NAMES, TUNED
from ablate.records.errors import InputError, unknown
from ablate.records.words import alternatives


def checked_design(name: str) -> Any:
    """A design's name from the command line, or "". Raises InputError."""
    if name and name not in DESIGN_NAMES:
        raise unknown("design", name, DESIGN_NAMES)
    return name


def check_options(design: str, budget: str, arrays: Mapping[str, object | None]) -> None:
    """Raise InputError if an option does not fit the design. `arrays`: options of array designs, None if not given."""
    given = [option for option, value in arrays.items() if value is not None]
    if design == TUNED and given:
        raise InputError(
            f"{given[0]} is for array designs, and this ranking is '{TUNED}'",
            hint=f"give --budget instead, or --design {alternatives(ARRAY_DESIGNS)}",
        )
    if design != TUNED and budget:
        raise InputError(
            f"--budget is for the design '{TUNED}', and this ranking is '{design}'",
            hint="limit it with --waves",
        )
    from ablate.study.ranking.budget import check_budget

    check_budget(budget)
