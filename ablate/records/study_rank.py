"""The sections [rank] and [confirm] of a study file: the designed experiment and the confirmation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from ablate.records.designs import DESIGN_NAMES, TUNED, DesignName
from ablate.records.errors import InputError, unknown
from ablate.records.recipe import Catalogue
from ablate.records.table import Table

ARRAY_ONLY = ("waves", "must_have", "levels", "conditional", "retune")
"""Keys of [rank] that the tuned design does without."""
NONE = "none"
OPTIMIZER = "optimizer"
RATES, MAX_RATES = 5, 31
CONFIRM_SEEDS = 5
PATIENCE, ENOUGH = 1500.0, 0.9
"""Where no budget is given, the race goes on to so many seconds of the stage until this share of the tricks is decided."""


def longest_seconds(asked: str, seconds: float | None) -> float | None:
    """The upper limit of a ranking that has `seconds`, by the budget that was `asked` for ("": none); None where runs limit it."""
    return seconds if asked or seconds is None else max(seconds, PATIENCE)


@dataclass(frozen=True, slots=True)
class RankSection:
    """The designed experiment.

    `margin`: in the metric's units; None for the automatic one. `around`: "best", "baseline" or a recipe file.
    `must_have`: tricks fixed on in the array and tested separately. `levels`: slot -> the tricks ranked in it
    ("none" for the empty slot); a slot that is not listed has the candidates of the search. `conditional`: trick ->
    the trick or slot without which it does nothing. `retune`: learning rates tried for each arm of a
    trick that shifts the best rate; 0 for none. `budget`: of the rank stage, "10m" or "2000runs"; "" leaves it to the
    tool. `waves`, `must_have`, `levels`, `conditional` and `retune` are of the array designs; "tuned" does without them.
    """

    design: DesignName = TUNED
    around: str = "best"
    margin: float | None = None
    waves: int = 3
    must_have: tuple[str, ...] = ()
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    conditional: Mapping[str, str] = field(default_factory=dict)
    retune: int = RATES
    budget: str = ""


@dataclass(frozen=True, slots=True)
class ConfirmSection:
    """The section [confirm]. `seeds`: paired fresh seeds; None: as many as each recipe of the ladder
    had; CONFIRM_SEEDS without a ladder. `around`: the winner: best, baseline or a recipe file; "": what was ranked last."""

    seeds: int | None = None
    around: str = ""


def read_rank(table: Table, catalogue: Catalogue) -> RankSection:
    """Parse the section. Raises InputError with the line."""
    table.check_keys(RankSection.__slots__)
    margin = table.number("margin")
    if margin is not None and margin <= 0:
        raise table.fail(f"margin must be above zero, not {margin}", "margin", hint="leave it out for 'auto'")
    must_have = table.strings("must_have", ())
    for i, name in enumerate(must_have):
        if name not in catalogue:
            with table.at("must_have", i):
                raise unknown("trick", name, catalogue)
    retune = table.integer("retune", RATES, 0, MAX_RATES)
    with table.at("retune"):
        check_rates(retune, "retune")
    return RankSection(
        cast(DesignName, table.choice("design", TUNED, DESIGN_NAMES)),
        table.text("around", "best"),
        margin,
        table.integer("waves", 3, 1, 3),
        must_have,
        _levels(table.table("levels"), catalogue),
        _conditional(table.table("conditional"), catalogue),
        retune,
        table.text("budget", ""),
    )


def check_section(section: RankSection) -> None:
    """Raise InputError where a tuned ranking has settings that array designs alone use, or an array a budget."""
    plain = RankSection()
    changed = [key for key in ARRAY_ONLY if getattr(section, key) != getattr(plain, key)]
    if section.design == TUNED and changed:
        raise InputError(
            f"{changed[0]} in [rank] is for array designs, and this ranking is '{TUNED}'",
            hint='leave it out, or write design = "screening"',
        )
    if section.design != TUNED and section.budget:
        raise InputError(
            f"budget in [rank] is for the design '{TUNED}', and this ranking is '{section.design}'",
            hint="leave it out, or limit the design with waves",
        )


def check_rates(count: int, where: str) -> int:
    """`count`, if it is a valid number of learning rates per arm: 0 or odd from 3 to 31. Raises InputError."""
    if not 0 <= count <= MAX_RATES or (count and (count < 3 or count % 2 == 0)):
        raise InputError(
            f"{where} must be 0 or an odd number from 3 to {MAX_RATES}, not {count}",
            hint="odd, so that the recipe's own rate is among those tried",
        )
    return count


def read_confirm(table: Table) -> ConfirmSection:
    """Parse the section [confirm]. Raises InputError with the line."""
    table.check_keys(ConfirmSection.__slots__)
    seeds = table.integer("seeds", CONFIRM_SEEDS, 2, 1000) if "seeds" in table.data else None
    return ConfirmSection(seeds, table.text("around", ""))


def _levels(table: Table, catalogue: Catalogue) -> dict[str, tuple[str, ...]]:
    """Slot -> at least two names, each a trick of the slot or "none"."""
    slots = {trick.slot for trick in catalogue.values() if trick.slot}
    levels = {}
    for slot in table.data:
        if slot not in slots:
            with table.at(slot):
                raise unknown("slot", slot, slots)
        members = [trick.name for trick in catalogue.values() if trick.slot == slot]
        known = members if slot == OPTIMIZER else [*members, NONE]
        names = table.strings(slot, ())
        for i, name in enumerate(names):
            if name not in known:
                with table.at(slot, i):
                    raise unknown(f"trick of the slot {slot}", name, known)
        if len(set(names)) != len(names) or len(names) < 2:
            raise table.fail(
                f"levels.{slot} needs two or more different tricks, not {list(names)}", slot,
                hint=f'for example {slot} = ["{known[0]}", "{known[-1]}"]',
            )  # fmt: skip
        levels[slot] = names
    return levels


def _conditional(table: Table, catalogue: Catalogue) -> dict[str, str]:
    """Trick -> its parent, a trick or a slot."""
    slots = {trick.slot for trick in catalogue.values() if trick.slot}
    parents: dict[str, str] = {}
    for child in table.data:
        with table.at(child):
            parent = table.text(child, "")
            if child not in catalogue:
                raise unknown("trick", child, catalogue)
            if parent not in catalogue and parent not in slots:
                raise unknown("trick or slot", parent, [*catalogue, *slots])
        ancestor = parent
        while ancestor in parents:
            ancestor = parents[ancestor]
        if ancestor == child:
            raise table.fail(f"{child} would be its own parent", child)
        parents[child] = parent
    return parents
