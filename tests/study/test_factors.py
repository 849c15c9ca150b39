"""What a ranking varies: slots of several levels, roles, candidates, and what stays out with its reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ablate.catalogue.registry import registry
from ablate.ranking.designs.registry import wave_of
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe, conflict
from ablate.records.study_rank import RankSection
from ablate.records.trick import PLACEBO
from ablate.study.ranking.array_stage import for_kind
from ablate.study.ranking.candidates import HARDLY
from ablate.study.ranking.factors import ONLY_ONE, array
from ablate.study.ranking.retune import SHIPPED, arms, choose, grid, rates_of

CATALOGUE = registry()
CANDIDATES = (
    "adam", "adamw", "batch_norm", "batch_size", "cosine_restarts", "dropout", "ema", "group_norm", "label_smoothing",
    "layer_norm", "momentum", "skip_connection", "warmup", "weight_decay",
)  # fmt: skip
BASELINE = Recipe.of(CATALOGUE, {"momentum": {"lr": 0.1}, "weight_decay": {"decay": 1e-4}})
WINNER = Recipe.of(
    CATALOGUE,
    {"momentum": {"lr": 0.2}, "batch_norm": True, "weight_decay": {"decay": 1e-4}, "dropout": {"p": 0.1}},
)


def seen(*names: str):
    return {name: (i, CATALOGUE[name].defaults) for i, name in enumerate(names)}


def laid(asked: RankSection | None = None, often=(), winner=WINNER, baseline=BASELINE, candidates=CANDIDATES):
    return array(
        CATALOGUE, winner, baseline, candidates, asked or RankSection(design="screening"), seen(*often)
    )


def levels(mapping):
    return {factor.name: factor.levels for factor in mapping.factors}


SEEN_SETS = [(), ("group_norm", "adam", "ema", "warmup"), ("cosine_restarts", "layer_norm")]


@pytest.mark.parametrize("often", SEEN_SETS)
@pytest.mark.parametrize("winner", [WINNER, BASELINE], ids=["winner", "baseline"])
def test_the_shipped_levels_make_the_winner_and_the_references_the_baseline(often, winner):
    assert laid(often=often, winner=winner).recipe(CATALOGUE, {}) == winner
    mapping = laid(RankSection(design="add-one"), often=often, winner=winner)
    assert for_kind(mapping, "add-one").recipe(CATALOGUE, {}) == BASELINE


def test_a_slot_with_several_candidates_is_one_factor_of_several_levels():
    mapping = laid(often=("group_norm", "adam", "layer_norm", "adamw"))
    assert levels(mapping)["norm"] == ("none", "batch_norm", "group_norm", "layer_norm")
    assert mapping.shipped["norm"] == "batch_norm"
    assert levels(mapping)["adam"] == ("off", "on"), (
        "momentum against adam: adamw conflicts with weight decay"
    )
    assert "weight_decay" in mapping.left_out["adamw"]
    assert mapping.left_out["ema"] == HARDLY
    assert dict(mapping.meaning["adam"]["off"]["momentum"])["lr"] == 0.2, (
        "the level that is shipped is the winner's"
    )


def test_levels_that_were_asked_for_with_the_winners_own_among_them():
    asked = RankSection(
        design="screening",
        levels={"norm": ("group_norm", "layer_norm"), "optimizer": ("momentum", "adam", "adamw")},
    )
    without_decay = BASELINE.without("weight_decay")
    mapping = laid(asked, baseline=without_decay, winner=WINNER.without("weight_decay"))
    assert levels(mapping)["norm"] == ("group_norm", "layer_norm", "batch_norm")
    assert levels(mapping)["optimizer"] == ("momentum", "adam", "adamw")
    assert mapping.meaning["optimizer"]["adam"]["adam"]["lr"] == pytest.approx(
        0.1 / CATALOGUE["momentum"].parameter("lr").default * CATALOGUE["adam"].parameter("lr").default
    ), "a rate that nobody tuned is scaled as the baseline's"


def test_where_nothing_was_searched_one_trick_stands_for_its_slot_and_the_others_are_told():
    mapping = laid(winner=BASELINE)
    assert levels(mapping)["batch_norm"] == ("off", "on")
    assert mapping.left_out["group_norm"] == mapping.left_out["layer_norm"] == ONLY_ONE
    assert "levels of [rank]" in mapping.left_out["adam"]
    assert "batch_size" in levels(mapping), "its rate is re-tuned"
    assert "batch_size" in laid(RankSection(design="screening", retune=0), winner=BASELINE).left_out


def test_two_settings_of_one_trick_are_a_factor_that_is_not_re_tuned():
    mapping = laid()
    assert mapping.meaning["momentum"]["off"]["momentum"]["lr"] == 0.1
    assert mapping.meaning["momentum"]["on"]["momentum"]["lr"] == 0.2
    assert mapping.shifting == ("batch_norm", "batch_size", "cosine_restarts", "warmup")
    assert all(f.role == "ordinary" for f in mapping.factors)
    untuned = {
        f.name: f.role for f in laid(RankSection(design="screening", retune=0), often=("warmup",)).factors
    }
    assert untuned["batch_norm"] == untuned["warmup"] == "needs_retune"
    assert untuned["momentum"] == "ordinary"


def test_must_haves_are_on_in_every_row_and_shipped():
    mapping = laid(
        RankSection(design="screening", must_have=("batch_norm", "ema")),
        often=("group_norm", "warmup", "adam"),
    )
    assert {factor.name for factor in mapping.fixed} == {"batch_norm", "ema"}
    assert mapping.shipped["ema"] == "on"
    for row in wave_of("screening", mapping.factors, wave=1, seed=0).rows:
        recipe = mapping.recipe(CATALOGUE, row.levels)
        assert {"batch_norm", "ema"} <= set(recipe)
        assert "group_norm" not in recipe


def test_a_conditional_trick_acts_under_its_parent_and_is_left_out_without_one():
    asked = RankSection(
        design="screening",
        conditional={"warmup": "cosine_restarts", "label_smoothing": "norm", "ema": "layer_norm"},
    )
    mapping = laid(asked, often=("cosine_restarts", "warmup", "label_smoothing", "group_norm", "ema"))
    roles = {f.name: (f.role, f.parent) for f in mapping.factors}
    assert roles["warmup"] == ("conditional", "cosine_restarts")
    assert roles["label_smoothing"] == ("conditional", "norm")
    assert "acts only with layer_norm" in mapping.left_out["ema"]
    for row in wave_of("screening", mapping.factors, wave=1, seed=0).rows:
        recipe = mapping.recipe(CATALOGUE, row.levels)
        assert "warmup" not in recipe or "cosine_restarts" in recipe
    assert arms(mapping)["warmup=on"] == {"warmup": "on", "cosine_restarts": "on"}


@pytest.mark.parametrize("kind", ["screening", "drop-one", "add-one"])
def test_every_row_of_every_design_is_a_recipe(kind):
    asked = RankSection(
        design="screening",
        levels={"norm": ("none", "batch_norm", "layer_norm")},
        must_have=("skip_connection",),
    )
    mapping = for_kind(laid(asked, often=CANDIDATES), kind)
    shipped = {**mapping.shipped, PLACEBO: "on"}
    rows = wave_of(kind, mapping.factors, wave=1, seed=0, shipped=shipped).rows
    for row in rows:
        names = list(mapping.recipe(CATALOGUE, row.levels))
        assert not [1 for a in names for b in names if a != b and conflict(CATALOGUE[a], CATALOGUE[b])]
    assert len({mapping.recipe(CATALOGUE, row.levels) for row in rows}) > 4


def test_drop_one_drops_what_the_recipe_has_and_says_what_it_has_not():
    mapping = for_kind(laid(often=("ema",)), "drop-one")
    assert set(levels(mapping)) == {"batch_norm", "dropout", "momentum", PLACEBO}
    assert "nothing to drop" in mapping.left_out["ema"]
    assert mapping.recipe(CATALOGUE, {}) == WINNER


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (
            RankSection(design="screening", must_have=("mixup",)),
            "must_have of .* 'mixup', which this study does not have",
        ),
        (
            RankSection(design="screening", levels={"norm": ("none", "instance_norm")}),
            "levels.norm of .* 'instance_norm'",
        ),
        (RankSection(design="screening", conditional={"mixup": "ema"}), "conditional of"),
        (
            RankSection(
                design="screening", must_have=("batch_norm",), levels={"norm": ("none", "layer_norm")}
            ),
            "name one of the two",
        ),
        (
            RankSection(design="screening", must_have=("layer_norm",)),
            "the recipe that is ranked has 'batch_norm' in its slot",
        ),
    ],
)
def test_what_cannot_be_had_is_one_line(asked, says):
    with pytest.raises(InputError, match=says) as caught:
        laid(asked)
    assert "\n" not in str(caught.value)


def test_a_factor_that_is_taken_out_stays_at_its_reference_with_its_rate():
    mapping = replace(laid(often=("warmup",)), rates={"batch_norm": {"off": 0.5}}, rate=2.0)
    assert mapping.recipe(CATALOGUE, {})["momentum"]["lr"] == pytest.approx(0.4)
    assert mapping.recipe(CATALOGUE, {"batch_norm": "off"})["momentum"]["lr"] == pytest.approx(0.2)
    less = mapping.without({"batch_norm": "it is to blame"})
    assert less.recipe(CATALOGUE, {}) == mapping.recipe(CATALOGUE, {"batch_norm": "off"})
    assert "batch_norm" not in less.shifting
    assert less.left_out["batch_norm"] == "it is to blame"


def test_the_grid_of_rates_is_even_in_the_logarithm_with_the_recipes_own_in_the_middle():
    assert grid(3) == pytest.approx([10**-0.5, 1, 10**0.5])
    assert grid(5) == pytest.approx([0.1, 10**-0.5, 1, 10**0.5, 10])
    assert grid(9)[4] == 1.0


@pytest.mark.parametrize(
    ("scores", "place"),
    [
        ([1, 2, 3, 2, 1], 2),
        ([1, 5, 3, 2, 1], 1),
        ([3, 3, 3, 3, 3], 2),
        ([4, 3, 3, 3, 4], 0),
        ([float("nan"), 1, float("nan"), 2, float("nan")], 3),
        ([float("nan")] * 3, 1),
    ],
)
def test_the_best_rate_and_the_nearest_of_equal_ones(scores, place):
    assert choose(scores) == place


def test_the_rate_of_a_level_is_its_best_one_over_the_recipes():
    mapping = laid(often=("warmup", "group_norm"))
    best = {arm: 10.0 ** (i / 4) for i, arm in enumerate(arms(mapping))}
    best[SHIPPED] = 0.5
    rates = rates_of(mapping, best)
    assert {f"{name}={level}" for name, levels in rates.items() for level in levels} == best.keys() - {
        SHIPPED
    }
    assert len(best) > 3
    tuned = replace(mapping, rates=rates, rate=best[SHIPPED])
    for name, levels in rates.items():
        for level in levels:
            recipe = tuned.recipe(CATALOGUE, {name: level})
            optimizer = recipe.slot(CATALOGUE, "optimizer")
            plain = mapping.recipe(CATALOGUE, {name: level})[optimizer]["lr"]
            assert recipe[optimizer]["lr"] == pytest.approx(plain * best[f"{name}={level}"]), (name, level)
