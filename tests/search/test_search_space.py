"""The space against hand-made expectations, and recipes <-> parameters as a property."""

from dataclasses import replace
from math import log10

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_fakes import BASELINE, CATALOGUE, space, trick

from ablate.catalogue.registry import registry
from ablate.records.errors import Conflict, InputError
from ablate.records.recipe import Recipe, conflict
from ablate.records.study import SpaceSection, StudyFile
from ablate.records.study_space import Override
from ablate.search.space import EXCLUDED, TOO_SLOW, missed
from ablate.search.unit_cube import params_at, random_points

SPACE = space()


def named(space):
    return {dimension.name: dimension for dimension in space.dimensions()}


def draw(space, seed, count=1):
    names = [switch.name for switch in space.switches]
    rng = np.random.default_rng(seed)
    for point in random_points(space, [seed], count):
        yield space.without_conflicts(params_at(space, point, {}), rng.permutation(names).tolist())


def test_dimensions_are_slots_switches_and_parameters():
    dimensions = named(SPACE)
    assert dimensions["optimizer"].choices == ("momentum", "adam")
    assert dimensions["norm"].choices == ("none", "batch_norm", "group_norm")
    assert dimensions["mixup"].choices == (False, True)
    assert dimensions["momentum.nesterov"].choices == (False, True)
    assert (dimensions["group_norm.groups"].low, dimensions["group_norm.groups"].integer) == (2, True)
    assert "amp" not in dimensions
    assert SPACE.left_out == {"amp": "excluded from the search by its record"}


def test_structure_is_what_a_group_shares():
    structural = {dimension.name for dimension in SPACE.dimensions() if dimension.structural}
    assert structural == {"batch_size", "batch_size.size", "sam"}
    assert {switch.name for switch in SPACE.switches[:2]} == {"batch_size", "sam"}


def test_size_counts_by_hand():
    size = SPACE.size()
    assert size.dimensions == 10 + 12  # 2 slots and 8 switches; 12 parameters
    assert size.log10_combinations == pytest.approx(log10(2 * 3 * 2**7))


@settings(deadline=None)  # no wall-time limit on a loaded machine
@given(st.integers(0, 2**32 - 1))
def test_params_and_recipes_are_inverse(seed):
    for params in draw(SPACE, seed):
        recipe = SPACE.from_params(params)
        assert SPACE.to_params(recipe) == params
        assert SPACE.from_params(SPACE.to_params(recipe)) == recipe
        assert recipe.slot(CATALOGUE, "optimizer") is not None


def test_the_real_catalogue_goes_both_ways():
    catalogue = registry()
    baseline = StudyFile().baseline_recipe(catalogue, 0.1)
    real = space(catalogue, baseline)
    assert real.from_params(real.to_params(baseline)) == baseline
    for params in draw(real, 1, 50):
        assert real.to_params(real.from_params(params)) == params


@settings(deadline=None)  # no wall-time limit on a loaded machine
@given(st.integers(0, 2**32 - 1), st.data())
def test_enemies_are_never_on_together(seed, data):
    names = ("a", "b", "c", "d", "e")
    pairs = data.draw(st.sets(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=6))
    tricks = {
        name: trick(name, conflicts=tuple(b for a, b in pairs if a == name and b != name), lane=name != "a")
        for name in names
    }
    hostile = space({**CATALOGUE, **tricks})
    everything = {switch.name: switch.choices[-1] for switch in hostile.switches}
    everything |= {name: dimension.low for name, dimension in named(hostile).items() if not dimension.choices}
    everything |= {
        name: dimension.choices[0]
        for name, dimension in named(hostile).items()
        if "." in name and dimension.choices
    }
    order = np.random.default_rng(seed).permutation(sorted(everything)).tolist()
    without_conflicts = hostile.without_conflicts(everything, order)
    on = hostile.on(without_conflicts)
    assert not any(conflict(hostile.catalogue[x], hostile.catalogue[y]) for x in on for y in on if x != y)
    assert without_conflicts == hostile.without_conflicts(everything, order)
    assert "a" in on  # structural: the lanes of a group agree in it
    off = set(names) - set(on)
    assert all(any(conflict(tricks[x], hostile.catalogue[y]) for y in on) for x in off), "turned off in vain"


def test_who_stands_first_in_the_order_stays():
    both = {**SPACE.to_params(BASELINE), "mixup": True, "mixup.alpha": 0.2, "cutout": True, "cutout.size": 3}
    with pytest.raises(Conflict):
        SPACE.from_params(both)
    assert "mixup" in SPACE.on(SPACE.without_conflicts(both, ["mixup", "cutout"]))
    kept = SPACE.without_conflicts(both, ["cutout", "mixup"])
    assert "cutout" in SPACE.on(kept)
    assert "mixup.alpha" not in kept


