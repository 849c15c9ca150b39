"""Do inputs predict the labels at all? A linear model and extremely randomised trees, fitted to one part of the data and judged on another.

They are independent of the network and its training, and so distinguish labels that do not belong to their inputs from a model or
an optimizer that does not learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
SURE, FOLDS = 0.3, 4
"""The share of predictions that are surest, and the folds of which one at a time is predicted."""
LEAST_WRONG, MARGIN = 0.1, 0.05
"""The smallest share of wrong labels that is reported, and by how much sure predictions must be worse than those of a sound task."""
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
class ConfidentErrors:
    """How often a model is wrong on labels that it was not fitted to: among the `SURE` surest of `count` predictions, and among all; `guess`:
    how often the most frequent class is."""

    wrong_when_sure: float
    wrong: float
    guess: float
    count: int

    @property
    def labels_wrong(self) -> bool:
        """Whether labels must be wrong for the model to err so often where it is sure.

        s = errors where sure ÷ all errors, e = all errors ÷ those of a guess. A model that learns little is hardly better where it is
        sure, and one that learns much is: of right labels, however hard, s < e + 0.1 (digits under noise, CIFAR-10, tables of few
        informative columns); of labels that are redrawn at random s is near 1, whatever e. Two standard errors are taken off s.
        """
        if self.wrong_when_sure < LEAST_WRONG or self.wrong == 0 or self.guess == 0:
            return False
        share = self.wrong_when_sure
        error = sqrt(share * (1 - share) / max(int(SURE * self.count), 1))
        return (share - 2 * error) / self.wrong > self.wrong / self.guess + MARGIN


@dataclass(frozen=True, slots=True)
class Relations:
    """`train`: within the training data, one half from the other; `validation`: within those; `across`: from one to the other.

    `half_across`: to validation data from the half that `train` was fitted to, by the same model; so it can be compared with `train`.
    `surest`: of predictions of all labels; None for numbers.
    """

    train: Relation
    validation: Relation
    across: Relation
    half_across: Relation
    surest: ConfidentErrors | None = None


def relations(train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor]) -> Relations | None:
    """Relations of inputs `[N, …]` to targets, `[N]` of classes or `[N]`, `[N, D]` of numbers (only the first is used).

    None if the two models do not accept their kind, or if they are too few.
    """
    (x, y), (new_x, new_y) = (_arrays(*split) for split in (train, validation))
    if min(len(y), len(new_y)) < FEWEST or x.shape[1] > WIDEST or not np.isfinite(x).all():
        return None
    classes = not train[1].is_floating_point()
    half, new_half = len(y) // 2, len(new_y) // 2
    by_half, by_new_half, by_all = (
        fitted(*data, classes=classes)
        for data in ((x[:half], y[:half]), (new_x[:new_half], new_y[:new_half]), (x, y))
    )
    within = by_half.best(x[half:], y[half:])
    return Relations(
        within,
        by_new_half.best(new_x[new_half:], new_y[new_half:]),
        by_all.best(new_x, new_y),
        by_half.with_model(within.model).best(new_x, new_y),
        surest(np.concatenate([x, new_x]), np.concatenate([y, new_y])) if classes else None,
    )


def _arrays(x: Tensor, y: Tensor) -> tuple[Array, NDArray[Any]]:
    rows = shuffled(len(y))[:MOST].copy()
    values = y[rows].cpu().numpy()
    return x[rows].cpu().flatten(1).double().numpy(), values if values.ndim == 1 else values[:, 0]


@dataclass(frozen=True)
class Fitted:
    """The two models by name, fitted to targets `y` `[N]`; none where these are of one class."""

    models: Mapping[str, Any]
    y: NDArray[Any]
    classes: bool

    def with_model(self, name: str) -> Fitted:
        """These targets with the model of this name alone, if there is one."""
        return replace(self, models={name: self.models[name]} if name in self.models else self.models)

    def best(self, new_x: Array, new_y: NDArray[Any]) -> Relation:
        """The better of the models on `new_x` `[M, D]`, `new_y` `[M]`."""
        if not self.models:
            share = float(np.mean(new_y == self.y[0]))
            return Relation("constant", share, share, 1.0)
        candidates = [
            _relation(name, np.asarray(model.predict(new_x)), self.y, new_y, self.classes)
            for name, model in self.models.items()
        ]
        return min(candidates, key=lambda relation: relation.p)


def fitted(x: Array, y: NDArray[Any], *, classes: bool) -> Fitted:
    """Both models on `x` `[N, D]`, `y` `[N]`."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
    from sklearn.linear_model import RidgeClassifier, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if classes and len(np.unique(y)) < 2:
        return Fitted({}, y, classes)
    linear = RidgeClassifier() if classes else RidgeCV(alphas=np.logspace(-2, 3, 6))
    trees = (ExtraTreesClassifier if classes else ExtraTreesRegressor)(TREES, random_state=0)
    models = {LINEAR: make_pipeline(StandardScaler(), linear), "forest of trees": trees}
    return Fitted({name: model.fit(x, y) for name, model in models.items()}, y, classes)


def surest(x: Array, y: NDArray[Any]) -> ConfidentErrors:
    """Errors on classes `y` `[N]`, each predicted from `x` `[N, D]` by a forest that was fitted to the other folds."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import KFold

    wrong, certainty = np.zeros(len(y), dtype=bool), np.zeros(len(y))
    for others, own in KFold(FOLDS, shuffle=True, random_state=0).split(x):
        forest = ExtraTreesClassifier(TREES, random_state=0).fit(x[others], y[others])
        shares = forest.predict_proba(x[own])
        wrong[own], certainty[own] = forest.classes_[shares.argmax(1)] != y[own], shares.max(1)
    sure = np.argsort(-certainty, kind="stable")[: max(1, int(SURE * len(y)))]
    guess = 1 - float(np.unique(y, return_counts=True)[1].max()) / len(y)
    return ConfidentErrors(float(wrong[sure].mean()), float(wrong.mean()), guess, len(y))


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
