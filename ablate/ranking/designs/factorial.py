"""The other designs: full factorial, drop-one, add-one, pilot. All paired: every seed runs every arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod

from ablate.ranking.designs.design import (
    Design,
    Factor,
    Kind,
    Row,
    check_factors,
    rows_of,
    training_seed,
)
from ablate.records.designs import ADD_ONE, DROP_ONE, FACTORIAL
from ablate.records.errors import InputError, unknown
from ablate.records.trick import PLACEBO

LARGEST_FACTORIAL = 4096


def full_factorial(factors: Sequence[Factor], *, seeds: Sequence[int], wave: int = 1) -> Design:
    """Every combination of levels, once per seed; a seed is a block. Raises InputError above 4,096 runs a seed."""
    factors = tuple(factors)
    check_factors(factors)
    varied = [factor for factor in factors if factor.role != "must_have"]
    size = prod(len(factor.levels) for factor in varied)
    if size > LARGEST_FACTORIAL:
        raise InputError(
            f"a full factorial of {len(factors)} tricks needs {size} runs a seed", hint="use screening"
        )
    fixed = {factor.name: factor.levels[1] for factor in factors if factor.role == "must_have"}
    tables = [
        [{**fixed, **levels} for levels in combinations(varied, turned=number % 2 == 1)]
        for number in range(len(seeds))
    ]
    return _paired(FACTORIAL, factors, tables, seeds, wave)


def combinations(varied: Sequence[Factor], *, turned: bool = False) -> list[dict[str, str]]:
    """Every combination of levels. The placebo is not a further factor: on and off it is, on one seed, the
    same training. It goes with the parity of the others (`turned`: the other way round), so that over two blocks it is
    orthogonal to each of them.
    """
    tricks = [factor for factor in varied if factor.name != PLACEBO]
    if not tricks:
        return [{factor.name: level} for factor in varied for level in factor.levels]
    names = [factor.name for factor in tricks]
    table = [dict(zip(names, row, strict=True)) for row in product(*(f.levels for f in tricks))]
    idle = next((factor for factor in varied if factor.name == PLACEBO), None)
    if idle is not None:
        for row in table:
            row[PLACEBO] = idle.levels[(parity(row, tricks) + turned) % 2]
    return table


def parity(levels: Mapping[str, str], factors: Sequence[Factor]) -> int:
    """0 or 1: the sum of the level numbers, odd or even."""
    return sum(factor.levels.index(levels[factor.name]) for factor in factors) % 2


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
    return _paired(DROP_ONE, factors, [table] * len(seeds), seeds, wave)


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
    return _paired(ADD_ONE, factors, [table] * len(seeds), seeds, wave)


def pilot(factors: Sequence[Factor], *, seed: int, repeats: int = 3) -> Design:
    """All on × 3 and all off × 3, paired: run-to-run σ, failure rate, collapse, before anything is planned."""
    factors = tuple(factors)
    check_factors(factors)
    table = [all_at(factors, i) for i in (1, 0)]
    seeds = [training_seed(seed, 0, repeat) for repeat in range(repeats)]
    return _paired("pilot", factors, [table] * len(seeds), seeds, 0)


def all_at(factors: Sequence[Factor], level: int) -> dict[str, str]:
    """Every factor at `levels[level]`, but a `must_have` at `levels[1]`."""
    return {f.name: f.levels[1 if f.role == "must_have" else level] for f in factors}


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
    tables: Sequence[Sequence[Mapping[str, str]]],
    seeds: Sequence[int],
    wave: int,
) -> Design:
    """One block per seed. A row that differs from an earlier row of its block in the placebo alone would be the
    same training: it gets another seed, and so compares two runs of one recipe."""
    if not seeds or len(set(seeds)) != len(seeds):
        raise InputError(f"{kind} needs one or more different seeds, not {list(seeds)}")
    first = max(wave - 1, 0) * len(seeds)  # numbered through over the waves; the pilot is wave 0
    rows: list[Row] = []
    for number, (table, seed) in enumerate(zip(tables, seeds, strict=True)):
        done: dict[tuple[str, ...], set[str | None]] = {}
        for row in rows_of(table, factors, (), first + number, wave):
            label = tuple(level for name, level in row.levels.items() if name != PLACEBO)
            placebo_levels = done.setdefault(label, set())
            placebo = row.levels.get(PLACEBO)
            if placebo not in placebo_levels:
                row_seed = training_seed(seed, 0x9A) if placebo_levels else seed
                rows.append(Row(row.levels, row_seed, first + number, wave))
            placebo_levels.add(placebo)
    note = f"{kind}, {len(rows)} runs, {len(seeds)} paired seeds"
    return Design(kind, factors, tuple(rows), note)
