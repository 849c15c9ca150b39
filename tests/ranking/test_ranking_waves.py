"""Waves of the four designs, the placebo in paired ones, tricks tested apart, and their analysis."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablate.ranking.designs.design import Factor, with_placebo
from ablate.ranking.designs.registry import wave_of
from ablate.ranking.designs.waves import APART, PAIRS, apart
from ablate.ranking.estimation.analysis import Declaration
from ablate.ranking.estimation.arms import analyse_arms
from ablate.ranking.estimation.paired import paired
from ablate.records.errors import InputError
from ablate.records.trick import PLACEBO

KINDS = ("screening", "factorial", "drop-one", "add-one")
FACTORS = with_placebo(
    [Factor("a"), Factor("norm", ("none", "batch", "group")), Factor("kid", role="conditional", parent="a")]
)
SHIPPED = {"a": "on", "norm": "group", "kid": "on", PLACEBO: "on"}


def waves(kind, factors=FACTORS, count=2, shipped=SHIPPED):
    return [wave_of(kind, factors, wave=w, seed=4, shipped=shipped) for w in range(1, count + 1)]


def tricks(count: int) -> tuple[Factor, ...]:
    return tuple(Factor(f"t{i}") for i in range(count))


@pytest.mark.parametrize("kind", KINDS)
def test_waves_are_reproducible_and_share_neither_seeds_nor_blocks(kind) -> None:
    first, second = waves(kind)
    assert first == waves(kind)[0]
    assert first.kind == kind
    assert {row.block for row in first.rows}.isdisjoint({row.block for row in second.rows})
    assert {row.seed for row in first.rows}.isdisjoint({row.seed for row in second.rows})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_no_training_stands_twice_in_a_wave_though_the_placebo_differs(kind, count) -> None:
    """Placebo on or off is one and the same training on one seed: counted twice it would feign precision."""
    factors = with_placebo(tricks(count))
    for design in waves(kind, factors, shipped=None):
        names = [factor.name for factor in factors if factor.name != PLACEBO]
        assert not design.frame().duplicated([*names, "seed"]).any()
        assert set(design.frame()[PLACEBO]) == {"off", "on"}


@pytest.mark.parametrize("kind", ["screening", "factorial"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_in_a_factorial_the_placebo_is_orthogonal_to_tricks_and_blocks(kind, count) -> None:
    factors = with_placebo(tricks(count))
    frame = waves(kind, factors, shipped=None)[0].frame()
    sign = np.where(frame[[factor.name for factor in factors]] == "on", 1, -1)
    block = np.where(frame["block"] % 2 == 0, 1, -1)
    together = np.column_stack([sign, block])
    assert (together.T @ together == len(frame) * np.eye(count + 2)).all()
    combined = frame.groupby([factor.name for factor in factors[:-1]]).size()
    assert len(combined) == 2**count
    assert combined.nunique() == 1


def test_a_factorial_runs_every_combination_on_every_seed() -> None:
    frame = waves("factorial", with_placebo(tricks(4)), shipped=None)[0].frame()
    assert len(frame) == 2 * 16
    assert frame.groupby("seed").apply(lambda part: len(part[["t0", "t1", "t2", "t3"]].drop_duplicates())).eq(16).all()  # fmt: skip


@pytest.mark.parametrize(
    "factors", [with_placebo(tricks(5)), [Factor(n, tuple("abcdefghi")) for n in ("x", "y")]]
)
def test_a_factorial_that_is_too_large_is_one_line(factors) -> None:
    with pytest.raises(InputError, match=r"combinations; at most 4 tricks and 64 .*screening") as caught:
        wave_of("factorial", factors, wave=1, seed=0)
    assert "\n" not in str(caught.value)


def test_the_placebo_of_a_paired_design_trains_on_seeds_of_its_own() -> None:
    frame = waves("drop-one", count=1)[0].frame()
    assert len(frame) == PAIRS * 5  # shipped; without a, norm, kid, placebo
    for _, pair in frame.groupby("block"):
        idle = pair[PLACEBO] == "off"
        assert pair.loc[~idle, "seed"].nunique() == 1
        assert idle.sum() == 1
        assert pair.loc[idle, "seed"].item() not in set(frame.loc[frame[PLACEBO] == "on", "seed"])


def outcomes(kind: str, seed: int = 0, count: int = 2) -> pd.DataFrame:
    frame = pd.concat([design.frame() for design in waves(kind, count=count)], ignore_index=True)
    draw = np.random.default_rng(seed)
    shared = draw.normal(0, 1.0, frame["block"].max() + 1)
    truth = 2.0 * (frame["a"] == "on") + 1.0 * (frame["norm"] == "group") - 1.5 * (frame["kid"] == "on")
    return frame.assign(outcome="complete", accuracy=truth + shared[frame["block"]] + draw.normal(0, 0.1, len(frame)))  # fmt: skip


def test_arms_of_drop_one_are_the_two_way_analysis_done_by_hand() -> None:
    frame = outcomes("drop-one")
    analysis = analyse_arms(
        frame, FACTORS, Declaration("accuracy", "higher"), estimand="drop-one", shipped=SHIPPED
    )
    arm = frame[["a", "norm", "kid", PLACEBO]].agg("-".join, axis=1)
    wide = frame.assign(arm=arm).pivot(index="block", columns="arm", values="accuracy")
    idle = wide.pop("on-group-on-off")
    left = wide.sub(wide.mean(axis=1), axis=0) - wide.mean() + wide.to_numpy().mean()
    df = (wide.shape[0] - 1) * (wide.shape[1] - 1)
    se = np.sqrt(np.square(left.to_numpy()).sum() / df * 2 / wide.shape[0])
    table = analysis.table.set_index("trick")
    for trick, other in {"a": "off-group-off-on", "norm": "on-none-on-on", "kid": "on-group-off-on"}.items():
        assert table.loc[trick, "effect"] == pytest.approx(wide["on-group-on-on"].mean() - wide[other].mean())
        assert table.loc[trick, "se"] == pytest.approx(se)
        assert table.loc[trick, "high"] - table.loc[trick, "effect"] == pytest.approx(
            stats.t.ppf(0.975, df) * se
        )
    alone = stats.ttest_rel(wide["on-group-on-on"], idle)
    assert table.loc[PLACEBO, "p"] == pytest.approx(alone.pvalue)
    assert table.loc[PLACEBO, "df"] == wide.shape[0] - 1
    assert table.loc["a", "effect"] == pytest.approx(0.5, abs=0.2), (
        "dropping a parent drops its child: 2 - 1.5"
    )
    assert table.loc[["a", "norm", "kid"], "verdict"].tolist() == ["helps", "helps", "hurts"]
    assert table.loc["norm", "level"] == "group"
    assert table.loc[PLACEBO, "verdict"] not in ("helps", "hurts")
    assert analysis.table["rank"].notna().all()


def test_a_placebo_on_other_seeds_keeps_its_error_rate_though_runs_of_one_seed_resemble_one_another() -> None:
    """Blocks with four times the variance of runs (correlation 0.8); 5 % of placebos may be told from nothing."""
    factors = with_placebo(tricks(6))
    shipped = dict.fromkeys([factor.name for factor in factors], "on")
    frame = waves("drop-one", factors, count=1, shipped=shipped)[0].frame()
    draw = np.random.default_rng(0)
    seeds = {seed: i for i, seed in enumerate(frame["seed"].unique())}
    place = frame["seed"].map(seeds).to_numpy()
    said = Declaration("accuracy", "higher", margin=1.0, looks=1)
    wrong = {"placebo": 0, "t0": 0}
    for _ in range(30):
        y = 2 * draw.normal(size=len(seeds))[place] + draw.normal(size=len(frame))
        table = analyse_arms(
            frame.assign(outcome="complete", accuracy=y), factors, said, estimand="drop-one", look=1,
            shipped=shipped,
        ).table.set_index("trick")  # fmt: skip
        for name in wrong:
            wrong[name] += int(not table.loc[name, "low"] <= 0 <= table.loc[name, "high"])
    assert wrong["placebo"] <= 4, "of 30, with 1.5 expected; 8 where its variance is pooled"
    assert wrong["t0"] <= 4


def test_arms_of_add_one_agree_with_paired() -> None:
    frame = outcomes("add-one", 3)
    table = analyse_arms(frame, FACTORS, Declaration("accuracy", "higher"), estimand="add-one").table
    alone = paired(frame, FACTORS, "accuracy", "higher", estimand="add-one", pooled=True)
    known = alone.set_index(["trick", "level"])["effect"]
    assert len(table) == len(known) == 5
    for trick, level, effect in table[["trick", "level", "effect"]].itertuples(index=False):
        assert effect == pytest.approx(known[(trick, level)])
    assert known[("kid", "on")] == pytest.approx(-1.5, abs=0.3)


def test_a_trick_without_which_every_run_fails_helps() -> None:
    frame = outcomes("drop-one")
    lost = frame["norm"] == "none"
    frame.loc[lost, ["accuracy", "outcome"]] = [np.nan, "diverged"]
    table = analyse_arms(
        frame, FACTORS, Declaration("accuracy", "higher"), estimand="drop-one", shipped=SHIPPED
    ).table.set_index("trick")
    assert table.loc["norm", "verdict"] == "helps"
    assert f"{lost.sum()} of {lost.sum()} without" in table.loc["norm", "note"]
    assert np.isfinite(table.loc[["a", "kid", PLACEBO], "effect"]).all()


def test_what_an_array_holds_fixed_is_tested_apart_on_the_arrays_own_seeds() -> None:
    fixed = Factor("norm", role="must_have")
    array = wave_of("screening", with_placebo([*tricks(5), fixed]), wave=2, seed=1)
    design = apart([fixed], {"norm": "on", "t0": "off"}, array, wave=2, seed=1)
    frame = design.frame()
    assert len(frame) == 2 * APART
    assert {row.seed for row in array.rows} < set(frame["seed"])
    assert frame.groupby("seed")["norm"].apply(set).map(len).eq(2).all()
    assert apart([], {}, array, wave=2, seed=1) is None
