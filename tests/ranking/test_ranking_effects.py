"""Effects: against brute-force normal equations and closed forms; invariances; missing runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablate.ranking.designs.design import Factor, with_placebo
from ablate.ranking.designs.screening import screening
from ablate.ranking.estimation.effects import effects, fit_effects
from ablate.ranking.estimation.least_squares import least_squares
from ablate.ranking.estimation.outcomes import classify
from ablate.records.errors import InputError

FACTORS = with_placebo([Factor(f"t{i}") for i in range(7)])


def table(seed: int = 0, factors: tuple[Factor, ...] = FACTORS, waves: int = 1) -> pd.DataFrame:
    frame = pd.concat(
        [screening(factors, wave=w + 1, seed=seed).frame() for w in range(waves)], ignore_index=True
    )
    draw = np.random.default_rng(seed)
    frame["accuracy"] = draw.normal(0.9, 0.01, len(frame)) + 0.02 * (
        frame[factors[0].name] != factors[0].levels[0]
    )
    frame["outcome"] = "complete"
    return frame


def normal_equations(columns: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    gram = np.linalg.inv(columns.T @ columns)
    beta = gram @ columns.T @ y
    df = len(y) - columns.shape[1]
    variance = float(np.sum((y - columns @ beta) ** 2) / df)
    return beta, np.sqrt(variance * np.diag(gram)), df


def test_balanced_effects_are_differences_of_means() -> None:
    frame = table()
    estimates = effects(frame, FACTORS, "accuracy", "higher")
    for row in estimates.itertuples():
        on = frame.loc[frame[row.trick] == "on", "accuracy"].mean()
        off = frame.loc[frame[row.trick] == "off", "accuracy"].mean()
        assert row.effect == pytest.approx(on - off, abs=1e-14)
        assert row.se == pytest.approx(2 * row.sigma / np.sqrt(len(frame)))
    assert estimates["df"].eq(len(frame) - len(FACTORS) - 2).all()


def test_against_normal_equations_unbalanced_with_missing_runs_and_a_slot() -> None:
    factors = (*FACTORS, Factor("slot", ("a", "b", "c")))
    frame = table(3, factors, waves=2).drop(index=[0, 5, 6, 11])
    frame.loc[frame.index[[2, 9]], ["accuracy", "outcome"]] = [np.nan, "diverged"]
    estimates = effects(frame, factors, "accuracy", "higher")
    kept = frame[frame["outcome"] == "complete"]
    columns = [(kept[f.name] == level).to_numpy(float) for f in factors for level in f.levels[1:]]
    columns += [(kept["block"] == block).to_numpy(float) for block in kept["block"].unique()]
    beta, se, df = normal_equations(np.array(columns).T, kept["accuracy"].to_numpy())
    np.testing.assert_allclose(estimates["effect"], beta[: len(estimates)], rtol=1e-9)
    np.testing.assert_allclose(estimates["se"], se[: len(estimates)], rtol=1e-9)
    half = stats.t.ppf(0.975, df) * se[: len(estimates)]
    np.testing.assert_allclose(estimates["high"] - estimates["low"], 2 * half, rtol=1e-9)
    p = 2 * stats.t.sf(np.abs(beta / se)[: len(estimates)], df)
    np.testing.assert_allclose(estimates["p"], p, rtol=1e-8)
    assert estimates["runs_failed"].max() == 2


def test_a_conditional_effect_is_the_one_given_the_parent() -> None:
    factors = (*FACTORS, Factor("child", role="conditional", parent="t0"))
    frame = table(1, factors)
    estimates = effects(frame, factors, "accuracy", "higher").set_index("trick")
    on = frame[frame["t0"] == "on"]
    child = on.groupby("child")["accuracy"].mean()
    assert estimates.loc["child", "effect"] == pytest.approx(child["on"] - child["off"], abs=1e-14)
    parent = frame.groupby("t0")["accuracy"].mean()
    assert estimates.loc["t0", "effect"] == pytest.approx(parent["on"] - parent["off"], abs=1e-14)
    assert estimates.loc["child", "runs"] == len(on)
    assert "given t0 on" in estimates.loc["child", "note"]


def test_hc3_against_its_definition() -> None:
    draw = np.random.default_rng(0)
    x = np.column_stack([np.ones(30), draw.normal(size=(30, 3))])
    y = draw.normal(size=30) * np.exp(x[:, 1])
    fit = least_squares(x, y, robust=True)
    gram = np.linalg.inv(x.T @ x)
    beta = gram @ x.T @ y
    hat = np.diag(x @ gram @ x.T)
    weights = ((y - x @ beta) / (1 - hat)) ** 2
    np.testing.assert_allclose(fit.covariance[0], gram @ (x.T * weights) @ x @ gram, rtol=1e-9)


def test_thousands_at_once_equal_one_at_a_time() -> None:
    draw = np.random.default_rng(1)
    x = np.column_stack([np.ones(20), draw.integers(0, 2, (20, 4))])
    y = draw.normal(size=(50, 20))
    y[draw.random((50, 20)) < 0.1] = np.nan
    many = least_squares(x, y)
    for i in range(50):
        one = least_squares(x, y[i])
        for name in ("coefficients", "covariance", "sigma", "df", "residuals"):
            np.testing.assert_allclose(getattr(many, name)[i], getattr(one, name)[0], rtol=1e-9, atol=1e-12)


def test_what_cannot_be_estimated_is_nan_not_a_guess() -> None:
    frame = table()
    frame["t1"] = frame["t0"]
    estimates = effects(frame, FACTORS, "accuracy", "higher").set_index("trick")
    assert estimates.loc[["t0", "t1"], "effect"].isna().all()
    assert estimates.loc["t2", "effect"] == pytest.approx(
        effects(table(), FACTORS, "accuracy", "higher").set_index("trick").loc["t2", "effect"]
    )
    assert "not estimable" in estimates.loc["t0", "note"]
    frame = table()
    frame.loc[frame["t0"] == "on", ["accuracy", "outcome"]] = [np.nan, "diverged"]
    estimates = effects(frame, FACTORS, "accuracy", "higher").set_index("trick")
    assert np.isnan(estimates.loc["t0", "effect"])


def test_as_many_effects_as_runs_gives_no_interval() -> None:
    frame = table().iloc[:8].drop(columns="block")
    estimates = effects(frame, FACTORS, "accuracy", "higher")
    assert estimates[["low", "high", "p"]].isna().all(axis=None)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_invariances(seed: int, scale: float, shift: float) -> None:
    frame = table(seed)
    base = effects(frame, FACTORS, "accuracy", "higher")
    shuffled = effects(frame.sample(frac=1, random_state=seed), FACTORS, "accuracy", "higher")
    np.testing.assert_allclose(
        shuffled[["effect", "low", "high", "p"]], base[["effect", "low", "high", "p"]], rtol=1e-6, atol=1e-9
    )
    lower = effects(frame.assign(accuracy=-frame["accuracy"]), FACTORS, "accuracy", "lower")
    np.testing.assert_allclose(lower["effect"], base["effect"], rtol=1e-9)
    flipped = effects(frame, [Factor(f.name, f.levels[::-1]) for f in FACTORS], "accuracy", "higher")
    np.testing.assert_allclose(flipped["effect"], -base["effect"], rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(flipped["low"], -base["high"], rtol=1e-6, atol=1e-9)
    moved = effects(frame.assign(accuracy=scale * frame["accuracy"] + shift), FACTORS, "accuracy", "higher")
    np.testing.assert_allclose(moved["effect"], scale * base["effect"], rtol=1e-5, atol=1e-9)
    blocked = frame.assign(accuracy=frame["accuracy"] + shift * frame["block"])
    np.testing.assert_allclose(
        effects(blocked, FACTORS, "accuracy", "higher")["effect"], base["effect"], atol=1e-9
    )


def test_outcomes_are_sorted_into_used_failed_and_excluded() -> None:
    frame = pd.DataFrame(
        {
            "outcome": [
                "complete",
                "complete",
                "diverged",
                "failed",
                "out_of_memory",
                "pruned",
                "interrupted",
                "complete",
            ],
            "accuracy": [0.9, np.nan, np.nan, np.nan, np.nan, 0.4, 0.5, 0.1],
        }
    )
    runs = classify(frame, "accuracy", collapse=0.1)
    assert runs.used.tolist() == [True] + [False] * 7
    assert runs.failed.tolist() == [False, True, True, True, True, False, False, True]
    assert runs.excluded.sum() == 2
    loss = classify(pd.DataFrame({"loss": [0.5, 2.3, np.inf]}), "loss", "lower", collapse=2.3)
    assert loss.used.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda f: effects(f, FACTORS, "acuracy", "higher"), "did you mean 'accuracy'"),
        (lambda f: effects(f, FACTORS, "accuracy", "up"), "direction"),
        (lambda f: effects(f, [Factor("t99")], "accuracy", "higher"), "unknown column 't99'"),
        (lambda f: effects(f, [Factor("t0", ("off", "yes"))], "accuracy", "higher"), "level in column 't0'"),
        (lambda f: effects(f.assign(accuracy="a"), FACTORS, "accuracy", "higher"), "not a number"),
        (lambda f: effects(f.assign(outcome="diverged"), FACTORS, "accuracy", "higher"), "no complete run"),
        (
            lambda f: fit_effects(f, [Factor("t0", role="conditional", parent="x")], "accuracy", "higher"),
            "conditional on 'x'",
        ),
    ],
)
def test_bad_input_is_one_line(call, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=says) as caught:
        call(table())
    assert "\n" not in str(caught.value)
