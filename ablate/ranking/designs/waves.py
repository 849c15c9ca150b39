"""The runs of one wave of an array design; `registry.py` has them by the names of the designs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

from ablate.ranking.designs.design import Design, Factor, training_seed
from ablate.ranking.designs.factorial import add_one, drop_one, full_factorial
from ablate.ranking.designs.screening import SMALLEST_WAVE, screening
from ablate.records.errors import InputError
from ablate.records.trick import PLACEBO

PAIRS = 5
"""Paired seeds of a wave of drop-one or add-one: fewer leave a t interval too few degrees of freedom."""
APART = 5
MOST_TRICKS, MOST_COMBINATIONS = 4, 64


def screening_wave(
    factors: Sequence[Factor], *, wave: int, seed: int, shipped: Mapping[str, str] | None = None
) -> Design:
    """A screening array."""
    return screening(factors, wave=wave, seed=seed)


def drop_one_wave(
    factors: Sequence[Factor], *, wave: int, seed: int, shipped: Mapping[str, str] | None = None
) -> Design:
    """The shipped recipe with and without each trick, on PAIRS paired seeds."""
    return drop_one(factors, _paired_seeds(seed, wave), shipped=shipped, wave=wave)


def add_one_wave(
    factors: Sequence[Factor], *, wave: int, seed: int, shipped: Mapping[str, str] | None = None
) -> Design:
    """The baseline without and with each trick, on PAIRS paired seeds."""
    return add_one(factors, _paired_seeds(seed, wave), wave=wave)


def factorial_wave(
    factors: Sequence[Factor], *, wave: int, seed: int, shipped: Mapping[str, str] | None = None
) -> Design:
    """Every combination under two seeds or more, and 16 runs or more. Raises InputError for more than four tricks."""
    check_factorial(factors)
    tricks = [factor for factor in factors if factor.role != "must_have" and factor.name != PLACEBO]
    if not tricks:
        raise InputError("every trick is a must_have, so a factorial has nothing to vary")
    size = prod(len(factor.levels) for factor in tricks)
    count = 2 * max(1, -(-SMALLEST_WAVE // (2 * size)))
    seeds = [training_seed(seed, wave, 0xFA, i) for i in range(count)]
    design = full_factorial(factors, seeds=seeds, wave=wave)
    return replace(design, note=f"{design.note}, wave {wave}, seed {seed}")


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


def check_factorial(factors: Sequence[Factor]) -> None:
    """Raise InputError where a full factorial of these factors would be too large."""
    tricks = [factor for factor in factors if factor.role != "must_have" and factor.name != PLACEBO]
    size = prod(len(factor.levels) for factor in tricks)
    if len(tricks) > MOST_TRICKS or size > MOST_COMBINATIONS:
        raise InputError(
            f"a full factorial of {len(tricks)} tricks has {size} combinations; at most {MOST_TRICKS} tricks "
            f"and {MOST_COMBINATIONS} combinations are run",
            hint='use design = "screening", or name fewer tricks in include of [space]',
        )


def _paired_seeds(seed: int, wave: int) -> list[int]:
    return [training_seed(seed, wave, 0xD1, i) for i in range(PAIRS)]
