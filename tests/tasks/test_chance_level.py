"""What nothing learned looks like, against scikit-learn's dummy predictors."""

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error

from ablate.tasks.chance_level import chance_level, collapse_level
from ablate.tasks.load import load


def test_accuracy_and_log_loss_of_the_prior():
    task = load("breast-cancer")
    dummy = DummyClassifier(strategy="prior").fit(task.train.x, task.train.y)
    y = task.validation.y.numpy()
    assert chance_level(task, "accuracy") == pytest.approx(
        accuracy_score(y, dummy.predict(task.validation.x))
    )
    expected = log_loss(y, dummy.predict_proba(task.validation.x))
    assert chance_level(task, "log_loss") == pytest.approx(expected, abs=2e-3)  # shares are smoothed by one


def test_rmse_of_the_mean():
    task = load("diabetes")
    dummy = DummyRegressor().fit(task.train.x, task.train.y.ravel())
    error = mean_squared_error(task.validation.y.ravel(), dummy.predict(task.validation.x))
    assert chance_level(task) == pytest.approx(np.sqrt(error), rel=1e-5)


def test_collapse_is_a_tenth_of_the_way_to_perfect():
    task = load("digits")
    chance = chance_level(task)
    assert chance is not None
    assert collapse_level(task) == pytest.approx(chance + 0.1 * (1 - chance))
    assert collapse_level(task, "log_loss") == pytest.approx(0.9 * chance_level(task, "log_loss"))
    assert collapse_level(task, "ece") is None
