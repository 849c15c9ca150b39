"""The other designs: full factorial, drop-one, add-one, pilot. All paired: every seed runs every arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod

from ablate.ranking.design import Design, Factor, Kind, check_factors, rows_of, training_seed
from ablate.records.errors import InputError, unknown

LARGEST_FACTORIAL = 4096


def full_factorial(factors: Sequence[Factor], *, seeds: Sequence[int], wave: int = 1) -> Design:
    """Every combination of levels, once per seed; a seed is a block. Raises InputError above 4,096 runs a seed."""
    factors = tuple(factors)
    check_factors(factors)
    size = prod(1 if factor.role == "must_have" else len(factor.levels) for factor in factors)
    if size > LARGEST_FACTORIAL:
        raise InputError(
            f"a full factorial of {len(factors)} tricks needs {size} runs a seed", hint="use screening"
        )
    choices = [factor.levels[1:2] if factor.role == "must_have" else factor.levels for factor in factors]
    names = [factor.name for factor in factors]
    table = [dict(zip(names, row, strict=True)) for row in product(*choices)]
    return _paired("factorial", factors, table, seeds, wave)


def drop_one(
    factors: Sequence[Factor],
    seeds: Sequence[int],
    *,
    shipped: Mapping[str, str] | None = None,
    wave: int = 1,
) -> Design:
    """The shipped recipe, and that recipe with one trick at a time at its reference level.

    `shipped`: factor -> level (default: `levels[1]` of each). A factor shipped at its reference level has
    nothing to drop and is left alone. Rows: (1 + dropped tricks) × seeds. Raises InputError.
    """
    factors = tuple(factors)
    check_factors(factors)
    recipe = shipped_levels(factors, shipped)
    table = [recipe]
    table += [
        {**recipe, factor.name: factor.levels[0]}
        for factor in factors
        if recipe[factor.name] != factor.levels[0]
    ]
    return _paired("drop-one", factors, table, seeds, wave)


def add_one(factors: Sequence[Factor], seeds: Sequence[int], *, wave: int = 1) -> Design:
    """The baseline (all at reference), and the baseline with one trick at a time at each other level.

    A conditional trick is added together with its parent at `levels[1]`, and compared with that.
    """
    factors = tuple(factors)
    check_factors(factors)
    by_name = {factor.name: factor for factor in factors}
    baseline = {factor.name: factor.levels[0] for factor in factors}
    table = [baseline]
    for factor in factors:
        below = dict(baseline)
        parent = factor.parent
        while parent is not None:
            below[parent] = by_name[parent].levels[1]
            parent = by_name[parent].parent
        table += [{**below, factor.name: level} for level in factor.levels[1:]]
    return _paired("add-one", factors, table, seeds, wave)


def pilot(factors: Sequence[Factor], *, seed: int, repeats: int = 3) -> Design:
    """All on × 3 and all off × 3, paired: run-to-run σ, failure rate, collapse, before anything is planned."""
    factors = tuple(factors)
    check_factors(factors)
    table = [{f.name: f.levels[i] for f in factors} for i in (1, 0)]
    seeds = [training_seed(seed, 0, repeat) for repeat in range(repeats)]
    return _paired("pilot", factors, table, seeds, 0)


def shipped_levels(factors: Sequence[Factor], shipped: Mapping[str, str] | None) -> dict[str, str]:
    """The level of every factor in the shipped recipe. Raises InputError for unknown factors or levels."""
    recipe = {factor.name: factor.levels[1] for factor in factors}
    by_name = {factor.name: factor for factor in factors}
    for name, level in (shipped or {}).items():
        if name not in by_name:
            raise unknown("factor", name, by_name)
        if level not in by_name[name].levels:
            raise unknown(f"level of '{name}'", level, by_name[name].levels)
        recipe[name] = level
    return recipe


def _paired(
    kind: Kind,
    factors: tuple[Factor, ...],
    table: Sequence[Mapping[str, str]],
    seeds: Sequence[int],
    wave: int,
) -> Design:
    if not seeds or len(set(seeds)) != len(seeds):
        raise InputError(f"{kind} needs one or more different seeds, not {list(seeds)}")
    rows = []
    for block, seed in enumerate(seeds):
        done = set()
        for row in rows_of(table, factors, (), block, wave):
            label = tuple(row.levels.values())
            if label not in done:
                done.add(label)
                rows.append(type(row)(row.levels, seed, block, wave))
    note = f"{kind}, {len(rows)} runs, {len(seeds)} paired seeds"
    return Design(kind, factors, tuple(rows), note)
