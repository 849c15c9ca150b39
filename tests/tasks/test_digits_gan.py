"""The scores of generated digits: scikit-learn's discriminant analysis, and samples that are known."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from ablate.tasks.digits_gan import (
    RIDGE,
    classes_covered,
    classifier_score,
    digits_by_split,
    probabilities,
)


def outputs(digits: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.zeros(len(digits), 4), digits.flatten(1)], dim=1)


def test_the_classifier_is_linear_discriminant_analysis():
    images, labels = digits_by_split()
    x, y = images["T"].flatten(1).double().numpy(), labels["T"].numpy()
    within = x - np.stack([x[y == label].mean(0) for label in range(10)])[y]
    expected = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Covariance(within)).fit(x, y)
    given = images["V"]
    np.testing.assert_allclose(
        probabilities(outputs(given)).numpy(),
        expected.predict_proba(given.flatten(1).double().numpy()),
        atol=1e-6,
    )
    right = probabilities(outputs(given)).argmax(1) == labels["V"]
    assert right.double().mean() > 0.9


class Covariance:
    """An estimator of the pooled covariance with the ridge; scikit-learn asks for it class by class."""

    def __init__(self, within: np.ndarray) -> None:
        self.within = within

    def fit(self, x: np.ndarray) -> "Covariance":
        self.covariance_ = self.within.T @ self.within / len(self.within) + RIDGE * np.eye(x.shape[1])
        return self

    def get_params(self, deep: bool = True) -> dict[str, np.ndarray]:
        return {"within": self.within}

    def set_params(self, **values: np.ndarray) -> "Covariance":
        self.within = values["within"]
        return self


def test_real_digits_score_near_ten_and_a_collapsed_generator_one():
    images, labels = digits_by_split()
    real = outputs(images["S"])
    assert classifier_score(real, real) > 9
    assert classes_covered(real, real) == 10
    one = outputs(images["S"][labels["S"] == 3][:1].expand(50, 1, 8, 8))
    assert classifier_score(one, real) == pytest.approx(1)
    assert classes_covered(one, real) <= 1
    two = torch.cat([one, outputs(images["S"][labels["S"] == 0][:1].expand(50, 1, 8, 8))])
    assert classifier_score(two, real) == pytest.approx(2, rel=0.05)
