"""What stands around the effects: failures, ranks, spread, interactions, ranking table, methods, pilot."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablate.ranking.designs.design import Factor, with_placebo
from ablate.ranking.designs.factorial import add_one, drop_one, full_factorial, pilot
from ablate.ranking.designs.pilot import read_pilot
from ablate.ranking.designs.screening import screening
from ablate.ranking.estimation.analysis import Declaration, analyse
from ablate.ranking.estimation.dispersion import (
    mann_whitney,
    outlying,
    probability_of_improvement,
    seed_correlation,
    spread_by_arm,
)
from ablate.ranking.estimation.effects import effects, fit_effects
from ablate.ranking.estimation.failures import failure_effects, newcombe, wilson
from ablate.ranking.estimation.interactions import interactions, note_interacts
from ablate.ranking.estimation.paired import paired
from ablate.ranking.estimation.ranks import rank_intervals
from ablate.ranking.tables.exploratory import exploratory
from ablate.ranking.verdicts.methods import methods_paragraph
from ablate.ranking.verdicts.ranking_table import COLUMNS, ClaimMetric, claim_effects, ranking_table
from ablate.ranking.verdicts.verdicts import verdicts
from ablate.records.errors import InputError

FACTORS = with_placebo([Factor(f"t{i}") for i in range(8)])


def finish(frame: pd.DataFrame, seed: int = 0, noise: float = 1.0, **truth: float) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    y = draw.normal(0, noise, len(frame))
    for name, size in truth.items():
        y += size * (frame[name] == "on").to_numpy()
    return frame.assign(accuracy=y, ece=draw.normal(size=len(frame)), outcome="complete")


def array(seed: int = 0, waves: int = 2, **truth: float) -> pd.DataFrame:
    frame = pd.concat(
        [screening(FACTORS, wave=w + 1, seed=seed).frame() for w in range(waves)], ignore_index=True
    )
    return finish(frame, seed, **truth)


def test_wilson_and_newcombe_against_their_papers() -> None:
    """Newcombe 1998 (Stat. Med. 17:857 and 873): 81/263 (table I) and 56/70 against 48/80 (table II, method 10)."""
    np.testing.assert_allclose(wilson(81, 263), (0.2553, 0.3662), atol=5e-5)
    np.testing.assert_allclose(wilson(0, 20), (0.0, 0.1611), atol=5e-5)
    np.testing.assert_allclose(newcombe(56, 70, 48, 80), (0.0524, 0.3339), atol=5e-5)
    np.testing.assert_allclose(newcombe(9, 10, 3, 10), (0.1705, 0.8090), atol=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)
    for n in (1, 7, 40):
        for failed in range(n + 1):
            expected = stats.binomtest(failed, n).proportion_ci(method="wilson")
            np.testing.assert_allclose(wilson(failed, n), (expected.low, expected.high), atol=1e-12)


def test_failures_are_an_outcome_of_their_own() -> None:
    frame = array()
    frame.loc[(frame["t0"] == "on") & (frame.index % 2 == 0), ["accuracy", "outcome"]] = [np.nan, "diverged"]
    frame.loc[(frame["t0"] == "off").to_numpy().nonzero()[0][0], "outcome"] = "pruned"
    table = failure_effects(frame, FACTORS, "accuracy").set_index("trick")
    lost = int((frame["outcome"] == "diverged").sum())
    assert table.loc["t0", "failed_with"] == lost
    assert table.loc["t0", "failed_without"] == 0
    assert table.loc["t0", "runs_without"] == len(frame) // 2 - 1
    assert table.loc["t0", "p_adjusted"] < 0.01
    assert table.loc["t0", "low"] > 0
    analysis = analyse(frame, FACTORS, Declaration("accuracy", "higher"))
    assert (analysis.used, analysis.failed, analysis.excluded) == (len(frame) - lost - 1, lost, 1)
    assert any("t0 changes the failure rate" in line for line in analysis.warnings)
    assert any("means of the survivors" in line for line in analysis.warnings)
    assert any("left out" in line for line in analysis.warnings)
    quiet = analyse(array(), FACTORS, Declaration("accuracy", "higher"))
    assert quiet.warnings == ()


def test_a_trick_that_no_run_survives_hurts() -> None:
    frame = array()
    frame.loc[frame["t0"] == "on", ["accuracy", "outcome"]] = [np.nan, "diverged"]
    table = analyse(frame, FACTORS, Declaration("accuracy", "higher")).table.set_index("trick")
    assert table.loc["t0", "verdict"] == "hurts"
    assert "20 of" in table.loc["t0", "note"] or "failed with it" in table.loc["t0", "note"]
    assert table.loc["t1", "verdict"] != "hurts"


def test_a_collapse_below_the_declared_threshold_is_a_failure() -> None:
    frame = array()
    frame.loc[[3, 9], "accuracy"] = -20.0
    silent = analyse(frame, FACTORS, Declaration("accuracy", "higher"))
    assert silent.failed == 0
    assert any("positions 3, 9" in line for line in silent.warnings)
    analysis = analyse(frame, FACTORS, Declaration("accuracy", "higher", collapse=-10.0))
    assert analysis.failed == 2
    assert analysis.sigma < silent.sigma / 2


def test_several_collapses_do_not_hide_one_another() -> None:
    draw = np.random.default_rng(0)
    warned = exact = 0
    for _ in range(50):
        frame = screening(FACTORS, wave=1, seed=int(draw.integers(2**31))).frame()
        x = np.column_stack(
            [np.ones(len(frame)), *[(frame[f.name] == "on").to_numpy(float) for f in FACTORS]]
        )
        y = draw.normal(size=len(frame))
        assert len(outlying(x, y)) <= 1
        hit = sorted(draw.choice(len(frame), 2, replace=False).tolist())
        y[hit] -= 20
        warned += bool(set(outlying(x, y)) & set(hit))
        exact += outlying(x, y) == hit
    assert warned >= 45
    assert exact >= 38


def test_rank_intervals_hold_the_true_ranks_together() -> None:
    truth = {"t0": 3.0, "t1": 2.0, "t2": 1.0, "t3": -1.0}
    order = sorted([*truth.values(), *[0.0] * 5], reverse=True)
    held, widths = 0, []
    for seed in range(60):
        frame = array(seed, **truth)
        table = rank_intervals(fit_effects(frame, FACTORS, "accuracy", "higher")).set_index("trick")
        good = True
        for factor in FACTORS:
            value = truth.get(factor.name, 0.0)
            best, worst = order.index(value) + 1, len(order) - order[::-1].index(value)
            good &= (
                table.loc[factor.name, "rank_low"] <= worst and table.loc[factor.name, "rank_high"] >= best
            )
        held += good
        widths.append((table["rank_high"] - table["rank_low"]).mean())
        assert (table["rank_low"] <= table["rank"]).all()
        assert (table["rank"] <= table["rank_high"]).all()
    assert held >= 55
    assert np.mean(widths) < 6


def test_probability_of_improvement() -> None:
    one, other = np.array([3.0, 4.0, 5.0]), np.array([1.0, 3.0, 4.5, 0.0])
    expected = stats.mannwhitneyu(one, other).statistic / 12
    assert mann_whitney(one, other)[0] == pytest.approx(expected)
    for scale in (1.0, 1e-8):
        value, low, high = mann_whitney(np.arange(5.0) * scale + 10, np.arange(5.0) * scale)
        assert (value, high) == (1.0, 1.0)
        assert 0.4 < low < 1.0
    assert np.isnan(mann_whitney(np.array([]), one)).all()
    draw = np.random.default_rng(0)
    truth = NormalDist().cdf(1 / np.sqrt(2))
    inside = [
        low <= truth <= high
        for _, low, high in (mann_whitney(draw.normal(1, 1, 24), draw.normal(0, 1, 24)) for _ in range(400))
    ]
    assert 0.92 <= np.mean(inside) <= 0.99
    frame = array(t0=1.0, waves=3)
    table = probability_of_improvement(fit_effects(frame, FACTORS, "accuracy", "higher"), frame).set_index(
        "trick"
    )
    assert table.loc["t0", "low"] < truth < table.loc["t0", "high"]
    assert table.loc["placebo", "low"] < 0.5 < table.loc["placebo", "high"]


def test_spread_by_arm_sees_the_noisy_arm() -> None:
    frame = array(waves=3)
    frame["accuracy"] = frame["accuracy"] * np.where(frame["t1"] == "on", 4.0, 1.0)
    fitted = fit_effects(frame, FACTORS, "accuracy", "higher")
    table = spread_by_arm(fitted, frame).set_index("trick")
    assert table.loc["t1", "sigma_with"] > 2.5 * table.loc["t1", "sigma_without"]
    assert table["p"].idxmin() == "t1"
    assert any(
        "unequally" in line for line in analyse(frame, FACTORS, Declaration("accuracy", "higher")).warnings
    )


def test_seed_correlation_covers_the_truth() -> None:
    draw = np.random.default_rng(0)
    inside = 0
    base = pd.concat([screening(FACTORS, wave=w, seed=1).frame() for w in (1, 2, 3)], ignore_index=True)
    for _ in range(200):
        frame = base.assign(accuracy=draw.normal(size=len(base)) + draw.normal(size=6)[base["block"]])
        rho = seed_correlation(fit_effects(frame, FACTORS, "accuracy", "higher"), frame)
        inside += rho.low <= 0.5 <= rho.high
    assert 0.9 <= inside / 200 <= 0.99
    assert np.isnan(
        seed_correlation(
            fit_effects(base.drop(columns="block").assign(accuracy=0.0), FACTORS, "accuracy", "higher"),
            base.drop(columns="block"),
        ).estimate
    )


def test_an_interaction_is_flagged_with_what_it_is_confounded_with() -> None:
    factors = tuple(Factor(f"t{i}") for i in range(4))
    frame = finish(full_factorial(factors, seeds=[1, 2]).frame())
    both = (frame["t0"] == "on") & (frame["t1"] == "on")
    frame["accuracy"] += 4.0 * both
    pair_rows = interactions(fit_effects(frame, factors, "accuracy", "higher"), frame)
    assert pair_rows.loc[0, ["one", "other", "flagged", "confounded_with"]].tolist() == ["t0", "t1", True, ""]
    assert pair_rows["flagged"].sum() == 1
    cells = frame.groupby(["t0", "t1"])["accuracy"].mean()
    assert pair_rows.loc[0, "effect"] == pytest.approx(
        cells["on", "on"] - cells["on", "off"] - cells["off", "on"] + cells["off", "off"]
    )
    screened = screening([Factor(f"t{i}") for i in range(7)], wave=1, seed=0).frame()
    screened["accuracy"] = np.random.default_rng(0).normal(size=16)
    table = interactions(
        fit_effects(screened, [Factor(f"t{i}") for i in range(7)], "accuracy", "higher"), screened
    )
    assert (table["confounded_with"].str.count("×") == 2).all()


def test_interaction_tests_are_the_regression_with_one_more_column() -> None:
    frame = array(waves=3)
    fitted = fit_effects(frame, FACTORS, "accuracy", "higher")
    table = interactions(fitted, frame).set_index(["one", "other"])
    main = np.column_stack([(frame[f.name] == "on").to_numpy(float) for f in FACTORS])
    blocks = np.column_stack([(frame["block"] == b).to_numpy(float) for b in frame["block"].unique()])
    for i, j in ((0, 1), (2, 5)):
        x = np.column_stack([main[:, i] * main[:, j], main, blocks])
        gram = np.linalg.inv(x.T @ x)
        beta = gram @ x.T @ frame["accuracy"].to_numpy()
        df = len(x) - x.shape[1]
        se = np.sqrt(np.square(frame["accuracy"] - x @ beta).sum() / df * gram[0, 0])
        row = table.loc[(f"t{i}", f"t{j}")]
        assert row["effect"] == pytest.approx(beta[0])
        assert row["p"] == pytest.approx(2 * stats.t.sf(abs(beta[0]) / se, df))
        assert row["high"] - row["low"] == pytest.approx(2 * stats.t.ppf(0.975, df) * se)


def test_the_forecast_of_an_analysis_counts_all_runs() -> None:
    factors = with_placebo([*(Factor(f"t{i}") for i in range(6)), Factor("slot", ("a", "b", "c", "d"))])
    frame = finish(screening(factors, wave=1, seed=0).frame(), seed=3)
    said = Declaration("accuracy", "higher", margin=0.3)
    table = analyse(frame, factors, said).table
    plain = effects(frame, factors, "accuracy", "higher")
    expected = verdicts(plain, margin=0.3, total_runs=len(frame))["more_runs"]
    pd.testing.assert_series_equal(table["more_runs"], expected)
    assert not expected.equals(verdicts(plain, margin=0.3)["more_runs"])


def test_exploratory_errors_are_hc3() -> None:
    frame = array(waves=1, t0=1.0)
    frame["accuracy"] *= np.where(frame["t1"] == "on", 3.0, 1.0)
    table = exploratory(frame.drop(index=[0, 3, 4]), FACTORS, "accuracy", "higher")
    plain = frame.drop(index=[0, 3, 4]).drop(columns="block")
    np.testing.assert_allclose(table["se"], effects(plain, FACTORS, "accuracy", "higher", robust=True)["se"])


def test_interacts_is_noted_only_beyond_noise() -> None:
    def line(trick: str, effect: float) -> dict[str, object]:
        return {"trick": trick, "level": "on", "effect": effect, "se": 0.2, "df": 30, "note": ""}

    average = pd.DataFrame([line("a", 1.0), line("b", 0.1), line("c", 1.0)])
    single = pd.DataFrame([line("a", -1.0), line("b", -0.1), line("c", 0.2)])
    assert note_interacts(average, single)["note"].tolist() == [
        "interacts: the average has the other sign",
        "",
        "",
    ]


def test_the_ranking_table_has_the_columns_of_ranking_csv_in_a_fixed_order() -> None:
    frame = array(t0=3.0, t1=-3.0)
    analysis = analyse(frame, FACTORS, Declaration("accuracy", "higher", wave_runs=24), look=2)
    dropped = verdicts(
        paired(finish(drop_one(FACTORS, range(5)).frame(), t0=3.0), FACTORS, "accuracy", "higher"), looks=1
    )
    added = verdicts(
        paired(finish(add_one(FACTORS, range(5)).frame()), FACTORS, "accuracy", "higher", estimand="add-one"),
        looks=1,
    )
    claims = claim_effects(
        frame,
        FACTORS,
        {"t0": ClaimMetric("accuracy", "up"), "t1": ClaimMetric("ece", "same")},
        look=2,
        margins={"ece": 5.0},
    )
    made = [
        ranking_table(
            average=analysis.table, drop_one=dropped.sample(frac=1, random_state=s), add_one=added,
            exploratory=exploratory(frame, FACTORS, "accuracy", "higher"), claims=claims, costs={"t0": (1.25, 1.0)},
        )
        for s in (1, 2)
    ]  # fmt: skip
    pd.testing.assert_frame_equal(*made)
    table = made[0]
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 4 * len(FACTORS)
    top = table[table["estimand"] == "average"].iloc[0]
    assert (top["trick"], top["verdict"], top["claim_verdict"], top["time_ratio"]) == (
        "t0",
        "helps",
        "as claimed",
        1.25,
    )
    t1 = table[(table["estimand"] == "average") & (table["trick"] == "t1")].iloc[0]
    assert (t1["claim_metric"], t1["claim_verdict"]) == ("ece", "as claimed")
    classes = table["verdict"].map(
        ["helps", "undecided", "no measurable effect", "hurts", "exploratory"].index
    )
    assert classes.is_monotonic_increasing
    assert all(group["effect"].is_monotonic_decreasing for _, group in table.groupby(classes))
    assert table.loc[table["estimand"] == "exploratory", "verdict"].eq("exploratory").all()
    assert list(ranking_table().columns) == list(COLUMNS)


def test_claims_are_signed_by_what_was_promised() -> None:
    frame = array(t0=3.0)
    claims = {"t0": ClaimMetric("accuracy", "down")}
    row = claim_effects(frame, FACTORS, claims, look=2).iloc[0]
    assert row["claim_effect"] < -2
    assert row["claim_verdict"] == "contrary to the claim"
    moved = claim_effects(frame, FACTORS, {"t0": ClaimMetric("accuracy", "same")}, look=2).iloc[0]
    assert moved["claim_verdict"] == "contrary to the claim"
    assert claim_effects(frame, FACTORS, {}).empty
    with pytest.raises(InputError, match="did you mean 't1'"):
        claim_effects(frame, FACTORS, {"t11": ClaimMetric("ece", "up")})


def test_the_methods_paragraph_tells_everything() -> None:
    designs = [screening(FACTORS, wave=w, seed=0) for w in (1, 2)]
    frame = array()
    frame.loc[0, ["accuracy", "outcome"]] = [np.nan, "diverged"]
    analysis = analyse(frame, FACTORS, Declaration("accuracy", "higher", margin=0.5), look=2)
    text = methods_paragraph(analysis, designs, trials_before=100, confirmation=drop_one(FACTORS, range(5)))
    for part in ("8 training tricks and one placebo", f"{len(frame)} training runs", "2 waves", "Hadamard order 12", "4 training seeds", "0.0221", "3 planned looks", "±0.5", "fixed before the first run", "1 run of", "100 search trials", "5 fresh paired seeds", "95 % t intervals"):  # fmt: skip
        assert part in text, part
    plain = methods_paragraph(analyse(array(), FACTORS, Declaration("accuracy", "higher")), designs)
    assert "None of the" in plain
    assert "chosen automatically" in plain
    assert "The test split was not used" in plain


def test_exploratory_is_signed_adjusts_for_settings_and_never_judges() -> None:
    draw = np.random.default_rng(0)
    factors = [Factor("dropout"), Factor("mixup"), Factor("optimizer", ("sgd", "adam"))]
    n = 120
    frame = pd.DataFrame({f.name: draw.choice(f.levels, n) for f in factors})
    rate = 10 ** draw.uniform(-3, 0, n)
    on = (frame["dropout"] == "on").to_numpy()
    frame["dropout.p"] = np.where(on, rate, np.nan)
    frame["loss"] = (
        1.0
        - 0.5 * on
        + 0.8 * on * (np.log10(rate) + 1.5)
        + 0.3 * (frame["mixup"] == "on")
        + draw.normal(0, 0.1, n)
    )
    frame["outcome"] = np.where(np.arange(n) < 10, "pruned", "complete")
    plain = exploratory(frame, factors, "loss", "lower").set_index("trick")
    adjusted = exploratory(frame, factors, "loss", "lower", parameters={"dropout": ["dropout.p"]}).set_index(
        "trick"
    )
    assert adjusted["verdict"].eq("exploratory").all()
    assert adjusted["p_adjusted"].isna().all()
    assert adjusted.loc["dropout", "effect"] > 0.3
    assert adjusted.loc["mixup", "effect"] == pytest.approx(-0.3, abs=0.08)
    assert adjusted.loc["mixup", "se"] < plain.loc["mixup", "se"] / 2
    assert adjusted["note"].str.contains("10 pruned").all()
    few = exploratory(frame.iloc[10:17], factors, "loss", "lower").set_index("trick")
    assert few["note"].str.contains("each trick alone").all()
    part = frame.iloc[10:17]
    means = part.groupby("mixup")["loss"].mean()
    assert few.loc["mixup", "effect"] == pytest.approx(means["off"] - means["on"])


def test_the_pilot_tells_sigma_failures_and_a_ruined_arm() -> None:
    factors = [Factor("a"), Factor("b", role="conditional", parent="a")]
    frame = finish(pilot(factors, seed=0).frame())
    reading = read_pilot(frame, factors, "accuracy", "higher")
    values = frame.groupby("a")["accuracy"]
    assert reading.sigma == pytest.approx(np.sqrt(values.var().mean()))
    assert reading.sigma_low < reading.sigma < reading.sigma_high
    assert reading.noise_ratio == pytest.approx(values.std()["on"] / values.std()["off"])
    assert reading.margin == pytest.approx(0.95 * reading.sigma)
    assert reading.warnings == ()
    frame.loc[frame["a"] == "off", "outcome"] = "diverged"
    ruined = read_pilot(frame, factors, "accuracy", "higher")
    assert (ruined.failed_on, ruined.failed_off) == (0, 3)
    assert "must_have" in ruined.warnings[0]
