"""Hadamard matrices of every order 4, 8, …, 48: the arrays in which each run informs every trick.

Orders are built by three classical constructions over prime fields, so that nothing is copied from a table:
Paley I (order p + 1, p = 3 mod 4), Paley II (order 2(p + 1), p = 1 mod 4) and Sylvester's doubling.
Paley, "On orthogonal matrices", J. Math. Phys. 12 (1933); Plackett & Burman, Biometrika 33 (1946).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ablate.records.errors import InputError

LARGEST_ORDER = 48
_PALEY_ONE = {12: 11, 20: 19, 24: 23, 44: 43, 48: 47}
_PALEY_TWO = {28: 13, 36: 17}


@cache
def hadamard(order: int) -> NDArray[np.int8]:
    """A matrix H [order, order] of +1 and -1 with HᵀH = order·I, its first column all +1.

    The other order - 1 columns are balanced and orthogonal. Raises ValueError for an order that is not
    a multiple of four from 4 to 48.
    """
    if order % 4 or not 4 <= order <= LARGEST_ORDER:
        raise ValueError(f"order must be a multiple of 4 from 4 to {LARGEST_ORDER}, not {order}")
    if order == 4:
        two = np.array([[1, 1], [1, -1]], dtype=np.int8)
        matrix = np.kron(two, two)
    elif order in _PALEY_ONE:
        matrix = _paley_one(_PALEY_ONE[order])
    elif order in _PALEY_TWO:
        matrix = _paley_two(_PALEY_TWO[order])
    else:
        half = hadamard(order // 2)
        matrix = np.block([[half, half], [half, -half]])
    matrix = (matrix * matrix[:, :1]).astype(np.int8)
    matrix.setflags(write=False)
    return matrix


def order_above(columns: int) -> int:
    """The smallest order with room for `columns` columns besides the constant one.

    Raises InputError above 47 columns.
    """
    if columns > LARGEST_ORDER - 1:
        raise InputError(
            f"one array holds at most {LARGEST_ORDER - 1} tricks, not {columns}",
            hint="leave some out with [space] exclude, or rank them in two studies",
        )
    return max(4, 4 * (columns // 4 + 1))


def _jacobsthal(prime: int) -> NDArray[np.int8]:
    """Q[i, j] = Legendre symbol of (i - j) mod prime: +1 for squares, -1 for others, 0 on the diagonal."""
    symbol = -np.ones(prime, dtype=np.int8)
    symbol[np.arange(1, prime, dtype=np.int64) ** 2 % prime] = 1
    symbol[0] = 0
    index = np.arange(prime)
    table: NDArray[np.int8] = symbol[(index[:, None] - index[None, :]) % prime]
    return table


def _paley_one(prime: int) -> NDArray[np.int8]:
    """I + S with S skew: order prime + 1."""
    skew = np.zeros((prime + 1, prime + 1), dtype=np.int8)
    skew[0, 1:], skew[1:, 0] = 1, -1
    skew[1:, 1:] = _jacobsthal(prime)
    skew += np.eye(prime + 1, dtype=np.int8)
    return skew


def _paley_two(prime: int) -> NDArray[np.int8]:
    """S ⊗ [[1, 1], [1, -1]] + I ⊗ [[1, -1], [-1, -1]] with S symmetric: order 2(prime + 1)."""
    symmetric = np.zeros((prime + 1, prime + 1), dtype=np.int8)
    symmetric[0, 1:], symmetric[1:, 0] = 1, 1
    symmetric[1:, 1:] = _jacobsthal(prime)
    off = np.array([[1, 1], [1, -1]], dtype=np.int8)
    on = np.array([[1, -1], [-1, -1]], dtype=np.int8)
    return np.kron(symmetric, off) + np.kron(np.eye(prime + 1, dtype=np.int8), on)
