"""The end of the search: the best recipe without the tricks that it does not need.

The best of a hundred random recipes holds a dozen tricks, most of them by chance. They blur what the ranking says of each, and the costly
ones among them make every run around the recipe long. So each is taken out on a few seeds, which gives an order; then recipes without the first 1, 2, …
in that order run on further seeds, all recipes on the same ones, three at a time between those that can go and those that cannot. The smallest recipe that is within one standard error of the whole one
goes on (Breiman, Friedman, Olshen, Stone 1984: the one-standard-error rule). The standard error is that of a typical recipe: one that scatters
more is not allowed to lose more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ablate.records.recipe import Catalogue, Recipe
from ablate.records.study_rank import OPTIMIZER
from ablate.study.fresh_seeds import Scores, scores_on_fresh_seeds
from ablate.study.ranking.recipes import without_tricks
from ablate.study.session import Session

ORDERED, JUDGED = 3, 8
"""Seeds on which every trick is taken out alone, and on which the smaller recipes are judged."""
THIRDS, PASSES = 3, 3
"""Recipes that are judged at a time, and how often the search goes on behind a trick that has to stay."""
USUAL_RUNS = 66
"""Runs that it takes, about: the median of nine searches on digits, wine, diabetes, MNIST, ring-gan and a table (47 to 95)."""
ORDER, JUDGE = 0x0DE5, 0x51E9
"""Streams of those seeds."""


@dataclass(frozen=True)
class Simplified:
    """`removed`: the tricks that were taken out, in their order. `value`: mean score of `recipe` on `seeds` seeds; None where nothing was judged."""

    recipe: Recipe
    removed: tuple[str, ...] = ()
    value: float | None = None
    seeds: int = 0


def simplify(session: Session, recipe: Recipe, baseline: Recipe) -> Simplified:
    """`recipe` without the tricks that it does not need; those of the baseline and its optimizer stay."""
    catalogue = session.context.catalogue
    candidates = removable(recipe, baseline, catalogue)
    if not candidates:
        return Simplified(recipe)

    def without(names: Sequence[str]) -> Recipe:
        return without_tricks(recipe, names, baseline, catalogue)

    alone = scores_on_fresh_seeds(
        session,
        {"whole": recipe} | {f"without {name}": without([name]) for name in candidates},
        ORDER,
        ORDERED,
    )
    loss = dict(zip(candidates, alone[0].mean() - alone[1:].mean(axis=1), strict=True))
    candidates.sort(key=lambda name: float(np.nan_to_num(loss[name], nan=np.inf)))
    removed: list[str] = []
    kept: Scores | None = None
    for _ in range(PASSES):
        if not candidates:
            break
        steps = [[*removed, *candidates[:number]] for number in range(1, len(candidates) + 1)]
        judged: dict[int, Scores] = {}
        harmless, most = 0, len(steps)
        while harmless < most:  # the first `harmless` can go together, no more than `most` of them
            new = {harmless + -(-(most - harmless) * part // THIRDS) for part in range(1, THIRDS + 1)} - set(
                judged
            )
            recipes = {f"without {', '.join(steps[n - 1])}": without(steps[n - 1]) for n in sorted(new)}
            whole, *smaller = scores_on_fresh_seeds(session, {"whole": recipe} | recipes, JUDGE, JUDGED)
            judged |= dict(zip(sorted(new), smaller, strict=True))
            numbers = sorted(judged)
            last = last_harmless(np.array([judged[n] for n in numbers]) - whole)
            harmless = numbers[last - 1] if last else 0
            most = next((n - 1 for n in numbers if n > harmless), len(steps))
            kept = whole if kept is None else kept
        if harmless:
            removed, kept = steps[harmless - 1], judged[harmless]
        candidates = candidates[harmless + 1 :]
    return Simplified(
        without(removed), tuple(removed), None if kept is None else float(np.nanmean(kept)), JUDGED
    )


def removable(recipe: Recipe, baseline: Recipe, catalogue: Catalogue) -> list[str]:
    """The tricks that the search added to the baseline, without an optimizer."""
    return [name for name in recipe if name not in baseline and catalogue[name].slot != OPTIMIZER]


def last_harmless(differences: Scores) -> int:
    """The number of the last recipe (from 1) whose mean difference is no further below 0 than a standard error; 0 if none.

    differences: `[recipes, seeds]`, to the whole recipe on the same seeds; NaN where a run has no score.
    """
    means = differences.mean(axis=1)
    errors = differences.std(axis=1, ddof=1) / np.sqrt(differences.shape[1])
    known = np.isfinite(means)
    if not known.any():
        return 0
    harmless = known & (means >= -np.median(errors[known]))
    return int(np.flatnonzero(harmless).max(initial=-1)) + 1
