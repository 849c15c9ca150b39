"""The race: declared levels, the closure that its verdicts follow, and what later looks must not change."""

from __future__ import annotations

from itertools import chain, combinations
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from ablate.ranking.designs.racing import PAIRS, Racing, expected_runs
from ablate.ranking.estimation.moderation import Prior
from ablate.ranking.estimation.shared_reference import Effect, SharedComparison
from ablate.ranking.verdicts import racing as verdicts
from ablate.ranking.verdicts.racing import Race, automatic_margin, confidence_of, more_pairs, replay
from ablate.records.errors import InputError

RACING = Racing.up_to(27)
SEEDS = list(range(200))
MARGIN = 0.95


def made(
    effects: dict[str, float], seed: int = 0, pairs: int = 27
) -> tuple[dict[str, dict[int, float]], dict[int, float]]:
    """Arms with `effects` (in σ of a run) and their reference, on all seeds that could be asked for."""
    draw = np.random.default_rng(seed)
    split = 0.5 * draw.standard_normal(len(SEEDS))
    reference = dict(zip(SEEDS, split + draw.standard_normal(len(SEEDS)), strict=True))
    arms = {
        name: dict(zip(SEEDS, effect + split[:pairs] + draw.standard_normal(pairs), strict=False))
        for name, effect in effects.items()
    }
    return arms, reference


def raced(effects: dict[str, float], seed: int = 0, **more: int) -> Race:
    arms, reference = made(effects, seed)
    return replay(arms, reference, SEEDS, {}, RACING, MARGIN, **more)


MANY = {"a": 2.0, "b": -1.5, "c": 0.9, "d": 0.5, "e": 0.2, "f": 0.0, "g": 0.0, "h": 0.0}


def test_the_levels_spend_the_whole_error_and_no_more() -> None:
    for most in (5, 8, 12, 40, 200):
        racing = Racing.up_to(most)
        assert racing.pairs[-1] == most
        assert sum(racing.levels) == pytest.approx(0.05, rel=1e-12)
        assert min(racing.levels) > 0
        assert len(set(racing.levels)) == 1
    assert Racing.from_json(RACING.to_json()) == RACING


