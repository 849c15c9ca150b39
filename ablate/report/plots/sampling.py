"""Which trials a figure draws where there are too many: the page keeps a bounded size however many runs the ledger has."""

from __future__ import annotations

import numpy as np

from ablate.report.numbers import count

MOST_DRAWN = 2000
"""Trials that one figure draws; about 200 bytes of SVG each."""
BEST_SHARE = 10
"""One in so many of those drawn is among the best."""


def drawn(scores: np.ndarray, *, higher: bool) -> np.ndarray:
    """Positions of the trials to draw, ascending: all, or the best of them and others evenly spaced, MOST_DRAWN in all.

    `scores`: one value a trial, NaN for one without.
    """
    if len(scores) <= MOST_DRAWN:
        return np.arange(len(scores))
    order = np.argsort(-scores if higher else scores, kind="stable")  # NaN last
    best = order[: MOST_DRAWN // BEST_SHARE]
    others = np.setdiff1d(np.arange(len(scores)), best)
    spaced = others[np.linspace(0, len(others) - 1, MOST_DRAWN - len(best)).astype(int)]
    return np.sort(np.concatenate([best, spaced]))


def drawn_note(shown: int, total: int) -> str:
    """A sentence for the caption; empty where all are drawn."""
    if shown == total:
        return ""
    return f" Drawn are {count(shown)} of {count(total)} trials: the best {count(shown // BEST_SHARE)} and others evenly spaced."
