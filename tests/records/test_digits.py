"""Rounded settings: few digits, yet no decay, beta or quantile close to one is taken for another."""

from dataclasses import replace
from itertools import pairwise

import pytest

from ablate.catalogue.registry import registry
from ablate.records.digits import rounded, rounded_text
from ablate.records.recipe import Recipe
from ablate.records.trick import Parameter
from ablate.report.numbers import setting
from ablate.study.growth import _extent
from ablate.study.ranking.arms import Arm, described, settings_of, spread


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.9995, "0.9995"), (0.9999, "0.9999"), (0.999567, "0.99957"), (0.999, "0.999"), (0.99, "0.99"), (0.9, "0.9"), (1.0005, "1.0005"),
        (0.98765, "0.988"), (0.87654, "0.877"), (0.0123456, "0.0123"), (1e-05, "1e-05"), (1.0, "1"), (0.0, "0"), (float("inf"), "inf"),
    ],
)  # fmt: skip
def test_digits_of_a_value_and_of_what_it_lacks_to_one(value, text):
    assert rounded_text(value) == text
    assert rounded(value) == pytest.approx(float(text), abs=0)


def test_no_two_settings_close_to_one_look_alike():
    near = [0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99995, 1.0, 1.0005]
    assert all(setting(low) != setting(high) for low, high in pairwise(near))
    assert setting(0.9995) == "0.9995"
    assert _extent({"choices": (), "low": 0.99, "high": 0.9999}) == "0.99 to 0.9999"


def test_a_typical_setting_close_to_one_stays_below_it():
    """At 1, `class_balanced.beta` is refused; 0.9996 was rounded to that."""
    trick = registry()["class_balanced"]
    liked = [{"beta": 0.9996}, {"beta": 0.99957}, {"beta": 0.9997}]
    tried = settings_of(trick, Recipe({}), registry(), liked, 4)
    assert {"beta": 0.9996} in tried
    recipe = Recipe.of(registry(), {"class_balanced": {"beta": 0.9996}})
    assert described(recipe, Arm("add-one", "class_balanced", (recipe,), 1, "")) == "beta=0.9996"
    decay = replace(Parameter("decay", 0.999, low=0.999, high=0.9999), log=True)
    assert all(decay.low < value < decay.high for value in spread(decay))
