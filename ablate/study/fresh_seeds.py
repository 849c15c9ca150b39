"""Recipes trained on fresh seeds at the end of the search: the finalists, and the best recipe without some of its tricks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ablate.ranking.designs.design import training_seed
from ablate.records.recipe import Recipe
from ablate.study.session import Planned, Session

Scores = NDArray[np.float64]


def scores_on_fresh_seeds(session: Session, arms: Mapping[str, Recipe], stream: int, number: int) -> Scores:
    """`[arms, seeds]`, more is better, NaN for a run without a score: recipes by arm, all on the first `number` seeds of `stream`."""
    seeds = [training_seed(session.study.seed, stream, i) for i in range(number)]
    rows = [
        Planned(session.run(recipe, seed), "select", 0, -1, arm)
        for arm, recipe in arms.items()
        for seed in seeds
    ]
    session.progress.stage("select", len(session.missing(rows)) * session.epochs)
    scores = np.array([session.score(entry) for entry in session.train(rows)])
    return np.where(np.isfinite(scores), scores, np.nan).reshape(-1, number)
