"""Verdicts: Pocock's levels recomputed, Holm and TOST against their definitions, words and forecasts."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sweep import sweep

from ablate.ranking.designs.design import Factor
from ablate.ranking.designs.power import design_power
from ablate.ranking.designs.screening import screening
from ablate.ranking.verdicts.sequential import POCOCK, decide, equivalence, holm, nominal_level, two_sided
from ablate.ranking.verdicts.verdicts import decided, largest_margin, verdicts
from ablate.records.errors import InputError


def row(
    effect: float, se: float = 0.1, df: float = 60, trick: str = "t", sigma: float = 1.0
) -> dict[str, object]:
    return {
        "trick": trick,
        "level": "on",
        "effect": effect,
        "se": se,
        "df": df,
        "sigma": sigma,
        "runs": 64,
        "note": "",
    }


@sweep("looks", range(1, 11))
def test_pocock_levels_spend_five_per_cent(looks: int) -> None:
    """The recursion of Armitage, McPherson & Rowe (J. R. Stat. Soc. A 132, 1969) on a grid."""
    z = float(stats.norm.isf(nominal_level(looks) / 2))
    grid = np.linspace(-z, z, 1201)
    step = grid[1] - grid[0]
    weight = np.full(len(grid), step)
    weight[[0, -1]] /= 2
    density = stats.norm.pdf(grid)  # of the sum, among those that went on
    for look in range(2, looks + 1):
        wider = np.linspace(-z * np.sqrt(look), z * np.sqrt(look), len(grid))
        density = stats.norm.pdf(wider[:, None] - grid[None, :]) @ (density * weight)
        grid = wider
        weight = np.full(len(grid), grid[1] - grid[0])
        weight[[0, -1]] /= 2
    spent = 1 - float(density @ weight)
    # The table has four decimals: half a unit of the last is up to 0.0003 of the whole.
    assert spent == pytest.approx(0.05, abs=0.0003)


def test_pocock_is_a_table_of_falling_levels_and_ends() -> None:
    assert list(POCOCK) == sorted(POCOCK, reverse=True)
    assert nominal_level(3) == 0.0221
    for looks in (0, 11):
        with pytest.raises(InputError, match="looks"):
            nominal_level(looks)


def holm_by_definition(p: list[float], alpha: float) -> set[int]:
    """Reject while p_(i) ≤ alpha / (m - i)."""
    rejected: set[int] = set()
    for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[i] > alpha / (len(p) - step):
            break
        rejected.add(i)
    return rejected


@settings(max_examples=150, deadline=None)
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=12), alpha=st.sampled_from([0.01, 0.0221, 0.05, 0.2]))
def test_holm_rejects_what_the_definition_rejects(p: list[float], alpha: float) -> None:
    adjusted = holm(np.array(p))
    step = {i for i in range(len(p)) if adjusted[i] <= alpha}
    # Multiplying instead of dividing may differ in the last digit, exactly at the boundary.
    edge = any(abs(a - alpha) < 1e-12 for a in adjusted)
    assert edge or step == holm_by_definition(p, alpha)


def test_holm_ignores_the_order_and_what_is_missing() -> None:
    p = np.array([0.01, 0.04, 0.03, np.nan])
    expected = np.array([0.03, 0.06, 0.06, np.nan])
    for order in permutations(range(4)):
        np.testing.assert_allclose(holm(p[list(order)]), expected[list(order)])
    np.testing.assert_allclose(holm(np.stack([p, p[::-1]])), np.stack([expected, expected[::-1]]))
    assert np.isnan(holm(np.array([np.nan, np.nan]))).all()


def test_equivalence_is_the_shorter_interval_inside_the_margin() -> None:
    draw = np.random.default_rng(0)
    for _ in range(300):
        effect, se, df, margin = (
            draw.normal(),
            draw.uniform(0.1, 1),
            draw.integers(2, 50),
            draw.uniform(0.2, 3),
        )
        p = float(equivalence(np.array(effect), np.array(se), np.array(df), margin))
        for alpha in (0.0221, 0.05):
            half = stats.t.ppf(1 - alpha, df) * se
            assert (p <= alpha) == (-margin <= effect - half and effect + half <= margin)


def test_two_sided_is_the_t_test() -> None:
    x = np.random.default_rng(1).normal(0.4, 1, 12)
    expected = stats.ttest_1samp(x, 0).pvalue
    assert two_sided(
        np.array(x.mean()), np.array(x.std(ddof=1) / np.sqrt(12)), np.array(11)
    ) == pytest.approx(expected)


def test_every_word() -> None:
    table = pd.DataFrame([row(2.0, trick="a"), row(-2.0, trick="b"), row(0.01, trick="c"), row(0.3, 0.4, trick="d"), row(np.nan, np.nan, trick="e"), row(0.45, trick="f"), row(0.0, 0.0, trick="placebo")])  # fmt: skip
    judged = verdicts(table, wave_runs=32, total_runs=64, look=2).set_index("trick")
    assert judged["verdict"].to_dict() == {
        "a": "helps", "b": "hurts", "c": "no measurable effect", "d": "undecided", "e": "undecided", "f": "helps a little",
        "placebo": "no measurable effect",
    }  # fmt: skip
    assert judged.loc["a", "note"] == judged.loc["b", "note"] == "by at least the margin"
    assert judged.loc["f", "note"] == "by less than the margin"
    assert judged["margin"].eq(0.95).all()
    assert judged["margin_auto"].all()
    assert judged.loc["d", "more_runs"] % 32 == 0
    assert judged.loc["d", "note"].startswith("not decidable within budget: ≈")
    assert not decided(judged.reset_index())
    assert decided(judged.drop(index=["d", "e"]).reset_index())
    only_placebo = verdicts(pd.DataFrame([row(2.0, trick="a"), row(0.5, 0.4, trick="placebo")]))
    assert decided(only_placebo)


def test_an_automatic_margin_is_no_more_than_what_is_called_large() -> None:
    noisy = verdicts(pd.DataFrame([row(0.3)]), sigma=3.0, large=0.02)
    assert noisy["margin"].tolist() == [0.02]
    assert noisy["margin_auto"].all()
    assert verdicts(pd.DataFrame([row(0.3)]), sigma=3.0, large=9.0)["margin"].tolist() == [
        pytest.approx(2.85)
    ]
    assert verdicts(pd.DataFrame([row(0.3)]), margin=2.0, large=0.02)["margin"].tolist() == [2.0]
    accuracy, loss = pd.Series([0.5, 0.9, np.nan]), pd.Series([2.0, 2.2, 1e30])
    assert largest_margin(accuracy, "higher") == 0.02
    assert largest_margin(loss, "lower") == pytest.approx(0.05 * 2.2), "one that diverged does not count"
    assert largest_margin(100 * accuracy, "higher") == pytest.approx(3.5)
    assert largest_margin(pd.Series([0.0, 0.0]), "lower") is None


def test_a_margin_in_the_metrics_units_is_kept() -> None:
    judged = verdicts(pd.DataFrame([row(0.3)]), margin=2.0)
    assert judged["margin"].tolist() == [2.0]
    assert not judged["margin_auto"].any()
    from_pilot = verdicts(pd.DataFrame([row(0.3)]), sigma=3.0)
    assert from_pilot["margin"].tolist() == [pytest.approx(2.85)]


@settings(max_examples=60, deadline=None)
@given(effect=st.floats(-2, 2), se=st.floats(0.05, 1), df=st.integers(10, 80))
def test_the_forecast_is_enough_and_no_more_than_enough(effect: float, se: float, df: int) -> None:
    table = pd.DataFrame([row(effect, se, df)])
    judged = verdicts(table, margin=0.95, wave_runs=32, total_runs=32)
    if judged["verdict"].item() != "undecided" or pd.isna(judged["more_runs"].item()):
        return
    more = int(judged["more_runs"].item())
    for extra, expected in ((more, False), (more - 32, True)):
        if extra == 0:
            continue
        later = pd.DataFrame([row(effect, se * np.sqrt(32 / (32 + extra)), df + extra)])
        assert (verdicts(later, margin=0.95)["verdict"].item() == "undecided") == expected


def test_the_forecast_counts_the_tricks_that_are_still_open() -> None:
    alone = verdicts(pd.DataFrame([row(0.9, 0.4)]), margin=0.5, wave_runs=32)["more_runs"].iloc[0]
    crowd = verdicts(pd.DataFrame([row(0.9, 0.4, trick=str(i)) for i in range(12)]), margin=0.5, wave_runs=32)
    assert crowd["more_runs"].iloc[0] > alone


@settings(max_examples=60, deadline=None)
@given(effects=st.lists(st.floats(-3, 3), min_size=1, max_size=8), margin=st.floats(0.1, 2))
def test_turning_the_sign_turns_helps_into_hurts(effects: list[float], margin: float) -> None:
    effect = np.array(effects)
    se, df = np.full(len(effects), 0.3), np.full(len(effects), 40.0)
    code, p = decide(effect, se, df, margin, 0.0221)
    other, q = decide(-effect, se, df, margin, 0.0221)
    swap = {1: -1, -1: 1, 0: 0, 2: 2}
    assert [swap[int(c)] for c in code] == other.tolist()
    np.testing.assert_allclose(p, q)


def test_no_effect_always_shows_an_interval_inside_the_margin() -> None:
    draw = np.random.default_rng(2)
    table = pd.DataFrame([row(draw.normal(0, 0.3), draw.uniform(0.1, 0.4), trick=str(i)) for i in range(200)])
    for looks in (1, 3):
        judged = verdicts(table, margin=0.95, looks=looks)
        small = judged[judged["verdict"] == "no measurable effect"]
        assert len(small) > 10
        assert (small["effect"].abs() + stats.t.ppf(0.975, small["df"]) * small["se"] <= 0.95 + 1e-12).all()


@pytest.mark.parametrize(
    ("given", "says"),
    [({"margin": 0.0}, "margin"), ({"margin": np.nan}, "margin"), ({"look": 4}, "look 4 of 3")],
)
def test_bad_plans(given: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        verdicts(pd.DataFrame([row(0.0)]), **given)  # type: ignore[arg-type]


def power(effect: float, runs: int, k: int, *, level: float, blocks: int = 2) -> float:
    """Power for one of `k` tricks in a balanced two-level array: noncentral t, tested at `level` / k."""
    df = runs - k - blocks
    critical = stats.t.ppf(1 - level / k / 2, df)
    return float(stats.nct.sf(critical, df, effect * np.sqrt(runs) / 2))


def test_power_against_simulation() -> None:
    draw = np.random.default_rng(3)
    n, k, effect, many = 64, 12, 1.0, 20_000
    se = np.sqrt(draw.chisquare(n - k - 2, many) / (n - k - 2)) * 2 / np.sqrt(n)
    estimate = effect + 2 / np.sqrt(n) * draw.standard_normal(many)
    share = (two_sided(estimate, se, np.full(many, n - k - 2.0)) <= 0.05 / k).mean()
    assert power(effect, n, k, level=0.05) == pytest.approx(share, abs=0.01)


def test_design_power_agrees_with_the_formula_and_shows_what_a_condition_costs() -> None:
    plain = design_power(screening([Factor(f"t{i}") for i in range(12)], wave=1, seed=0), 1.0, waves=2)
    np.testing.assert_allclose(plain["standard_error"], 2 / np.sqrt(64))
    np.testing.assert_allclose(
        plain["power"], power(1.0, 64, 12, level=nominal_level(3), blocks=4), rtol=1e-6
    )
    factors = [*(Factor(f"t{i}") for i in range(11)), Factor("child", role="conditional", parent="t0")]
    nested = design_power(screening(factors, wave=1, seed=0), 1.0, waves=2).set_index("trick")
    assert nested.loc["child", "standard_error"] == pytest.approx(
        np.sqrt(2) * nested.loc["t0", "standard_error"]
    )
