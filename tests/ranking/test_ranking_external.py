"""Tables that others made: levels and conditions read off, unbalanced and broken rows handled and told."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from ablate.ranking.designs.design import Factor
from ablate.ranking.designs.screening import screening
from ablate.ranking.tables import prepare
from ablate.ranking.tables.external import analyse_table
from ablate.records.errors import InputError


def export(n: int = 120, seed: int = 0) -> pd.DataFrame:
    """What a tracker would export: text, booleans, numbers, holes, states, unbalanced."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "mixup": draw.random(n) < 0.3,
            "optimizer": draw.choice(["sgd", "adamw", "lion"], n, p=[0.5, 0.3, 0.2]),
            "ema": draw.choice([0, 1], n),
        }
    )
    frame["ema_warm"] = np.where(frame["ema"] == 1, draw.choice(["yes", "no"], n), None)
    frame["ema_decay"] = np.where(frame["ema"] == 1, 1 - 10 ** draw.uniform(-4, -1, n), np.nan)
    frame["seed"] = np.arange(n) % 6
    y = (
        0.9
        + 0.02 * frame["mixup"]
        - 0.03 * (frame["optimizer"] == "sgd")
        + 0.01 * (frame["ema_warm"] == "yes")
    )
    frame["val_acc"] = y + draw.normal(0, 0.005, 6)[frame["seed"]] + draw.normal(0, 0.01, n)
    frame["state"] = "finished"
    return frame


def test_a_trackers_export() -> None:
    frame = export()
    frame.loc[[1, 2], ["val_acc", "state"]] = [np.nan, "crashed"]
    frame.loc[3, "state"] = "running"
    frame.loc[4, "optimizer"] = None
    analysis = analyse_table(
        frame, ["mixup", "optimizer", "ema", "ema_warm"], "val_acc", "higher", seed="seed"
    )
    table = analysis.table.set_index(["trick", "level"])
    assert list(table.index) == [
        ("mixup", "True"),
        ("optimizer", "lion"),
        ("optimizer", "sgd"),
        ("ema", "1"),
        ("ema_warm", "yes"),
    ]
    truth = {("mixup", "True"): 0.02, ("optimizer", "lion"): 0.0, ("optimizer", "sgd"): -0.03, ("ema", "1"): 0.005, ("ema_warm", "yes"): 0.01}  # fmt: skip
    for key, value in truth.items():
        assert table.loc[key, "low"] - 0.003 <= value <= table.loc[key, "high"] + 0.003
    assert table.loc[("mixup", "True"), "verdict"] == "helps"
    assert table.loc[("optimizer", "sgd"), "verdict"] == "hurts"
    assert "given ema on" in table.loc[("ema_warm", "yes"), "note"]
    assert (analysis.runs, analysis.used, analysis.failed, analysis.excluded) == (119, 116, 2, 1)
    warnings = " | ".join(analysis.warnings)
    for part in (
        "1 of 120 rows lack",
        "6 seeds enter as blocks",
        "not balanced",
        "2 of 119 runs failed",
        "1 pruned or unfinished",
    ):
        assert part in warnings


