"""Rounding of settings: few digits, but never so few that a value close to one is taken for another."""

from __future__ import annotations

from math import floor, isfinite, log10

NEAR_ONE = 0.1
"""Distance from one below which the digits of that distance count: decays, betas and quantiles act by 1 − x."""


def decimals(value: float, digits: int) -> int:
    """Decimals of a finite `value` other than 0 that give it so many significant digits, and 1 − `value` one fewer where that is small: 5 for 0.99957."""
    needed = digits - 1 - floor(log10(abs(value)))
    distance = abs(1 - value)
    if 0 < distance < NEAR_ONE:
        return max(needed, digits - 2 - floor(log10(distance)))
    return needed


def rounded(value: float, digits: int = 3) -> float:
    """`value` to the decimals of `decimals`; zero and infinities as they are."""
    return round(value, decimals(value, digits)) if value and isfinite(value) else value


def rounded_text(value: float, digits: int = 3) -> str:
    """`rounded` in ASCII: `0.9995`, `0.0123`, `1e-05`."""
    return f"{rounded(value, digits):.12g}"
