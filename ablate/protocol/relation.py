"""Do inputs predict the labels at all? A linear model and extremely randomised trees, fitted to one part of the data and judged on another.

They are independent of the network and its training, and so distinguish labels that do not belong to their inputs from a model or
an optimizer that does not learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erfc, hypot, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ablate.protocol.short_runs import Array
from ablate.tasks.split import shuffled

MOST, WIDEST, TREES = 1000, 4096, 60
"""Most examples of a split that are used, most inputs of an example, and number of trees."""
FEWEST = 40
"""Examples of a split below which nothing is certain."""
LINEAR = "linear model"
CERTAIN = 0.001
"""Level at which a relation is certain; two models are tried, and the better one counts."""


@dataclass(frozen=True, slots=True)
class Relation:
    """How well `model` predicts labels that it was not fitted to. `score`: accuracy, or the explained share of the variance;
    `chance`: that of the best constant; `p`: of the hypothesis that it is no better; `count`: examples that it was judged on;
    `error`: standard error of the score."""

    model: str
    score: float
    chance: float
    p: float
    count: int = 0
    error: float = 0.0

    @property
    def certain(self) -> bool:
        """Whether the score is significantly better than chance."""
        return self.p < CERTAIN

    def certainly_below(self, other: Relation, errors: float) -> bool:
        """Whether the score is lower than `other`'s by more than `errors` standard errors of their difference."""
        return other.score - self.score > errors * hypot(self.error, other.error)

    def __str__(self) -> str:
        what = "explains" if self.chance == 0 else "predicts"
        return f"a {self.model} {what} {self.score:.0%}"


@dataclass(frozen=True, slots=True)
class Relations:
    """`train`: within the training data, one half from the other; `validation`: within those; `across`: from one to the other.

    `half_across`: to validation data from the half that `train` was fitted to, by the same model; so it can be compared with `train`.
    """

    train: Relation
    validation: Relation
    across: Relation
    half_across: Relation


def relations(train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor]) -> Relations | None:
    """Of inputs `[N, …]` and targets, `[N]` of classes or `[N]`, `[N, D]` of numbers (only the first is used).

    None if the two models do not accept their kind, or if they are too few.
    """
    (x, y), (new_x, new_y) = (_arrays(*split) for split in (train, validation))
    if min(len(y), len(new_y)) < FEWEST or x.shape[1] > WIDEST or not np.isfinite(x).all():
        return None
    classes = not train[1].is_floating_point()
    half = len(y) // 2
    within = _halves(x, y, classes)
    return Relations(
        within,
        _halves(new_x, new_y, classes),
        best(x, y, new_x, new_y, classes=classes),
        best(x[:half], y[:half], new_x, new_y, classes=classes, only=within.model),
    )


def _arrays(x: Tensor, y: Tensor) -> tuple[Array, NDArray[Any]]:
    rows = shuffled(len(y))[:MOST].copy()
    values = y[rows].cpu().numpy()
    return x[rows].cpu().flatten(1).double().numpy(), values if values.ndim == 1 else values[:, 0]


def _halves(x: Array, y: NDArray[Any], classes: bool) -> Relation:
    half = len(y) // 2
    return best(x[:half], y[:half], x[half:], y[half:], classes=classes)


def best(
    x: Array, y: NDArray[Any], new_x: Array, new_y: NDArray[Any], *, classes: bool, only: str = ""
) -> Relation:
    """The better of the two models, fitted to `x` `[N, D]`, `y` `[N]` and judged on `new_x`, `new_y`."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
    from sklearn.linear_model import RidgeClassifier, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if classes and len(np.unique(y)) < 2:
        return Relation("constant", float(np.mean(new_y == y[0])), float(np.mean(new_y == y[0])), 1.0)
    linear = RidgeClassifier() if classes else RidgeCV(alphas=np.logspace(-2, 3, 6))
    trees = (ExtraTreesClassifier if classes else ExtraTreesRegressor)(TREES, random_state=0)
    models = {LINEAR: make_pipeline(StandardScaler(), linear), "forest of trees": trees}
    models = {only: models[only]} if only in models else models
    candidates = [
        _relation(name, np.asarray(model.fit(x, y).predict(new_x)), y, new_y, classes)
        for name, model in models.items()
    ]
    return min(candidates, key=lambda relation: relation.p)


def _relation(
    name: str, predicted: NDArray[Any], y: NDArray[Any], new_y: NDArray[Any], classes: bool
) -> Relation:
    if not classes:
        error, usual = (new_y - predicted) ** 2, (new_y - y.mean()) ** 2
        gain = usual - error
        share = float(gain.mean() / max(float(usual.mean()), 1e-300))
        standard = float(gain.std()) / sqrt(len(gain))
        return Relation(
            name,
            share,
            0.0,
            _tail(float(gain.mean()), standard),
            len(new_y),
            standard / max(float(usual.mean()), 1e-300),
        )
    values, counts = np.unique(y, return_counts=True)
    right, usual = predicted == new_y, new_y == values[counts.argmax()]
    gain = right.astype(float) - usual.astype(float)
    score, chance = float(right.mean()), max(float(usual.mean()), 1 / len(values))
    error = max(float(gain.std()), sqrt(chance * (1 - chance))) / sqrt(len(gain))
    score_error = sqrt(score * (1 - score) / len(gain))
    return Relation(name, score, chance, _tail(score - chance, error), len(new_y), score_error)


def _tail(mean: float, error: float) -> float:
    return 0.5 * erfc(mean / error / sqrt(2)) if error > 0 else float(mean <= 0)
