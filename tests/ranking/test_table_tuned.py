"""Tables of arms × settings × tasks: each arm at its own best setting, an interval over tasks, nothing averaged silently."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablate.ranking.tables.blocks import over_blocks
from ablate.ranking.tables.external import TableOptions, analyse_runs
from ablate.ranking.tables.tuned import WIDENED, tune
from ablate.records.errors import InputError

BEST = {"adam": -3.0, "momentum": -2.0, "sgd": -1.0}
PEAK = {"adam": 0.80, "momentum": 0.77, "sgd": 0.72}
TUNED = TableOptions(tune=("lr",), block="problem", seed="seed")


def optimizers(problems: int = 8, seeds: int = 4, seed: int = 0) -> pd.DataFrame:
    """Accuracy falls with the square of the decades from the best rate, which varies by problem, and 0.7 decades above it
    training diverges. So does what an optimizer is worth: SD 0.01 over problems."""
    draw = np.random.default_rng(seed)
    rows = []
    for problem in range(problems):
        easy, shift = 0.1 * draw.normal(), 0.5 * draw.normal()
        for name in BEST:
            worth = 0.01 * draw.normal()
            for rate in range(-5, 2):
                for run in range(seeds):
                    off = rate - BEST[name] - shift
                    value = PEAK[name] + easy + worth - 0.03 * off**2 + 0.005 * draw.normal()
                    rows.append((f"problem-{problem}", name, 10.0**rate, run, np.nan if off > 0.7 else value))
    return pd.DataFrame(rows, columns=["problem", "optimizer", "lr", "seed", "acc"])


def test_tuned_optimizers_rank_as_they_are_and_an_average_over_the_grid_does_not() -> None:
    frame = optimizers()
    answer = analyse_runs(frame, ["optimizer"], "acc", "higher", TUNED)
    rows = {row["level"]: row for row in answer.analysis.table.to_dict("records")}
    for level in ("momentum", "sgd"):
        assert rows[level]["low"] < PEAK[level] - PEAK["adam"] < rows[level]["high"]
    assert rows["sgd"]["verdict"] == "hurts"
    ranks = answer.blocks.ranks
    assert list(ranks["level"]) == ["adam", "momentum", "sgd"]
    chosen = answer.tuning.choices.drop_duplicates(["block", "arm"])
    rates = chosen["value"].astype(float).map(np.log10).groupby(chosen["arm"]).median()
    assert rates.to_dict() == pytest.approx(BEST, abs=1)
    warnings = " ".join(answer.analysis.warnings)
    assert "each arm is judged at its best 'lr', chosen on other runs" in warnings
    untuned = analyse_runs(frame, ["optimizer"], "acc", "higher").analysis
    assert sum("--tune lr" in warning for warning in untuned.warnings) == 1
    assert any(
        "--block problem" in warning
        for warning in analyse_runs(
            frame, ["optimizer"], "acc", "higher", TableOptions(tune=("lr",))
        ).analysis.warnings
    )


def test_effects_by_block_and_over_blocks_are_those_of_plain_arithmetic() -> None:
    frame = optimizers().dropna()
    frame = frame[frame["lr"] == 1e-4]
    answer = analyse_runs(frame, ["optimizer"], "acc", "higher", TableOptions(block="problem"))
    means = frame.pivot_table(index="problem", columns="optimizer", values="acc")
    difference = means["sgd"] - means["adam"]
    by_block = answer.blocks.effects.query("level == 'sgd'").set_index("block")["effect"]
    assert by_block.to_numpy() == pytest.approx(difference.to_numpy())
    row = answer.analysis.table.set_index("level").loc["sgd"]
    interval = stats.ttest_1samp(difference, 0).confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    ranks = means.rank(axis=1, ascending=False).mean()
    assert answer.blocks.ranks.set_index("level")["mean_rank"].to_dict() == pytest.approx(ranks.to_dict())


def test_blocks_without_a_value_or_of_another_size_or_with_failures_are_told() -> None:
    frame = optimizers().dropna()
    frame = frame[frame["lr"] == 1e-4]
    options = TableOptions(block="problem")

    def warned(changed: pd.DataFrame) -> str:
        return " | ".join(analyse_runs(changed, ["optimizer"], "acc", "higher", options).analysis.warnings)

    first, sgd = frame["problem"] == "problem-0", frame["optimizer"] == "sgd"
    assert "no run has a value in problem-0: left out" in warned(frame.assign(acc=frame["acc"].mask(first)))
    with pytest.raises(
        InputError, match="fewer than two blocks have a finished run with a value; leave out --block"
    ):
        warned(frame.assign(acc=frame["acc"].where(first)))
    large = warned(frame.assign(acc=frame["acc"].where(~first, 1000 * frame["acc"])))
    assert "effects in 'problem-0' are " in large
    assert "dominate the mean: look at the ranks" in large
    half = frame.groupby(["problem", "optimizer"]).cumcount() % 2 == 0
    assert "optimizer changes the failure rate: " in warned(frame.assign(acc=frame["acc"].mask(sgd & half)))
    assert "changes the failure rate" not in warned(frame)


def test_a_level_in_one_block_has_an_effect_and_no_interval() -> None:
    frame = optimizers().dropna()
    frame = frame[(frame["lr"] == 1e-4) & ((frame["optimizer"] != "sgd") | (frame["problem"] == "problem-0"))]
    answer = analyse_runs(frame, ["optimizer"], "acc", "higher", TableOptions(block="problem"))
    row = answer.analysis.table.set_index("level").loc["sgd"]
    means = frame[frame["problem"] == "problem-0"].groupby("optimizer")["acc"].mean()
    assert row["effect"] == pytest.approx(means["sgd"] - means["adam"])
    assert np.isnan([row["low"], row["high"]]).all()
    assert "no interval: in one block only" in row["note"]


def test_an_interval_over_tasks_covers_the_mean_over_tasks() -> None:
    """Effects vary over tasks as much as a run does; an interval from runs alone covers the truth far too seldom."""
    draw = np.random.default_rng(0)
    inside, naive = 0, 0
    for _ in range(1000):
        effects = 0.5 + draw.normal(size=6) + draw.normal(size=(6,)) / np.sqrt(5)
        mean, _, _, half = over_blocks(effects)
        inside += abs(mean - 0.5) <= half
        naive += abs(mean - 0.5) <= 1.96 / np.sqrt(5 * 6)
    assert 0.93 <= inside / 1000 <= 0.97
    assert naive / 1000 < 0.7


def worlds(
    count: int, seeds: int, tops: dict[str, float], values: dict[str, int], slope: float
) -> pd.DataFrame:
    """`count` independent tables: each arm's mean falls by `slope` a step from its best value; runs have SD 1."""
    draw = np.random.default_rng(0)
    rows = [
        (world, arm, value, run, tops[arm] - slope * abs(value - values[arm] // 2))
        for world in range(count) for arm in tops for value in range(values[arm]) for run in range(seeds)
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["world", "arm", "lr", "seed", "acc"])
    return frame.assign(acc=frame["acc"] + draw.normal(size=len(frame)))


def judged(frame: pd.DataFrame, folds: int) -> pd.DataFrame:
    every = np.ones(len(frame), dtype=bool)
    tuning = tune(frame, ["arm"], ["lr"], frame["acc"].to_numpy(), every, ~every, seed="seed", block="world", folds=folds)  # fmt: skip
    return frame.assign(unsettled=tuning.unsettled)[tuning.judged]


def test_trying_more_values_wins_nothing() -> None:
    """Two arms without any difference, one tuned over two values, the other over twelve."""
    frame = worlds(600, 4, {"few": 0.0, "many": 0.0}, {"few": 2, "many": 12}, 0.0)
    means = judged(frame, 10).pivot_table(index="world", columns="arm", values="acc")
    gain = means["many"] - means["few"]
    assert abs(gain.mean()) < 4 * gain.std() / np.sqrt(600)
    best = frame.groupby(["world", "arm", "lr"])["acc"].mean().groupby(["world", "arm"]).max().unstack()
    assert (best["many"] - best["few"]).mean() > 0.4


@pytest.mark.parametrize("slope", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("seeds", [4, 10])
def test_intervals_of_tuned_arms_hold(slope: float, seeds: int) -> None:
    frame = judged(worlds(600, seeds, {"a": 0.0, "b": 1.0}, {"a": 3, "b": 5}, slope), 2)
    by = frame.groupby(["world", "arm"])
    wide = np.where(by["unsettled"].any(), WIDENED, 1.0)
    variance = (by["acc"].var() / by.size() * wide).unstack().sum(axis=1)
    difference = by["acc"].mean().unstack()
    half = stats.t.ppf(0.975, 2 * seeds - 2) * np.sqrt(variance)
    covered = (difference["b"] - difference["a"] - 1.0).abs() <= half
    assert 0.91 <= covered.mean() <= 0.995


def test_unsettled_tuning_widens_the_interval() -> None:
    flat = worlds(1, 6, {"a": 0.0, "b": 0.0}, {"a": 5, "b": 5}, 0.0)
    answer = analyse_runs(flat, ["arm"], "acc", "higher", TableOptions(tune=("lr",)))
    kept = flat[answer.tuning.judged]
    settled = kept.groupby("arm")["lr"].nunique().eq(1)
    share = 1 - settled.mean()
    assert share > 0
    plain = analyse_runs(kept, ["arm"], "acc", "higher").analysis.table.iloc[0]
    row = answer.analysis.table.iloc[0]
    assert row["se"] == pytest.approx(plain["se"] * np.sqrt(1 + (WIDENED - 1) * share))
    assert any("is not settled" in warning for warning in answer.analysis.warnings)


def test_a_single_run_a_value_needs_blocks_and_is_told() -> None:
    frame = optimizers(seeds=1)
    answer = analyse_runs(frame, ["optimizer"], "acc", "higher", TableOptions(tune=("lr",), block="problem"))
    assert any("one run at each value" in warning for warning in answer.analysis.warnings)
    one = frame[frame["problem"] == "problem-0"]
    with pytest.raises(InputError, match="add runs with other seeds"):
        analyse_runs(one, ["optimizer"], "acc", "higher", TableOptions(tune=("lr",)))


def test_a_random_search_is_tuned_over_ranges() -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"opt": ["a", "b"] * 100, "lr": 10 ** draw.uniform(-4, 0, 200)})
    best = np.where(frame["opt"] == "a", -3, -1)
    frame["acc"] = -((np.log10(frame["lr"]) - best) ** 2) + 0.1 * draw.normal(size=200)
    answer = analyse_runs(frame, ["opt"], "acc", "higher", TableOptions(tune=("lr",)))
    assert "ranges of equal counts" in " ".join(answer.analysis.warnings)
    row = answer.analysis.table.iloc[0]
    assert row["low"] < 0 < row["high"]
    assert abs(row["effect"]) < 0.3


def test_two_nuisance_columns_are_tuned_together() -> None:
    draw = np.random.default_rng(0)
    grid = [(a, lr, wd, s) for a in "ab" for lr in (1, 2, 3) for wd in (0, 1) for s in range(4)]
    frame = pd.DataFrame(grid, columns=["arm", "lr", "wd", "seed"])
    top = {"a": (1, 0), "b": (3, 1)}
    frame["acc"] = [
        float((lr, wd) == top[a]) for a, lr, wd in zip(frame["arm"], frame["lr"], frame["wd"], strict=True)
    ]
    frame["acc"] += 0.01 * draw.normal(size=len(frame))
    answer = analyse_runs(frame, ["arm"], "acc", "higher", TableOptions(tune=("lr", "wd"), seed="seed"))
    assert dict(zip(answer.tuning.choices["arm"], answer.tuning.choices["value"], strict=True)) == {
        "a": "1, 0",
        "b": "3, 1",
    }
    assert abs(answer.analysis.table["effect"].iloc[0]) < 0.02


def test_arms_tuned_unequally_and_at_the_edge_are_named() -> None:
    frame = worlds(1, 4, {"a": 0.0, "b": 0.0}, {"a": 2, "b": 9}, 3.0)
    warnings = " ".join(
        analyse_runs(frame, ["arm"], "acc", "higher", TableOptions(tune=("lr",))).analysis.warnings
    )
    assert "'b' was tried at 9 values of 'lr', 'a' at 2" in warnings
    assert "the best 'lr' of a is the least or greatest" in warnings


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tune": ("rl",)}, "unknown column 'rl'"),
        ({"tune": ("optimizer",)}, "two purposes"),
        ({"block": "optimizer"}, "two purposes"),
        ({"block": "one"}, "two or more values"),
        ({"tune": ("one",)}, "one value in all runs"),
    ],
)
def test_wrong_columns_are_one_line(options: dict[str, object], says: str) -> None:
    frame = optimizers(2, 2).assign(one=1)
    with pytest.raises(InputError, match=says) as caught:
        analyse_runs(frame, ["optimizer"], "acc", "higher", TableOptions(**options))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_what_many_runs_cost_is_computed_as_for_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above a number of runs, spread and pairs are taken from sums and samples: the same to what they leave out."""
    from ablate.ranking.estimation import dispersion, interactions

    draw = np.random.default_rng(0)
    frame = pd.DataFrame({name: draw.integers(0, 2, 3000) for name in "abc"})
    frame["acc"] = 0.2 * frame["a"] * frame["b"] + draw.normal(size=3000) * (1 + frame["c"])
    few = analyse_runs(frame, list("abc"), "acc", "higher").analysis
    monkeypatch.setattr(dispersion, "_MOST_FITTED", 1000)
    monkeypatch.setattr(interactions, "_MOST_COMPARED", 500)
    many = analyse_runs(frame, list("abc"), "acc", "higher").analysis
    for name in ("sigma_with", "sigma_without"):
        assert many.table[name].to_numpy() == pytest.approx(few.table[name].to_numpy(), rel=0.01)
    pd.testing.assert_frame_equal(many.interactions, few.interactions)
    product = (frame["a"] - 0.5) * (frame["b"] - 0.5)
    base = np.column_stack([np.ones(3000), frame[["a", "b", "c"]], product])
    coefficient = np.linalg.lstsq(base, frame["acc"], rcond=None)[0][4]
    row = few.interactions.query("one == 'a' and other == 'b'").iloc[0]
    assert row["effect"] == pytest.approx(coefficient)


@pytest.mark.parametrize("diverged", [1e30, 1e300, 3e19])
def test_losses_of_diverged_runs_leave_nothing_but_themselves(diverged) -> None:
    """Each rate that is too high diverges, on some seeds to a number beside which all others vanish."""
    frame = optimizers()
    lost = frame["acc"].isna()
    sizes = np.where(np.arange(len(frame)) % 4 == 0, diverged, 50.0)
    numbers = frame.assign(loss=(1 - frame["acc"]).where(~lost, sizes))
    blank = frame.assign(loss=1 - frame["acc"])
    answer, expected = (analyse_runs(one, ["optimizer"], "loss", "lower", TUNED) for one in (numbers, blank))
    chosen, wanted = (
        one.tuning.choices.drop_duplicates(["block", "arm"])["value"] for one in (answer, expected)
    )
    assert list(chosen) == list(wanted)
    names = ["level", "effect", "low", "high", "verdict", "margin"]
    rows, others = (one.analysis.table[names].to_dict("records") for one in (answer, expected))
    for row, other in zip(rows, others, strict=True):
        words = [(one.pop("level"), one.pop("verdict")) for one in (row, other)]
        assert words[0] == words[1]
        assert row == pytest.approx(other, rel=1e-6, nan_ok=True)
    assert answer.analysis.table["margin"].max() < 0.05
