"""Paired comparisons: drop-one, add-one, pooled or not, and A against B until decided."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablate.ranking.designs.design import Factor, with_placebo
from ablate.ranking.designs.factorial import add_one, drop_one
from ablate.ranking.estimation.compare import LOOKS, compare
from ablate.ranking.estimation.paired import paired
from ablate.ranking.verdicts.verdicts import verdicts
from ablate.records.errors import InputError

FACTORS = (
    Factor("a"),
    Factor("b"),
    Factor("slot", ("x", "y", "z")),
    Factor("kid", role="conditional", parent="a"),
)


def dropped(seed: int = 0, seeds: int = 6) -> pd.DataFrame:
    frame = drop_one(FACTORS, range(seeds), shipped={"slot": "z"}).frame()
    draw = np.random.default_rng(seed)
    shared = draw.normal(size=seeds)
    return frame.assign(
        accuracy=draw.normal(size=len(frame)) + shared[frame["seed"]] + 2.0 * (frame["b"] == "on")
    )


def test_drop_one_is_the_paired_t_test() -> None:
    frame = dropped()
    table = paired(frame, FACTORS, "accuracy", "higher", shipped={"slot": "z"}).set_index("trick")
    full = frame[
        (frame["a"] == "on") & (frame["b"] == "on") & (frame["slot"] == "z") & (frame["kid"] == "on")
    ]
    without = {"a": frame["a"] == "off", "b": frame["b"] == "off", "slot": frame["slot"] == "x", "kid": (frame["kid"] == "off") & (frame["a"] == "on")}  # fmt: skip
    for trick, rows in without.items():
        one = full.set_index("seed")["accuracy"]
        other = frame[rows].set_index("seed")["accuracy"]
        test = stats.ttest_rel(one, other.loc[one.index])
        interval = test.confidence_interval()
        assert table.loc[trick, "p"] == pytest.approx(test.pvalue)
        assert (table.loc[trick, "low"], table.loc[trick, "high"]) == pytest.approx(
            (interval.low, interval.high)
        )
        assert table.loc[trick, "rho"] == pytest.approx(np.corrcoef(one, other.loc[one.index])[0, 1])
    assert table.loc["slot", "level"] == "z"
    lower = paired(frame, FACTORS, "accuracy", "lower", shipped={"slot": "z"}).set_index("trick")
    np.testing.assert_allclose(lower["effect"], -table["effect"])


def test_add_one_adds_a_child_to_its_parent() -> None:
    frame = add_one(FACTORS, range(4)).frame()
    frame["accuracy"] = (
        np.random.default_rng(0).normal(size=len(frame))
        + (frame["a"] == "on") * 10
        + (frame["kid"] == "on") * 3
    )
    table = paired(frame, FACTORS, "accuracy", "higher", estimand="add-one").set_index(["trick", "level"])
    assert len(table) == 5
    assert table.loc[("a", "on"), "effect"] == pytest.approx(10, abs=2.5)
    assert table.loc[("kid", "on"), "effect"] == pytest.approx(3, abs=2.5)


def test_pooled_is_the_two_way_analysis_of_variance() -> None:
    frame = dropped(3)
    table = paired(frame, FACTORS, "accuracy", "higher", shipped={"slot": "z"}, pooled=True)
    names = [factor.name for factor in FACTORS]
    wide = frame.assign(arm=frame[names].agg("-".join, axis=1)).pivot(
        index="seed", columns="arm", values="accuracy"
    )
    left = wide.sub(wide.mean(axis=1), axis=0) - wide.mean() + wide.to_numpy().mean()
    df = (wide.shape[0] - 1) * (wide.shape[1] - 1)
    sigma = np.sqrt(np.square(left.to_numpy()).sum() / df)
    assert table["df"].eq(df).all()
    np.testing.assert_allclose(table["se"], sigma * np.sqrt(2 / wide.shape[0]))
    alone = paired(frame, FACTORS, "accuracy", "higher", shipped={"slot": "z"})
    np.testing.assert_allclose(table["effect"], alone["effect"])


def test_pooled_intervals_cover_with_a_placebo_that_repeats_the_reference() -> None:
    factors = with_placebo([Factor("a"), Factor("b"), Factor("c")])
    frame = drop_one(factors, range(5)).frame()
    frame["seed"] = frame["block"]  # so that the placebo repeats its reference to the last digit
    draw = np.random.default_rng(0)
    arm = frame[["a", "b", "c"]].agg("".join, axis=1).astype("category").cat.codes.to_numpy()
    inside = []
    for _ in range(300):
        noise, shared = draw.normal(size=(4, 5)), draw.normal(size=5)
        y = noise[arm, frame["seed"]] + shared[frame["seed"]]
        table = paired(frame.assign(accuracy=y), factors, "accuracy", "higher", pooled=True).set_index(
            "trick"
        )
        assert table.loc["placebo", ["effect", "se"]].tolist() == [0.0, 0.0]
        inside += [low <= 0 <= high for low, high in table.loc[["a", "b", "c"], ["low", "high"]].to_numpy()]
    assert 0.93 <= np.mean(inside) <= 0.975
    judged = verdicts(table.reset_index(), looks=1).set_index("trick")
    assert judged.loc["placebo", "verdict"] == "no measurable effect"


def test_a_failed_run_takes_its_pair_out_and_is_told() -> None:
    frame = dropped()
    frame.loc[frame["b"] == "off", "accuracy"] = np.where(
        frame.loc[frame["b"] == "off", "seed"] == 2, np.nan, 0.0
    )
    frame["outcome"] = np.where(frame["accuracy"].isna(), "diverged", "complete")
    for pooled in (False, True):
        table = paired(frame, FACTORS, "accuracy", "higher", shipped={"slot": "z"}, pooled=pooled).set_index(
            "trick"
        )
        assert table.loc["b", ["runs", "runs_failed"]].tolist() == [10, 1]
        assert "1 runs failed" in table.loc["b", "note"]
        assert np.isfinite(table.loc["b", "se"])
    frame.loc[frame["b"] == "off", ["accuracy", "outcome"]] = [np.nan, "diverged"]
    for pooled in (False, True):
        none = paired(frame, FACTORS, "accuracy", "higher", shipped={"slot": "z"}, pooled=pooled).set_index(
            "trick"
        )
        assert np.isnan(none.loc["b", "effect"])


def test_paired_needs_its_reference_and_one_run_a_seed() -> None:
    frame = dropped()
    with pytest.raises(InputError, match="no drop-one comparison"):
        paired(frame, FACTORS, "accuracy", "higher", shipped={"slot": "y"})
    with pytest.raises(InputError, match="share the seed"):
        paired(pd.concat([frame, frame.iloc[:1]]), FACTORS, "accuracy", "higher", shipped={"slot": "z"})
    with pytest.raises(InputError, match="'seed'"):
        paired(frame.drop(columns="seed"), FACTORS, "accuracy", "higher")


def arm(values: np.ndarray) -> dict[int, float]:
    return dict(enumerate(values.tolist()))


def test_compare_is_the_paired_t_test_at_pococks_level() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.normal(0.2, 1, 20), draw.normal(0, 1, 20)
    comparison = compare(arm(a), arm(b), "higher")
    test = stats.ttest_rel(a[: comparison.pairs], b[: comparison.pairs])
    assert comparison.p == pytest.approx(test.pvalue)
    assert comparison.level == 0.0182
    assert (comparison.looks_done, comparison.next_pairs) == (4, None)
    assert comparison.rho.estimate == pytest.approx(np.corrcoef(a, b)[0, 1])


def test_compare_stops_at_the_first_decisive_look_and_says_so_again_when_resumed() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.normal(6, 1, 20), draw.normal(0, 1, 20)
    first = compare(arm(a[:5]), arm(b[:5]), "higher")
    assert (first.verdict, first.pairs, first.next_pairs) == ("helps", 5, None)
    assert compare(arm(a), arm(b), "higher") == first
    assert compare(arm(a), arm(b), "lower").verdict == "hurts"
    unclear = compare(arm(a[:7] - 6), arm(b[:7]), "higher")
    assert (unclear.verdict, unclear.pairs, unclear.next_pairs) == ("undecided", 5, LOOKS[1])


def test_compare_tells_failures_ties_and_equals() -> None:
    draw = np.random.default_rng(0)
    a = draw.normal(size=5)
    same = compare(arm(a), arm(a), "higher")
    assert (same.verdict, same.effect, same.note) == ("no measurable effect", 0.0, "equal on every seed")
    shifted = compare(arm(np.arange(5.0) + 1), arm(np.arange(5.0)), "higher")
    assert shifted.verdict == "undecided"
    assert "do not vary" in shifted.note
    broken = compare(arm(np.append(a[:4], np.nan)), arm(a), "higher")
    assert broken.failed == (1, 0)
    assert broken.pairs == 4
    dead = compare(arm(np.full(5, np.nan)), arm(a), "higher")
    assert dead.verdict == "undecided"
    assert np.isnan(dead.effect)


@pytest.mark.parametrize(
    ("given", "says"),
    [({"looks": (5, 5)}, "looks"), ({"looks": (2, 5)}, "looks"), ({"looks": ()}, "looks"), ({"margin": -1.0}, "margin"), ({"looks": (6,)}, "too few"), ({"direction": "up"}, "direction")],
)  # fmt: skip
def test_compare_refuses(given: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        compare(arm(np.zeros(5)), arm(np.ones(5)), **{"direction": "higher", **given})  # type: ignore[arg-type]
