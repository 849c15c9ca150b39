"""The runs of one wave of a ranking, for each of the four designs that a study may ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

from ablate.ranking.designs.design import Design, Factor, Kind, training_seed
from ablate.ranking.designs.factorial import add_one, drop_one, full_factorial
from ablate.ranking.designs.screening import SMALLEST_WAVE, screening
from ablate.records.errors import InputError
from ablate.records.trick import PLACEBO

PAIRS = 5
"""Paired seeds of a wave of drop-one or add-one: fewer leave a t interval too few degrees of freedom."""
APART = 5
MOST_TRICKS, MOST_COMBINATIONS = 4, 64


def wave_of(
    kind: Kind, factors: Sequence[Factor], *, wave: int, seed: int, shipped: Mapping[str, str] | None = None
) -> Design:
    """Wave `wave` (from 1) of the design `kind`, a pure function of its arguments.

    `shipped`: factor -> level in the recipe that drop-one starts from. Raises InputError for a factorial of
    more than four tricks, and where there is nothing to vary.
    """
    if kind == "screening":
        return screening(factors, wave=wave, seed=seed)
    if kind == "factorial":
        return _factorial(factors, wave, seed)
    seeds = [training_seed(seed, wave, 0xD1, i) for i in range(PAIRS)]
    if kind == "drop-one":
        return drop_one(factors, seeds, shipped=shipped, wave=wave)
    return add_one(factors, seeds, wave=wave)


def apart(
    fixed: Sequence[Factor], shipped: Mapping[str, str], main: Design, *, wave: int, seed: int
) -> Design | None:
    """The paired drop-one of the factors that the array holds fixed, on the seeds of the array's own blocks
    first. None where nothing is fixed."""
    if not fixed:
        return None
    seeds = list(dict.fromkeys(row.seed for row in main.rows))[:2]
    seeds += [training_seed(seed, wave, 0xA7, i) for i in range(APART - len(seeds))]
    plain = [Factor(factor.name, factor.levels) for factor in fixed]
    return drop_one(plain, seeds, shipped={f.name: shipped[f.name] for f in plain}, wave=wave)


def check_kind(kind: Kind, factors: Sequence[Factor]) -> None:
    """Raise InputError where `kind` cannot hold these factors."""
    if kind != "factorial":
        return
    tricks = [factor for factor in factors if factor.role != "must_have" and factor.name != PLACEBO]
    size = prod(len(factor.levels) for factor in tricks)
    if len(tricks) > MOST_TRICKS or size > MOST_COMBINATIONS:
        raise InputError(
            f"a full factorial of {len(tricks)} tricks has {size} combinations; at most {MOST_TRICKS} tricks "
            f"and {MOST_COMBINATIONS} combinations are run",
            hint='use design = "screening", or name fewer tricks in include of [space]',
        )


def _factorial(factors: Sequence[Factor], wave: int, seed: int) -> Design:
    """Every combination under two seeds or more, and 16 runs or more."""
    check_kind("factorial", factors)
    tricks = [factor for factor in factors if factor.role != "must_have" and factor.name != PLACEBO]
    if not tricks:
        raise InputError("every trick is a must_have, so a factorial has nothing to vary")
    size = prod(len(factor.levels) for factor in tricks)
    count = 2 * max(1, -(-SMALLEST_WAVE // (2 * size)))
    seeds = [training_seed(seed, wave, 0xFA, i) for i in range(count)]
    design = full_factorial(factors, seeds=seeds, wave=wave)
    return replace(design, note=f"{design.note}, wave {wave}, seed {seed}")