def test_more_seeds_than_a_fit_holds_count_as_independent_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 1,000 seeds in 200,000 runs took 8 GiB."""
    names = ["mixup", "optimizer"]
    blocked = analyse_table(export(), names, "val_acc", "higher", seed="seed")
    monkeypatch.setattr(prepare, "LARGEST_FIT", len(export()) * 6**2 - 1)
    analysis = analyse_table(export(), names, "val_acc", "higher", seed="seed")
    assert any("6 seeds are too many to be blocks of 120 runs" in line for line in analysis.warnings)
    assert analysis.df == blocked.df + 5
    assert analysis.table["effect"].to_numpy() == pytest.approx(blocked.table["effect"].to_numpy(), abs=0.005)


def test_a_balanced_design_of_ours_comes_out_as_in_the_array() -> None:
    factors = [Factor(f"t{i}") for i in range(7)]
    frame = screening(factors, wave=1, seed=0).frame()
    frame["loss"] = np.random.default_rng(0).normal(size=16)
    analysis = analyse_table(frame, [f.name for f in factors], "loss", "lower", seed="seed")
    assert not any("balanced" in line for line in analysis.warnings)
    assert analysis.df == 16 - 7 - 2
    for row in analysis.table.itertuples():
        means = frame.groupby(row.trick)["loss"].mean()
        assert row.effect == pytest.approx(means["off"] - means["on"])


def test_a_csv_read_back_says_the_same() -> None:
    frame = export()
    names = ["mixup", "optimizer", "ema", "ema_warm"]
    again = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    one, other = (analyse_table(f, names, "val_acc", "higher", seed="seed").table for f in (frame, again))
    pd.testing.assert_frame_equal(one, other)
    shuffled = analyse_table(
        frame.sample(frac=1, random_state=0), names, "val_acc", "higher", seed="seed"
    ).table
    pd.testing.assert_frame_equal(one, shuffled, rtol=1e-8)


def test_settings_within_a_trick_are_adjusted_for() -> None:
    frame = export(400)
    frame["val_acc"] += np.where(frame["ema"] == 1, 0.02 * np.log10((1 - frame["ema_decay"]).fillna(1)), 0)
    frame["ema_log"] = np.log10(1 - frame["ema_decay"])
    plain = analyse_table(frame, ["mixup", "ema"], "val_acc", "higher")
    adjusted = analyse_table(frame, ["mixup", "ema"], "val_acc", "higher", parameters={"ema": ["ema_log"]})
    assert adjusted.sigma < 0.9 * plain.sigma


def test_robust_intervals_cover_where_pooled_ones_do_not() -> None:
    """One arm is rare and noisy: the pooled interval would cover 65 %."""
    draw = np.random.default_rng(0)
    n, inside = 80, 0
    for _ in range(120):
        rare = draw.permutation(n) < 16
        frame = pd.DataFrame({"trick": np.where(rare, "on", "off"), "other": draw.permutation(n) % 2})
        frame["loss"] = draw.normal(size=n) * np.where(rare, 4.0, 1.0)
        row = analyse_table(frame, ["trick", "other"], "loss", "lower").table.iloc[0]
        inside += row["low"] <= 0 <= row["high"]
    assert 0.89 <= inside / 120 <= 0.99


@pytest.mark.parametrize(
    ("change", "given", "says"),
    [
        ({}, {"factors": ["mixpu"]}, "did you mean 'mixup'"),
        ({}, {"metric": "val_ac"}, "did you mean 'val_acc'"),
        ({}, {"factors": []}, "no factor column"),
        ({}, {"factors": ["val_acc"]}, "two purposes"),
        ({}, {"factors": ["mixup", "mixup"]}, "two purposes"),
        ({}, {"seed": "mixup"}, "two purposes"),
        ({}, {"seed": "sed"}, "did you mean 'seed'"),
        ({}, {"direction": "up"}, "direction"),
        ({}, {"margin": -1.0}, "margin"),
        ({}, {"parameters": {"lr": ["ema_decay"]}}, "not among the factors"),
        ({}, {"parameters": {"mixup": ["decay"]}}, "settings column"),
        ({}, {"metric": "state"}, "not a number"),
        ({"val_acc": np.nan}, {}, "no complete run"),
        ({"mixup": True}, {}, "one value throughout"),
        ({"mixup": [f"run {i}" for i in range(120)]}, {}, "120 different values"),
        ({"state": "sleeping"}, {}, "'sleeping', which is not known"),
        ({"seed": np.nan}, {"seed": "seed"}, "seed column is empty in 120 rows"),
        ({"block": ["a", "b"] * 60}, {"factors": ["block"]}, "cannot be called 'block'"),
        ({"wave": [1.0, 2.0] * 60}, {"metric": "wave"}, "a metric cannot be called 'wave'"),
        (
            {"mixup": ["a", None, "b", None] * 30, "optimizer": [None, "a", None, "b"] * 30},
            {},
            "every row lacks the level of some factor",
        ),
        (
            {"mixup": [None, "a", "b"] * 40, "optimizer": ["a", None, None] * 40},
            {},
            "one value throughout|lacks the level",
        ),
    ],
)
def test_wrong_columns_are_one_line(change: dict[str, object], given: dict[str, object], says: str) -> None:
    call = {"factors": ["mixup", "optimizer"], "metric": "val_acc", "direction": "higher", **given}
    with pytest.raises(InputError, match=says) as caught:
        analyse_table(export().assign(**change), **call)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_seeds_that_runs_hardly_share_are_no_blocks_and_a_constant_metric_is_told() -> None:
    names = ["mixup", "optimizer"]
    lonely = export().assign(
        seed=np.maximum(np.arange(120) % 6, np.arange(120) - 113)
    )  # the last seed has one run
    apart = analyse_table(lonely, names, "val_acc", "higher", seed="seed")
    assert any("not shared evenly enough to be blocks" in warning for warning in apart.warnings)
    plain = analyse_table(lonely.drop(columns="seed"), names, "val_acc", "higher")
    pd.testing.assert_frame_equal(apart.table, plain.table)
    flat = analyse_table(export().assign(val_acc=0.5), names, "val_acc", "higher")
    assert "'val_acc' is the same in every run: nothing can be told apart" in flat.warnings


def test_no_rows_and_twin_columns() -> None:
    with pytest.raises(InputError, match="no rows"):
        analyse_table(export().iloc[:0], ["mixup"], "val_acc", "higher")
    twin = export()
    twin.columns = ["mixup", "mixup", *twin.columns[2:]]
    with pytest.raises(InputError, match="two columns called 'mixup'"):
        analyse_table(twin, ["mixup"], "val_acc", "higher")