@pytest.mark.parametrize("pairs", [(), (8, 8), (12, 8), (1, 4)])
def test_looks_that_do_not_grow_are_refused(pairs: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        Racing(pairs)


def test_the_reference_has_root_k_times_the_runs() -> None:
    assert RACING.reference_runs(0, 9) == 24
    assert RACING.reference_runs(0, 0) == RACING.pairs[0]


def test_the_expected_runs_are_those_of_a_race_that_decides_as_expected() -> None:
    racing = Racing((8, 12))
    assert expected_runs(racing, 4, (0.0, 0.0)) == 4 * 12 + 24
    assert expected_runs(racing, 4, (0.5,)) == 4 * 8 + 2 * 4 + 17
    assert expected_runs(racing, 4, (1.0,)) == 4 * 8 + 16


class Scripted:
    """In place of the comparison: effects that are drawn for each look, so that every p-value is known."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        self.asked: list[dict[str, Effect]] = []

    def __call__(self, arms, reference, alone=()):
        drift = {name: 2.5 * (ord(name[0]) % 2) for name in arms}
        effects = {
            name: Effect(float(self.draw.normal(drift[name])), float(self.draw.choice([0.3, 1.0])), 30.0, 8)
            for name in arms
        }
        self.asked.append(effects)
        return SharedComparison(effects, 1.0, 1.0, Prior(1.0, 1.0), 8)


def closed_test(looks: list[dict[str, Effect]], names: list[str], *, memory: bool) -> dict[str, int]:
    """Hypothesis -> the look at which it is rejected, from the definition of a closed test: when every set of hypotheses that
    holds it is rejected. A set is, when one of its members that is still tested has p ≤ level / size.

    `memory`: a set that was rejected at one look stays so, which is what keeps the error over all looks. Without it only sets
    that hold a rejected hypothesis do. Hypotheses whose effect is shown to be small, or that the
    pairs that are left would not decide, are tested no longer.
    """
    sets = list(chain.from_iterable(combinations(names, size) for size in range(1, len(names) + 1)))
    gone: set[tuple[str, ...]] = set()
    rejected: dict[str, int] = {}
    stopped: set[str] = set()
    for look, (effects, level) in enumerate(zip(looks, RACING.levels, strict=False)):
        p = {
            name: 2 * float(stats.t.sf(abs(one.effect) / one.se, one.df))
            for name, one in effects.items()
            if name not in stopped and name not in rejected
        }
        if not memory:
            gone = {members for members in sets if any(name in rejected for name in members)}
        gone |= {s for s in sets if any(name in p and p[name] <= level / len(s) for name in s)}
        new = {name: look for name in p if all(s in gone for s in sets if name in s)}
        small = {
            name
            for name in p
            if stats.t.sf((MARGIN - abs(effects[name].effect)) / effects[name].se, effects[name].df)
            <= min(level, 0.025)
        }
        rejected |= new
        stopped |= small - set(new)
        if RACING.pairs[look] >= 18:
            stopped |= {name for name in p if not promising(effects[name], RACING.pairs[look], len(names))}
    return rejected


def promising(effect: Effect, pairs: int, family: int) -> bool:
    """Whether twice the pairs that are left would decide an arm whose estimate stayed as it is."""
    more = 2 * (RACING.pairs[-1] - pairs)
    se, df = effect.se * np.sqrt(effect.pairs / (effect.pairs + more)), effect.df + more
    level = RACING.levels[-1]
    sign = 2 * stats.t.sf(abs(effect.effect) / se, df) <= level / family
    return bool(sign or stats.t.sf((MARGIN - abs(effect.effect)) / se, df) <= min(level, 0.025))


@pytest.mark.parametrize("seed", range(25))
def test_verdicts_are_those_of_a_closed_test(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    names = list("abcdef")
    scripted = Scripted(seed)
    monkeypatch.setattr(verdicts, "compare_to_reference", scripted)
    arms = {name: dict.fromkeys(SEEDS, 0.0) for name in names}
    race = replay(arms, dict.fromkeys(SEEDS, 0.0), SEEDS, {}, RACING, MARGIN)
    called = {name: row.look for name, row in race.rows.items() if row.verdict.startswith(("helps", "hurts"))}
    assert called == closed_test(scripted.asked, names, memory=False)
    over_all_looks = closed_test(scripted.asked, names, memory=True)
    assert all(over_all_looks.get(name, 99) <= look for name, look in called.items())


def test_an_arm_that_was_decided_does_not_count_at_later_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two arms: the first is called at a look; then the second needs the whole level of the next look and not half of it."""
    first, second = (RACING.levels[look] for look in (0, 1))
    p = iter([{"a": 0.45 * first, "b": 0.5}, {"a": 0.9, "b": 0.9 * second}])

    def scripted(arms, reference, alone=()):
        effects = {
            name: Effect(float(stats.norm.isf(value / 2)), 1.0, np.inf, 8) for name, value in next(p).items()
        }
        return SharedComparison(effects, 1.0, 1.0, Prior(1.0, 1.0), 8)

    monkeypatch.setattr(verdicts, "compare_to_reference", scripted)
    values = dict.fromkeys(SEEDS, 0.0)
    race = replay({"a": values, "b": values}, values, SEEDS, {}, RACING, 0.1, looks=2)
    assert {name: row.look for name, row in race.rows.items() if row.verdict == "helps"} == {"a": 0, "b": 1}


def test_an_arm_that_is_stopped_is_run_no_further_and_still_counts() -> None:
    arms, reference = made({"a": 0.35, "b": 0.35, "c": 0.35}, seed=5)
    whole = replay(arms, reference, SEEDS, {}, RACING, 0.6)
    assert set(whole.undecided) == set(arms)
    short = {**arms, "b": {seed: arms["b"][seed] for seed in SEEDS[: RACING.pairs[1]]}}
    waits = replay(short, reference, SEEDS, {}, RACING, 0.6)
    assert (waits.needed, waits.rows["a"].pairs) == (RACING.pairs[2], RACING.pairs[1])
    race = replay(short, reference, SEEDS, {}, RACING, 0.6, stopped={"b": 2})
    assert (race.rows["b"].pairs, race.rows["b"].verdict) == (RACING.pairs[1], "undecided")
    assert race.rows["a"].pairs > race.rows["b"].pairs
    least = min(race.rows["a"], race.rows["c"], key=lambda row: row.p)
    assert least.p_adjusted == pytest.approx(min(1.0, 3 * least.p))


def test_what_is_decided_stays_as_it_was() -> None:
    whole = raced(MANY)
    assert len({row.look for row in whole.rows.values()}) > 1
    for looks in range(1, len(RACING.pairs)):
        part = raced(MANY, looks=looks)
        for name, row in part.rows.items():
            if row.verdict != "undecided":
                assert whole.rows[name] == row


def test_runs_beyond_the_decision_change_nothing() -> None:
    arms, reference = made(MANY)
    race = replay(arms, reference, SEEDS, {}, RACING, MARGIN)
    short = {
        name: {seed: arms[name][seed] for seed in SEEDS[: RACING.pairs[row.look]]}
        for name, row in race.rows.items()
    }
    assert replay(short, reference, SEEDS, {}, RACING, MARGIN).rows == race.rows


def test_an_arm_keeps_all_seeds_of_its_last_look_though_some_runs_have_no_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arms, reference = made(MANY)
    arms["a"][3] = float("nan")
    seen: list[int] = []

    def watched(given, *rest):
        seen.append(len(given["a"]))
        return verdicts_compare(given, *rest)

    verdicts_compare = verdicts.compare_to_reference
    monkeypatch.setattr(verdicts, "compare_to_reference", watched)
    race = replay(arms, reference, SEEDS, {}, RACING, MARGIN)
    assert race.rows["a"].look == 0
    assert race.rows["a"].pairs == 7
    assert len(seen) > 1
    assert set(seen) == {8}


def test_a_race_asks_for_the_runs_of_its_next_look_alone() -> None:
    arms, reference = made(MANY)
    nothing = replay({name: {} for name in arms}, {}, SEEDS, {}, RACING, MARGIN)
    assert (nothing.needed, nothing.reference_needed) == (8, RACING.reference_runs(0, 8))
    first = {name: dict(list(values.items())[:8]) for name, values in arms.items()}
    then = replay(first, reference, SEEDS, {}, RACING, MARGIN)
    assert then.needed == 12
    assert 0 < len(then.undecided) < 8
    done = replay(arms, reference, SEEDS, {}, RACING, MARGIN)
    assert (done.needed, done.reference_needed) == (0, 0)


def test_large_effects_are_decided_early_and_in_the_right_direction() -> None:
    for seed in range(8):
        rows = raced(MANY, seed).rows
        assert rows["a"].verdict == "helps"
        assert rows["b"].verdict == "hurts"
        assert rows["a"].look <= 2


@pytest.mark.parametrize(
    ("most", "levels"),
    [(8, [0.95]), (10, [0.95, 0.95]), (18, [1 - 0.1 / 3, 1 - 0.1 / 3, 0.95]), (27, [0.97] * 3 + [0.95])],
)
def test_an_interval_of_an_arm_that_stopped_early_is_wider_but_never_than_its_test(
    most: int, levels: list[float]
) -> None:
    racing = Racing.up_to(most)
    assert [confidence_of(racing, look) for look in range(len(levels))] == pytest.approx(levels)


@pytest.mark.parametrize("most", [8, 10, 18, 27])
def test_an_interval_agrees_with_its_verdict(most: int) -> None:
    """It lies inside the margin where there is no measurable effect, and on one side of zero where there is one."""
    found = set()
    for seed in range(40):
        arms, reference = made({"big": 2.0, "some": -0.6, "none": 0.0}, seed)
        for row in replay(arms, reference, SEEDS, {}, Racing.up_to(most), MARGIN).rows.values():
            found.add(row.verdict)
            if row.verdict == "no measurable effect":
                assert -MARGIN < row.low < row.high < MARGIN
            elif row.verdict != "undecided":
                assert row.low * row.high > 0
    assert {"helps", "no measurable effect"} <= found


@pytest.mark.parametrize("effects", [(0.75, -0.75, 0.75), (2.0, 0.0, -1.0)])
def test_arms_that_stop_where_chance_has_moved_them_have_intervals_that_hold_their_effect(
    effects: tuple[float, ...],
) -> None:
    """Nominal 95 % intervals at the look that decides hold 0.92 and 0.93 of these arms."""
    held = [
        row.low <= effect <= row.high
        for seed in range(300)
        for effect, row in zip(effects, raced(dict(zip("abc", effects, strict=True)), seed).rows.values(), strict=True)
    ]  # fmt: skip
    assert np.mean(held) > 0.94


def test_turning_all_signs_turns_all_verdicts() -> None:
    arms, reference = made(MANY)
    race = replay(arms, reference, SEEDS, {}, RACING, MARGIN)
    turned = replay(
        {name: {seed: -value for seed, value in values.items()} for name, values in arms.items()},
        {seed: -value for seed, value in reference.items()}, SEEDS, {}, RACING, MARGIN,
    )  # fmt: skip
    for name, row in race.rows.items():
        other = turned.rows[name]
        assert other.effect == pytest.approx(-row.effect)
        assert (other.low, other.high) == pytest.approx((-row.high, -row.low))
        word = row.verdict.replace("helps", "·").replace("hurts", "helps").replace("·", "hurts")
        assert other.verdict == word


def test_a_small_effect_that_is_certain_is_not_called_helps_without_a_little() -> None:
    arms = {"x": {seed: 0.1 + 1e-3 * (seed % 3) for seed in SEEDS}, **made({"y": 0.0, "z": 0.0})[0]}
    reference = {seed: 1e-3 * (seed % 2) for seed in SEEDS}
    row = replay(arms, reference, SEEDS, {}, RACING, MARGIN).rows["x"]
    assert row.verdict == "helps a little"


def test_what_tuning_leaves_open_widens_the_interval_and_more_pairs_do_not_narrow_that_part() -> None:
    arms, reference = made({"x": 1.0, "y": 0.0, "z": 0.0})
    plain, wide = (
        replay(arms, reference, SEEDS, {}, RACING, MARGIN, looks=1, tuning_se={"x": off}).rows["x"]
        for off in (0.0, 0.3)
    )
    assert wide.se == pytest.approx(np.hypot(plain.se, 0.3))
    assert wide.df > plain.df
    assert wide.low < plain.low < plain.high < wide.high
    assert (wide.effect, wide.tuning_se) == (plain.effect, 0.3)
    far_off = replay(arms, reference, SEEDS, {}, RACING, MARGIN, tuning_se={"x": 5.0}).rows["x"]
    assert far_off.verdict == "undecided"
    assert more_pairs(far_off, RACING.levels[-1], 3, MARGIN) is None


def test_equal_scores_at_one_rate_are_no_proof_that_an_arm_computes_the_same() -> None:
    """Another rate may be the arm's best; only an arm that computes the same at every rate has no error of tuning."""
    arms, reference = made({"x": 0.0, "y": 0.0, "z": 0.0})
    arms["x"] = dict(reference)
    open_, copied, plain = (
        replay(arms, reference, SEEDS, {}, RACING, MARGIN, **more).rows["x"]
        for more in ({"tuning_se": {"x": 0.1}}, {"tuning_se": {"x": 0.1}, "copies": ["x"]}, {})
    )
    assert (open_.effect, open_.se, open_.same) == (0.0, 0.1, False)
    decided_early = NormalDist().inv_cdf(1 - 0.03 / 2)
    assert open_.high == -open_.low == pytest.approx(decided_early * 0.1, rel=1e-3)
    assert open_.verdict == "no measurable effect"
    for row in (copied, plain):
        assert (row.low, row.high, row.same, row.verdict) == (0.0, 0.0, True, "no measurable effect")
    far_off = replay(arms, reference, SEEDS, {}, RACING, MARGIN, tuning_se={"x": 5.0}).rows["x"]
    assert far_off.verdict == "undecided"


def test_an_arm_that_no_pairs_would_decide_is_run_no_further() -> None:
    arms, reference = made({"x": 0.0, "y": -0.2, "z": 0.0})
    off = {"x": 5.0}
    first = {name: dict(list(values.items())[:18]) for name, values in arms.items()}
    race = replay(first, reference, SEEDS, {}, RACING, MARGIN, tuning_se=off)
    assert race.rows["x"].verdict == "undecided"
    assert "x" in race.undecided
    assert "x" not in race.running
    # Its runs of the next look are not missed by the others.
    whole = replay({**arms, "x": first["x"]}, reference, SEEDS, {}, RACING, MARGIN, tuning_se=off)
    assert whole.rows["x"] == race.rows["x"]
    assert whole.needed == 0
    assert whole.undecided == ("x",)


def test_the_automatic_margin_is_bounded_by_what_a_person_calls_large() -> None:
    assert automatic_margin(0.004, 0.97, share=True) == pytest.approx(0.0038)
    assert automatic_margin(0.05, 0.97, share=True) == 0.02
    assert automatic_margin(0.05, 0.4, share=False) == pytest.approx(0.02)
    assert automatic_margin(float("nan"), float("nan"), share=False) == 0.02


def test_the_pairs_that_would_decide_shrink_with_the_effect() -> None:
    rows = [raced({"x": effect, "y": 0.0, "z": 0.0}, looks=1).rows["x"] for effect in (0.3, 0.6)]
    needs = [more_pairs(row, RACING.levels[-1], 3, MARGIN) for row in rows]
    assert all(need is None or need > 0 for need in needs)
    assert PAIRS[0] == RACING.pairs[0]
