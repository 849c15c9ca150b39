"""The screening array: a Hadamard matrix and its mirror image, in waves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations as pairs_of
from math import prod

import numpy as np
from numpy.typing import NDArray

from ablate.ranking.designs.design import Design, Factor, Row, check_factors, rows_of
from ablate.ranking.designs.factorial import combinations, parity
from ablate.ranking.designs.hadamard import hadamard, order_above
from ablate.records.designs import SCREENING
from ablate.records.errors import InputError
from ablate.records.trick import PLACEBO

SMALLEST_WAVE = 16
_CANDIDATES = 200


def screening(factors: Sequence[Factor], *, wave: int, seed: int) -> Design:
    """The rows of wave `wave` (counted from 1), a pure function of (factors, wave, seed).

    Five or more varied factors: k random columns of the smallest Hadamard matrix above k, signs random,
    then the same with every sign turned (full foldover). Each half is a block with a training seed of its
    own. Main effects are then orthogonal to one another, to the blocks and to all two-factor interactions.
    Four or fewer (and a placebo): the full factorial, repeated under fresh seeds to at least 16 runs.

    A factor with L > 2 levels is assigned in equal shares (within one run), the same in both halves:
    what is even under the mirror is orthogonal to every two-level main effect, which is odd. Interactions
    with such a slot, and interactions of others with it or with a conditional trick, are only partly
    clear (`alias_table` shows how far), and fall elsewhere in every wave.
    A `must_have` is fixed at `levels[1]`; a conditional one is off where its parent is.
    Raises InputError for more than 47 columns, a wave below 1, or nothing to vary.
    """
    factors = tuple(factors)
    check_factors(factors)
    if wave < 1:
        raise InputError(f"waves are counted from 1, not {wave}")
    varied = [factor for factor in factors if factor.role != "must_have"]
    if not varied:
        raise InputError("every trick is a must_have, so an array has nothing to vary")
    draw = np.random.default_rng([seed & 0xFFFFFFFF, wave, 0x5C])
    if is_factorial(varied):
        blocks = _factorial(varied, draw)
        what = "full factorial"
    else:
        order = order_above(sum(len(factor.levels) - 1 for factor in varied))
        blocks = _folded(varied, order, draw)
        what = f"Hadamard order {order} and foldover"
    fixed = {factor.name: factor.levels[1] for factor in factors if factor.role == "must_have"}
    rows: list[Row] = []
    for number, block in enumerate(blocks):
        table = [{**fixed, **levels} for levels in block]
        label = (wave - 1) * len(blocks) + number
        rows += rows_of(table, factors, (seed, wave, number), label, wave)
    note = f"{what}, {len(rows)} runs in {len(blocks)} blocks, wave {wave}, seed {seed}"
    return Design(SCREENING, factors, tuple(rows), note)


def _folded(varied: Sequence[Factor], order: int, draw: np.random.Generator) -> list[list[dict[str, str]]]:
    two = [factor for factor in varied if len(factor.levels) == 2]
    many = [factor for factor in varied if len(factor.levels) > 2]
    columns = 1 + draw.permutation(order - 1)[: len(two)]
    signs = draw.choice(np.array([-1, 1], dtype=np.int8), len(two))
    half = hadamard(order)[:, columns] * signs
    shares = _assign(many, half, draw)
    blocks = []
    for sign in (1, -1):
        table = []
        for row in draw.permutation(order):
            levels = {f.name: f.levels[int(sign * half[row, i] > 0)] for i, f in enumerate(two)}
            levels |= {f.name: f.levels[shares[i][row]] for i, f in enumerate(many)}
            table.append({factor.name: levels[factor.name] for factor in varied})
        blocks.append(table)
    return blocks


def _assign(
    many: Sequence[Factor], half: NDArray[np.int8], draw: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Balanced level numbers [order] for each factor of more than two levels.

    Of 200 random assignments, the one least entangled with the earlier ones and with the two-factor
    interactions, the only effects that an assignment even under the mirror can be entangled with.
    """
    order = len(half)
    pairs = [half[:, i] * half[:, j] for i, j in pairs_of(range(half.shape[1]), 2)]
    others: list[NDArray[np.float64]] = [np.array(pairs, dtype=float).reshape(-1, order)]
    weights = [1.0]
    chosen = []
    for factor in many:
        count = len(factor.levels)
        base = np.arange(order) % count
        best, least = base, np.inf
        for _ in range(_CANDIDATES):
            candidate = draw.permutation(count)[draw.permutation(base)]
            shape = np.eye(count)[candidate].T
            shape -= shape.mean(axis=1, keepdims=True)
            entangled = sum(
                weight * float(np.square(other @ shape.T).sum())
                for weight, other in zip(weights, others, strict=True)
            )
            if entangled < least:
                best, least = candidate, entangled
        shape = np.eye(count)[best].T
        others.append(shape - shape.mean(axis=1, keepdims=True))
        weights.append(100.0)
        chosen.append(best)
    return chosen


def is_factorial(factors: Sequence[Factor]) -> bool:
    """Whether an array of these factors holds every combination: four tricks or fewer."""
    tricks = [factor for factor in factors if factor.role != "must_have" and factor.name != PLACEBO]
    return len(tricks) <= 4 and prod(len(factor.levels) for factor in tricks) <= 2 * SMALLEST_WAVE


def _factorial(varied: Sequence[Factor], draw: np.random.Generator) -> list[list[dict[str, str]]]:
    """Every combination; a repeat is a block. Four two-level tricks: two blocks of eight, split by the product of
    the four signs, so that sixteen runs carry two seeds and only the four-way interaction is lost.
    """
    tricks = [factor for factor in varied if factor.name != PLACEBO]
    table = combinations(varied)
    if len(table) == SMALLEST_WAVE and len(tricks) == 4:
        blocks = [[row for row in table if parity(row, tricks) == side] for side in (0, 1)]
        if len(tricks) < len(varied):  # within a block all four signs have one product: three of them serve
            placebo = next(factor for factor in varied if factor.name == PLACEBO)
            for row in table:
                row[PLACEBO] = placebo.levels[parity(row, tricks[:3])]
    else:
        twice = max(1, -(-SMALLEST_WAVE // (2 * len(table))))
        blocks = [combinations(varied, turned=turned) for _ in range(twice) for turned in (False, True)]
    return [[block[i] for i in draw.permutation(len(block))] for block in blocks]