def test_learning_rates():
    dimensions = named(space(lr_center=0.1))
    assert (dimensions["momentum.lr"].low, dimensions["momentum.lr"].high) == pytest.approx((0.01, 1.0))
    # adam: default 0.001, and 0.001 · 0.1 / 0.05 = 0.002
    assert (dimensions["adam.lr"].low, dimensions["adam.lr"].high) == pytest.approx((1e-4, 2e-2))
    clipped = named(space(baseline=Recipe.of(CATALOGUE, {"momentum": {"lr": 5.0}})))
    assert (clipped["momentum.lr"].low, clipped["momentum.lr"].high) == pytest.approx((0.5, 10.0))


def test_overrides_have_the_last_word():
    section = SpaceSection(
        overrides={
            "momentum": {"lr": Override(low=0.05, high=0.2)},
            "dropout": {"p": Override(choices=(0.1,))},
        }
    )
    narrow = space(study=StudyFile(space=section))
    assert (named(narrow)["momentum.lr"].low, named(narrow)["momentum.lr"].high) == (0.05, 0.2)
    assert "dropout.p" not in named(narrow)
    params = {**narrow.to_params(BASELINE), "dropout": True}
    assert narrow.from_params(params)["dropout"] == {"p": 0.1}
    with pytest.raises(InputError, match=r"momentum\.lr = 0\.1 lies outside"):
        space(study=StudyFile(space=SpaceSection(overrides={"momentum": {"lr": Override(high=0.05)}})))


def test_what_is_excluded_stays_as_in_the_baseline():
    base = Recipe.of(CATALOGUE, {"momentum": {"lr": 0.1}, "batch_norm": {}, "cutout": {"size": 7}})
    study = StudyFile(space=SpaceSection(exclude=("batch_norm", "cutout", "optimizer")))
    fixed = space(baseline=base, study=study)
    assert named(fixed)["norm"].choices == ("batch_norm", "group_norm")
    assert "optimizer" not in named(fixed)
    assert set(fixed.always) == {"momentum", "cutout"}
    assert "which the baseline has" in fixed.left_out["mixup"]
    for params in draw(fixed, 3, 30):
        recipe = fixed.from_params(params)
        assert recipe["momentum"] == base["momentum"]
        assert recipe["cutout"] == {"size": 7}
        assert recipe.slot(CATALOGUE, "norm") in ("batch_norm", "group_norm")


def test_an_always_on_optimizer_is_still_tuned():
    only = space(study=StudyFile(space=SpaceSection(include=("momentum",))))
    assert {dimension.name for dimension in only.dimensions()} == {
        "momentum.lr",
        "momentum.momentum",
        "momentum.nesterov",
    }
    assert only.switches == ()


def test_a_baseline_value_beyond_the_range_widens_it():
    base = Recipe.of(CATALOGUE, {"momentum": {"lr": 0.1}, "dropout": {"p": 0.9}, "batch_size": {"size": 64}})
    assert named(space(baseline=base))["dropout.p"].high == 0.9


def test_neutral_settings_that_no_range_holds_count_as_off():
    base = Recipe.of(CATALOGUE, {"momentum": {"lr": 0.1}, "weight_decay": {"strength": 0.0}})
    around = space(baseline=base)
    assert around.to_params(base)["weight_decay"] is False
    assert named(around)["weight_decay.strength"].low == 1e-6


def test_not_applicable_is_left_out_with_its_reason():
    assert space(applicable={"dropout": "no layer to drop"}).left_out["dropout"] == "no layer to drop"


def test_a_slow_trick_waits_for_its_name():
    catalogue = {**CATALOGUE, "gather": trick("gather", seam="model", roles=("slow",))}

    def left_out(*include, exclude=(), applicable=None):
        study = StudyFile(space=SpaceSection(include, exclude))
        around = space(catalogue, study=study, applicable=applicable)
        assert ("gather" in around.settings) == ("gather" not in around.left_out)
        return around.left_out.get("gather"), missed(study, around.left_out).get("gather")

    slow = TOO_SLOW.format(name="gather")
    assert "--include '*,gather'" in slow
    assert left_out("*") == (slow, slow)
    assert left_out("*", "gather") == left_out("gather", "dropout") == (None, None)
    assert left_out("dropout") == left_out("*", exclude=("gather",)) == (EXCLUDED, None)
    assert left_out("*", applicable={"gather": "no images"}) == ("no images", None)


def test_outside_the_space_is_refused():
    with pytest.raises(InputError, match="outside the space"):
        SPACE.to_params(BASELINE.with_trick(CATALOGUE, "amp"))
    with pytest.raises(InputError, match=r"dropout\.p = 0\.9"):
        SPACE.to_params(BASELINE.with_trick(CATALOGUE, "dropout", {"p": 0.9}))
    with pytest.raises(InputError, match="nothing is left"):
        space(study=replace(StudyFile(), space=SpaceSection(exclude=("*",))))
