"""The tuned design: arms, equal tuning, racing, the lean recipe and the ladder; on made scores and on real, tiny trainings."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import hypot, log10
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from study_samples import TABULAR, Heard, place, without_durations

from ablate.analysis.tuned_arms import counts
from ablate.catalogue.registry import registry
from ablate.ledger.entry import Entry
from ablate.ranking.designs.racing import Racing
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run
from ablate.records.trick import PLACEBO
from ablate.study.ranking import tuning
from ablate.study.ranking.arms import Arm, arms_of, estimands_of, rate_of, with_rate
from ablate.study.ranking.budget import Spent, check_budget, runs_of
from ablate.study.ranking.divide import FIRST_LOOK, after_first_tuning, after_tuning, divide
from ablate.study.ranking.estimates import FLOOR, LEVELS, TUNED_LEVEL, expected, first_look_runs
from ablate.study.ranking.helped_baseline import with_helps
from ablate.study.ranking.ladder import rungs_of
from ablate.study.ranking.races import Races
from ablate.study.ranking.scores import floor_of
from ablate.study.ranking.tuned import Tuned, TunedStage
from ablate.study.ranking.tuning import (
    FURTHER_ROUNDS,
    FURTHER_TIMES,
    LEAST_ROUNDS,
    continue_tuning,
    seeds_of,
    tune,
)
from ablate.study.ranking.tuning_points import (
    OFFSETS,
    Point,
    TuningBudget,
    at_edge,
    chosen_of,
    even,
    lattice,
    points_of,
    reference_tuning,
)

CATALOGUE = registry()
BASELINE = Recipe.of(CATALOGUE, {"momentum": {"lr": 0.1}, "cosine": True, "weight_decay": {"decay": 1e-4}})
BUDGET = TuningBudget()
TASK = TABULAR.replace("randn(100, 4", "randn(200, 4").replace("epochs=2", "epochs=3")
STUDY = """
[baseline]
optimizer = { name = "momentum", lr = 0.1 }
[space]
include = ["dropout", "label_smoothing", "optimizer"]
[search]
trials = 8
[rank]
budget = "500runs"
[confirm]
seeds = 3
"""


def arms(
    reference: Recipe = BASELINE, names=("dropout", "adamw", "cosine_restarts", "activation"), liked=None
):
    return arms_of("add-one", reference, names, CATALOGUE, liked or {}, 3)


def test_every_trick_of_reference_and_candidates_has_an_arm_or_a_reason() -> None:
    plan = arms()
    by_trick = {arm.trick: arm for arm in plan.arms}
    assert set(by_trick) == {
        "",
        PLACEBO,
        "activation",
        "adamw",
        "cosine",
        "cosine_restarts",
        "dropout",
        "weight_decay",
    }
    assert set(plan.left_out) == {"momentum"}
    assert by_trick["cosine"].sign == by_trick["weight_decay"].sign == -1
    assert by_trick["cosine"].recipes == (BASELINE.without("cosine"),)
    # A trick of a filled slot replaces what stands there; an optimizer with its own decay replaces both.
    assert by_trick["cosine_restarts"].against == "cosine"
    assert by_trick["adamw"].against == "momentum and weight_decay"
    assert all("weight_decay" not in recipe for recipe in by_trick["adamw"].recipes)
    kinds = {recipe["activation"]["kind"] for recipe in by_trick["activation"].recipes}
    assert kinds == set(CATALOGUE["activation"].parameter("kind").choices)


def test_what_the_recipe_may_go_back_to_is_tried_as_the_baseline_has_it() -> None:
    """Its optimizer begins at its own rate, not at a default that is scaled as the other optimizer's rate is."""
    baseline = Recipe.of(
        CATALOGUE, {"momentum": {"lr": 0.03, "momentum": 0.95}, "cosine_restarts": {"cycle": 2}}
    )
    found = Recipe.of(CATALOGUE, {"adamw": {"lr": 0.05}, "cosine": True})
    plan = arms_of("toggle", found, [*baseline, "linear"], CATALOGUE, {}, 3, baseline)
    arms_by_trick = {arm.trick: arm for arm in plan.arms}
    for name in baseline:
        assert [recipe[name] for recipe in arms_by_trick[name].recipes] == [baseline[name]]
    assert rate_of(arms_by_trick["linear"].recipes[0], CATALOGUE) == 0.05


def test_a_recipe_found_that_differs_in_the_rate_alone_is_not_compared_with_itself() -> None:
    assert estimands_of(with_rate(BASELINE, CATALOGUE, 0.03), BASELINE) == ("add-one",)
    slower = {"lr": 0.1, "momentum": 0.95}
    assert estimands_of(BASELINE.with_trick(CATALOGUE, "momentum", slower), BASELINE) == ("add-one", "toggle")


def test_an_enemy_that_is_no_optimizer_is_left_out_with_the_reason() -> None:
    reference = Recipe.of(CATALOGUE, {"adamw": {"lr": 0.001}})
    plan = arms(reference, ["weight_decay", "dropout"])
    assert "cannot be combined" in plan.left_out["weight_decay"]
    assert "dropout" in {arm.trick for arm in plan.arms}


def test_settings_are_the_default_what_was_liked_and_others_but_never_neutral() -> None:
    liked = {"dropout": [{"p": p, "profile": "rising", "scaling": "training"} for p in (0.1, 0.2, 0.3)]}
    (arm,) = (arm for arm in arms(liked=liked).arms if arm.trick == "dropout")
    tried = [recipe["dropout"]["p"] for recipe in arm.recipes]
    assert tried[:2] == [0.5, 0.2]
    assert len(tried) == 3
    assert 0.0 not in tried
    assert arm.recipes[1]["dropout"]["profile"] == "rising"


@pytest.mark.parametrize("rate", [0.003, 0.01, 0.05, 0.07, 0.1, 0.9, 3.0])
def test_the_lattice_has_six_rates_a_decade(rate: float) -> None:
    near = lattice(rate)
    assert float(f"{near:e}".split("e")[0]) in (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    assert abs(log10(near / rate)) <= log10(5 / 3) / 2 + 1e-9
    steps = [lattice(rate, places) for places in range(-3, 4)]
    assert steps == sorted(steps)
    assert lattice(near, 6) == pytest.approx(10 * near)


def test_studies_begun_at_other_rates_try_the_same_ones() -> None:
    def rates(lr: float) -> set[float | None]:
        arm = Arm("add-one", "", (with_rate(BASELINE, CATALOGUE, lr),))
        return {point.rate for point in points_of(arm, CATALOGUE, BUDGET, even(lr) / lr)}

    assert len(rates(0.1) & rates(0.05)) >= 6
    assert len(rates(0.1) & rates(0.2)) >= 6


class World:
    """Made scores: every optimizer and trick has a best rate of its own; noise by seed; every run is counted."""

    def __init__(self, best: dict[str, float], noise: float = 0.002) -> None:
        self.best, self.noise, self.runs = best, noise, Counter()

    def __call__(self, rows):
        scores = []
        for name, recipe, seed in rows:
            self.runs[name] += 1
            rate = rate_of(recipe, CATALOGUE)
            key = next((trick for trick in self.best if trick in recipe), "momentum")
            scores.append(
                -0.02 * log10(rate / self.best[key]) ** 2
                + self.noise * np.random.default_rng([seed, round(1e6 * rate)]).normal()
            )
        return scores


def tuned_rates(world: World, plan) -> dict[str, float | None]:
    names = {arm.name: "add-one: baseline" for arm in plan.arms}
    seeds = {
        arm.name: list(range(1000 * (arm.trick == PLACEBO), 1000 * (arm.trick == PLACEBO) + seeds_of(BUDGET)))
        for arm in plan.arms
    }
    points = tune(plan.arms, names, CATALOGUE, BUDGET, seeds, world)
    return {
        name: next(point.rate for point in points_of_arm if point.chosen)
        for name, points_of_arm in points.items()
    }


def test_each_arm_is_run_at_its_own_best_rate_found_at_equal_budget() -> None:
    world = World({"dropout": 1.0, "cosine_restarts": 0.02, "adamw": 0.005, "momentum": 0.1})
    rates = tuned_rates(world, arms(names=("dropout", "cosine_restarts", "adamw")))
    best = {"baseline": 0.1, "placebo": 0.1, "dropout": 1.0, "cosine_restarts": 0.02, "adamw": 0.005}
    for name, rate in best.items():
        assert rates[f"add-one: {name}"] in {lattice(rate, places) for places in (-1, 0, 1)}
    reference, thorough = world.runs.pop("add-one: baseline"), reference_tuning(BUDGET)
    assert reference >= thorough.first + LEAST_ROUNDS * thorough.finalists * thorough.repeats
    assert max(world.runs.values()) <= BUDGET.runs
    for same in ("cosine", "weight_decay"):  # in this world nothing changes without them: one rate is enough
        assert rates[f"add-one: {same}"] == rates["add-one: baseline"]
        del world.runs[f"add-one: {same}"]
    assert min(world.runs.values()) >= max(n for n in OFFSETS if n <= BUDGET.first)


def test_further_tuning_goes_on_where_tuning_stopped_and_leaves_less_to_lose() -> None:
    world = World({"dropout": 0.5, "momentum": 0.1}, noise=0.01)
    plan = arms(names=("dropout",))
    reference, names = plan.arms[0], {arm.name: "add-one: baseline" for arm in plan.arms}
    budget = TuningBudget(9, 4, 2, 1)
    arm = next(arm for arm in plan.arms if arm.trick == "dropout")
    losses = []
    for number in range(5):
        seeds = {one.name: list(range(1000 * number, 1000 * number + seeds_of(BUDGET))) for one in plan.arms}
        points = tune(plan.arms, names, CATALOGUE, budget, seeds, world, 0.01)
        world.runs.clear()
        longer = continue_tuning(
            [arm], {arm.name: reference}, points, CATALOGUE, budget, seeds, world, 0.01, share=0.05
        )  # fmt: skip
        assert set(world.runs) == {arm.name}
        assert (
            budget.repeats * budget.finalists
            <= world.runs[arm.name]
            <= FURTHER_ROUNDS * budget.repeats * budget.finalists
        )
        before, after = points[arm.name], longer[arm.name]
        assert {point.recipe for point in before} <= {point.recipe for point in after}
        assert (
            sum(point.runs for point in after) == sum(point.runs for point in before) + world.runs[arm.name]
        )
        assert all(len(set(point.seeds)) == len(point.seeds) for point in after)  # no run is counted twice
        losses.append((chosen_of(before).loss, chosen_of(after).loss))
    assert sum(after for _, after in losses) < sum(before for before, _ in losses), losses


def test_noise_alone_gives_no_arm_another_rate_than_its_reference() -> None:
    """What computes the same must not be judged at another rate: the reference's own keeps its place."""
    different = 0
    for number in range(8):
        world = World({"momentum": 0.1}, noise=0.01)
        plan = arms(names=())
        names = {arm.name: "add-one: baseline" for arm in plan.arms}
        seeds = {
            arm.name: list(range(200 * number + 100 * i, 200 * number + 100 * i + seeds_of(BUDGET)))
            for i, arm in enumerate(plan.arms)
        }
        both = [arm for arm in plan.arms if arm.trick in ("", PLACEBO)]
        points = tune(both, names, CATALOGUE, BUDGET, seeds, world)
        rates = {
            name: next(p.rate for p in points_of_arm if p.chosen) for name, points_of_arm in points.items()
        }
        different += rates["add-one: placebo"] != rates["add-one: baseline"]
    assert different <= 3


def test_what_computes_the_same_runs_at_the_references_rate() -> None:
    """An activation that is the model's own anyway scores as the reference does at every rate: it gets no other one."""

    class Same(World):
        def __call__(self, rows):
            plain = [(name, recipe.without("activation"), seed) for name, recipe, seed in rows]
            return super().__call__(plain)

    for number in range(3):
        world = Same({"momentum": 0.1 * (1 + number)}, noise=0.02)
        rates = tuned_rates(world, arms(names=("activation",)))
        assert rates["add-one: activation"] == rates["add-one: baseline"]


def test_a_setting_that_alone_does_something_gets_a_rate_of_its_own() -> None:
    """Clipping at 1 and 10 changes nothing here; at 0.1 it does, and wants five times the rate. It had been tried at the reference's rate alone."""

    class Clipped(World):
        def __call__(self, rows):
            acting = [
                recipe
                if recipe.get("clip_norm", {}).get("max_norm", 1.0) < 1.0
                else recipe.without("clip_norm")
                for _, recipe, _ in rows
            ]
            return super().__call__(
                [(name, recipe, seed) for (name, _, seed), recipe in zip(rows, acting, strict=True)]
            )

    for number in (0, 2, 4):
        best = 0.1 * (1 + number)
        world = Clipped({"clip_norm": 5 * best, "momentum": best})
        rates = tuned_rates(world, arms(names=("clip_norm",)))
        assert 2 <= rates["add-one: clip_norm"] / rates["add-one: baseline"] <= 10


def test_a_best_rate_at_the_edge_gets_a_step_outwards() -> None:
    world = World({"dropout": 2.0, "momentum": 0.1}, noise=1e-6)
    assert tuned_rates(world, arms(names=("dropout",)))["add-one: dropout"] == 2.0


@pytest.mark.parametrize("best", [2.0, 0.005])
def test_a_range_is_widened_towards_the_best_rate(best: float) -> None:
    budget = TuningBudget(5, 2, 2, 4)
    plan = arms(names=("dropout",))
    names = {arm.name: "add-one: baseline" for arm in plan.arms}
    seeds = {arm.name: list(range(60)) for arm in plan.arms}
    points = tune(
        plan.arms, names, CATALOGUE, budget, seeds, World({"dropout": best, "momentum": 0.1}, noise=1e-6)
    )
    assert best not in {point.rate for point in points_of(plan.arms[-1], CATALOGUE, budget)}
    assert next(point.rate for point in points["add-one: dropout"] if point.chosen) == best


@pytest.mark.parametrize("budget", [TuningBudget(4, 2, 2, 1), TuningBudget(3, 2, 1, 1)])
@pytest.mark.parametrize("best", [2.0, 0.005])
def test_small_budgets_widen_a_range_too(
    budget: TuningBudget, best: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best rate is far beyond those that are tried first: two more are, in pairs with the last one."""
    arm = Arm("add-one", "dropout", (BASELINE.with_trick(CATALOGUE, "dropout"),))

    def tuned(steps: int) -> list[Point]:
        monkeypatch.setattr(tuning, "STEPS_OUTWARDS", steps)
        world = World({"dropout": best}, noise=1e-6)
        return tune([arm], {arm.name: ""}, CATALOGUE, budget, {arm.name: range(100)}, world)[arm.name]

    before, after = tuned(0), tuned(2)
    last = chosen_of(before)
    assert at_edge(before, last)
    new = [point for point in after if point.rate not in {one.rate for one in before}]
    assert len(new) == 2
    assert all(point.by_seed.keys() == last.by_seed.keys() for point in new)
    assert chosen_of(after) is new[-1]
    assert abs(log10(new[-1].rate / best)) < abs(log10(last.rate / best)) - 0.5


@pytest.mark.parametrize("first", [1, 3, 4, 5, 7, 9, 12, 21])
def test_an_arms_first_runs_are_used_and_not_exceeded(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "STEPS_OUTWARDS", 0)
    for arm in arms().arms:
        world = World({"momentum": 0.1, "adamw": 0.001})
        names = {arm.name: ""}
        points = tune([arm], names, CATALOGUE, TuningBudget(first, 1, 0, 0), {arm.name: range(60)}, world)[
            arm.name
        ]
        assert first / 2 < world.runs[arm.name] <= first
        settings = [Recipe({n: s for n, s in point.recipe.items() if "lr" not in s}) for point in points]
        assert len(set(settings)) == min(len(arm.recipes), 1 + first // 2)


def test_the_best_setting_is_run_at_the_best_rate() -> None:
    """The first setting is best at 0.02 (the reference at 0.1), and another setting is better than it everywhere."""

    class Strength(World):
        def __call__(self, rows):
            better = [0.05 * (recipe.get("dropout", {}).get("p", 1.0) < 0.4) for _, recipe, _ in rows]
            return [score + more for score, more in zip(super().__call__(rows), better, strict=True)]

    plan = arms(names=("dropout",))
    names = {arm.name: "add-one: baseline" for arm in plan.arms}
    seeds = {arm.name: list(range(60)) for arm in plan.arms}
    world = Strength({"dropout": 0.02, "momentum": 0.1}, noise=1e-6)
    points = tune(plan.arms, names, CATALOGUE, TuningBudget(7, 2, 2, 2), seeds, world)["add-one: dropout"]
    (chosen,) = (point for point in points if point.chosen)
    assert chosen.recipe["dropout"]["p"] < 0.4
    assert chosen.rate in (0.015, 0.02, 0.03)


@pytest.mark.parametrize(
    ("text", "runs"), [("", None), ("2000runs", 2000), ("10m", 10246), ("90s", 1537), ("1h", 61480)]
)
def test_budgets_are_runs(text: str, runs: int | None) -> None:
    """Two workers are busy for 0.9 of the wall time, and the driver takes 3 ms a run: 0.1 / 1.8 + 0.003 s each."""
    assert runs_of(text, 0.1, 2) == runs


@pytest.mark.parametrize("text", ["ten minutes", "10", "-5m", "10 parsecs", "5runs5"])
def test_no_budget_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match="is not a budget"):
        check_budget(text)


def test_a_budget_is_kept_and_more_of_it_buys_more() -> None:
    plans = [divide(f"{runs}runs", 40, 0.1, 2) for runs in (500, 800, 2000, 6000)]
    assert [plan.tuning.runs for plan in plans] == sorted(plan.tuning.runs for plan in plans)
    for plan in plans[1:]:
        begun = (
            plan.tuning == LEVELS[TUNED_LEVEL][0] and first_look_runs(plan, 40, 2) <= FIRST_LOOK * plan.runs
        )
        assert begun or expected(plan, 40, 2) <= plan.runs
    assert plans[-1].tuning == LEVELS[0][0]
    assert plans[-1].racing == Racing.up_to(LEVELS[0][1])


@pytest.mark.parametrize(("runs", "pairs"), [(9_000, 200), (40_000, 1000)])
def test_a_budget_that_leaves_more_than_the_largest_design_takes_looks_at_more_pairs(runs, pairs) -> None:
    assert divide(f"{runs}runs", 60, 0.05, 2).racing.pairs[-1] == pairs


def test_without_a_budget_there_are_no_longer_races() -> None:
    assert divide("", 60, 1e-4, 2).racing.pairs[-1] == 200


def test_a_budget_that_holds_no_design_is_refused_with_what_it_takes() -> None:
    with pytest.raises(InputError, match=r"too small to rank 40 arms: the smallest design takes 3\d\d runs"):
        divide("300runs", 40, None, 2)


def test_without_a_budget_the_design_fits_the_time_unless_runs_are_dear() -> None:
    quick, slow = (divide("", 40, seconds, 2, seconds=180.0) for seconds in (0.1, 20.0))
    assert expected(quick, 40, 2) <= quick.runs == int(180 / (0.1 / 1.8 + 0.003))
    assert (slow.tuning, slow.racing) == (LEVELS[FLOOR][0], Racing.up_to(LEVELS[FLOOR][1]))
    assert expected(slow, 40, 2) <= slow.runs <= 1.1 * expected(slow, 40, 2)


def test_the_race_is_fixed_by_what_tuning_took() -> None:
    planned = divide("5m", 40, 0.2, 2)
    quicker, slower = (after_tuning(planned, 40, seconds, 2, references=2) for seconds in (0.1, 0.5))
    assert quicker.tuning == slower.tuning == planned.tuning
    # No more pairs than the tuning is worth, however quick runs are.
    assert quicker.racing.pairs[-1] == planned.racing.pairs[-1] > slower.racing.pairs[-1]
    assert (quicker.runs, slower.runs) == (int(300 / (0.1 / 1.8 + 0.003)), int(300 / (0.5 / 1.8 + 0.003)))
    in_runs = divide("2000runs", 40, 0.2, 2)
    assert after_tuning(in_runs, 40, 0.9, 2, references=2) == in_runs


def test_runs_that_take_less_time_than_estimated_buy_more_tuning() -> None:
    planned = divide("", 40, 0.5, 2)
    same, more, most = (
        after_first_tuning(planned, 40, seconds, 2, references=2) for seconds in (0.5, 0.1, 0.01)
    )
    assert same == planned
    assert planned.tuning.runs < more.tuning.runs < most.tuning.runs
    assert most.tuning == LEVELS[0][0]
    slower = after_first_tuning(planned, 40, 2.0, 2, references=2)
    assert slower.tuning == planned.tuning, "what was run is not taken back"
    in_runs = divide("2000runs", 40, None, 2)
    assert after_first_tuning(in_runs, 40, 0.001, 2, references=2) == in_runs


def test_an_exploded_run_counts_for_a_bounded_loss() -> None:
    assert floor_of(0.97, 0.1) == pytest.approx(-0.77)
    assert floor_of(-0.7, -1.0) == pytest.approx(-1.3)  # an RMSE of 0.7 where the mean alone gives 1
    assert floor_of(-1.1, -1.0) == floor_of(0.9, None) == float("-inf")


def test_a_references_exploded_run_does_not_take_the_floor_away() -> None:
    point = Point(
        BASELINE,
        0.1,
        scores=(-0.7,),
        final=(-0.7, -0.71, -1e7, -0.69, -0.72, -0.7),
        seeds=tuple(range(21, 27)),
    )
    assert floor_of(point.middle, -1.0) == pytest.approx(-1.295)
    assert floor_of(point.score, -1.0) == float("-inf")  # what a mean would give


@pytest.mark.parametrize("metric", ["validation/rmse", "validation/accuracy"])
def test_the_floor_bounds_scores_in_the_direction_of_the_metric(metric: str) -> None:
    class Stage(TunedStage):
        def __init__(self, higher: bool, floor: float) -> None:
            self.session = SimpleNamespace(metric=metric, higher=higher)
            self.collapsed, self.floor = (0.1 if higher else 1.0), floor

    higher = metric.endswith("accuracy")
    floor = floor_of(0.9 if higher else -0.7, 0.1 if higher else -1.0)
    bad, good = (-50.0, 0.8) if higher else (1e7, 0.8)
    stage = Stage(higher, floor)
    for value, expected_score in ((bad, floor), (good, good if higher else -good)):
        result = SimpleNamespace(
            curves={metric: (value,) * 3}, metrics={metric: value}, outcome=Outcome.COMPLETE
        )
        for final in (True, False):
            assert stage.score(SimpleNamespace(result=result), final=final) == pytest.approx(expected_score)


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory):
    here = place(tmp_path_factory.mktemp("tuned"), task=TASK, study=STUDY)
    heard = Heard()
    entries = here.run(progress=heard)
    return here, heard, entries


def test_every_applicable_trick_has_a_row_or_a_reason(ranked) -> None:
    here, _, _ = ranked
    fact = here.fact("rank")
    assert fact["complete"]
    rows = {(row["estimand"], row["trick"]) for row in fact["rows"]}
    left_out = {(estimand, name) for estimand, names in fact["left_out"].items() for name in names}
    tricks = {"dropout", "label_smoothing", "adagrad", "adam", "adamw", "momentum", "rmsprop", "sgd"}
    for estimand in {row["estimand"] for row in fact["rows"]}:
        assert {name for e, name in rows | left_out if e == estimand} >= tricks
        assert (estimand, PLACEBO) in rows
    decided, total = counts(fact)
    assert total >= 7
    assert 0 <= decided <= total


def test_arms_have_equal_tuning_fresh_pairs_and_deals_of_their_own(ranked) -> None:
    here, _, entries = ranked
    fact = here.fact("rank")
    tuning = Counter(entry.arm for entry in entries if entry.stage == "tune")
    budget = TuningBudget(**fact["budget"]["tuning"])
    most = budget.runs + FURTHER_TIMES * FURTHER_ROUNDS * budget.finalists * budget.repeats
    assert all(
        runs <= most for arm, runs in tuning.items() if arm not in ("add-one: baseline", "toggle: recipe")
    )
    tuned = {entry.run.seed for entry in entries if entry.stage == "tune"}
    raced = {seed for row in fact["rows"] for seed in row["seeds"]}
    assert not tuned & raced
    assert all(entry.run.resplit for entry in entries if entry.stage in ("tune", "rank", "ladder"))
    others = [row for row in fact["rows"] if row["trick"] != PLACEBO]
    first = min(row["pairs"] for row in others)
    assert len({tuple(row["seeds"][:first]) for row in others}) == 1


def test_the_budget_is_kept(ranked) -> None:
    here, _, entries = ranked
    runs = Counter(entry.stage for entry in entries)
    spent = here.fact("rank")["spent"]
    assert spent["race"] == runs["rank"]
    assert spent.get("ladder", 0) >= runs["lean"] + runs["ladder"]
    assert sum(spent.values()) == runs["tune"] + runs["rank"] + runs["lean"] + runs["ladder"] <= 1.1 * 500


def test_a_run_that_two_arms_share_is_spent_once() -> None:
    one, other = (
        Entry(Run("t", Recipe({}), seed, 1), Result(Outcome.COMPLETE, seconds=2.0), "tune", arm=arm)
        for seed, arm in ((1, "add-one: a"), (2, "toggle: a"))
    )
    again, counted = replace(one, arm="toggle: b"), set()
    assert Spent.of([one, again], counted) == Spent(1, 2.0)
    assert Spent.of([one, other], counted) == Spent(1, 2.0)
    assert Spent.of([one, other, again]) == Spent(2, 4.0)


def test_the_ladders_steps_add_up_to_its_total(ranked) -> None:
    here, _, _ = ranked
    fact = here.fact("rank")
    ladder = fact["ladder"]
    if ladder is None:  # no step: nothing of the recipe found is worth its place
        assert set(fact["lean"]["recipe"]) == set(fact["baseline"])
        return
    assert sum(step["effect"] for step in ladder["steps"]) == pytest.approx(
        ladder["total"]["effect"], abs=1e-12
    )


def test_what_hurts_is_never_recommended(ranked) -> None:
    here, _, _ = ranked
    fact = here.fact("rank")
    hurting = {row["trick"] for row in fact["rows"] if row["in_recipe"] and row["estimand"] == "toggle" and row["verdict"].startswith("hurts")}  # fmt: skip
    if not fact["recommended"]["is_baseline"]:
        assert not hurting & set(fact["recommended"]["recipe"])


def test_run_again_it_trains_nothing_and_says_the_same(ranked) -> None:
    here, _, entries = ranked
    before = here.fact("rank")
    again = here.run()
    assert without_durations(again) == without_durations(entries)
    assert here.fact("rank") == before


def test_a_rung_takes_out_what_its_trick_conflicts_with() -> None:
    baseline = BASELINE.without("weight_decay")
    lean = Recipe.of(CATALOGUE, {"schedule_free_adamw": {"lr": 0.01}, "dropout": {"p": 0.3}})
    stage = SimpleNamespace(catalogue=CATALOGUE)
    rows = [{"estimand": "add-one", "trick": "schedule_free_adamw", "effect": 0.1}]
    rungs = rungs_of(stage, baseline, lean, rows)
    assert [arm.trick for arm in rungs] == ["schedule_free_adamw", "dropout"]
    assert set(rungs[0].recipes[0]) == {"schedule_free_adamw"}
    assert set(rungs[-1].recipes[0]) == set(lean)


def test_after_a_ranking_on_the_baseline_alone_what_helps_it_is_put_together() -> None:
    tuned = {arm.name: Tuned(arm, with_rate(arm.recipes[0], CATALOGUE, 0.3), ()) for arm in arms().arms}
    stage = SimpleNamespace(catalogue=CATALOGUE)

    def put_together(**verdicts: str) -> Recipe:
        effects = {"adamw": 0.3, "dropout": 0.2, "cosine_restarts": 0.1, "cosine": -0.2}
        rows = [
            {"trick": name, "effect": effects.get(name, 0.5), "verdict": said}
            for name, said in verdicts.items()
        ]
        return with_helps(stage, BASELINE, tuned, rows)

    nothing = put_together(
        dropout="no measurable effect", activation="undecided", placebo="helps", cosine="helps"
    )
    assert nothing == BASELINE
    one = put_together(dropout="helps a little", cosine_restarts="undecided")
    assert one == tuned["add-one: dropout"].recipe  # at the rate that its arm was tuned to
    assert rate_of(one, CATALOGUE) == pytest.approx(0.3)
    both = put_together(dropout="helps", cosine="hurts")
    assert both == BASELINE.without("cosine").with_trick(
        CATALOGUE, "dropout", tuned["add-one: dropout"].recipe["dropout"]
    )
    replaced = put_together(adamw="helps", dropout="helps", cosine_restarts="helps")
    assert set(replaced) == {
        "adamw",
        "dropout",
        "cosine_restarts",
    }  # adamw excludes momentum and weight_decay, the restarts cosine


def standing_of(row: Any, running: tuple[str, ...]) -> dict[Any, Any]:
    return {("add-one", False): SimpleNamespace(rows={"arm": row}, undecided=("arm",), running=running)}


@pytest.mark.parametrize(
    ("tuning_se", "of_pairs", "running", "further"),
    [
        (0.0023, 0.0030, False, True),  # at the last look pairs leave 0.0030 √(18/60)
        (0.0023, 0.0030, True, False),  # pairs may decide it first
        (0.0023, 0.0020, True, True),
        (0.0011, 0.0005, False, False),  # tuned closely enough
        (0.0013, 0.0030, False, False),
    ],
)
def test_arms_are_tuned_further_where_tuning_keeps_them_from_a_verdict(
    tuning_se, of_pairs, running, further
) -> None:
    row = SimpleNamespace(arm="arm", tuning_se=tuning_se, se=hypot(tuning_se, of_pairs), pairs=18)
    races = SimpleNamespace(racing=Racing.up_to(60))
    standing = standing_of(row, ("arm",) if running else ())
    assert Races.limited_by_tuning(races, standing, 0.01) == (["arm"] if further else [])


def test_where_time_ends_the_arms_nearest_to_a_verdict_go_on() -> None:
    """Three arms of which one is far from a verdict and one is slow; there is time for the next look of one, or of none."""
    looks = Racing((8, 12, 40))
    noise, of_reference = np.random.default_rng(4).normal(0, 0.9, (2, 40))
    names = ("add-one: baseline", "add-one: near", "add-one: far", "add-one: slow")
    effects = dict(zip(names, (0.0, 0.0, 0.5, 0.0), strict=True))
    stage = SimpleNamespace(
        first_seeds=lambda number, *key: list(range(number)),
        is_final=lambda *recipes: False,
        score=lambda entry, final: entry.score,
    )
    tuned = {
        name: Tuned(
            SimpleNamespace(name=name, estimand="add-one", is_placebo=False, trick=name), BASELINE,
            [Point(BASELINE, 0.1, (1.0,), chosen=True)],
        )
        for name in names
    }  # fmt: skip
    races = Races(stage, looks, tuned)  # type: ignore[arg-type]
    for name in names:
        for seed in range(8 if name != names[0] else 40):
            seconds = 10.0 if name.endswith("slow") else 1.0
            entry = SimpleNamespace(
                score=of_reference[seed] if name == names[0] else effects[name] + noise[seed],
                run=SimpleNamespace(recipe=BASELINE),
                result=SimpleNamespace(seconds=seconds),
            )
            races.entries[name, seed] = entry  # type: ignore[assignment]
    margin = 0.6
    (race,) = races.standing(margin).values()
    assert set(race.running) == set(names[1:])
    asked = races.wanted(races.standing(margin))
    assert races.seconds(asked) == pytest.approx(
        sum(4 * (10 if "slow" in name else 1) for name in race.running)
    )
    assert not races.keep_nearest_to_verdict(margin, lambda rows: False)
    assert not races.stopped
    assert races.keep_nearest_to_verdict(margin, lambda rows: len(rows) <= 4)
    (race,) = races.standing(margin).values()
    assert race.running == ("add-one: near",)
    assert set(races.stopped) == {"add-one: far", "add-one: slow"}
    assert {name for name, _, _ in races.wanted(races.standing(margin))} == {"add-one: near"}
    other = {
        **tuned,
        "add-one: far": Tuned(
            tuned["add-one: far"].arm, BASELINE.without("cosine"), tuned["add-one: far"].points
        ),
    }
    races.run(other)  # tuned further: its runs begin anew
    assert set(races.stopped) == {"add-one: slow"}


def test_equal_scores_make_no_copy_where_the_runs_differ() -> None:
    """An accuracy of few examples is often the same by chance: such an arm is tuned as any other."""
    plan, world = arms(names=("dropout",)), World({"momentum": 0.1})  # in which dropout changes no score
    names = {arm.name: "add-one: baseline" for arm in plan.arms}
    seeds = {arm.name: list(range(1000 * arm.is_placebo, 1000 * arm.is_placebo + seeds_of(BUDGET))) for arm in plan.arms}  # fmt: skip
    points = tune(plan.arms, names, CATALOGUE, BUDGET, seeds, world)
    assert len(points["add-one: dropout"]) == 1
    seen: set[int] = set()

    def equal(recipe: Recipe, other: Recipe, seed: int) -> bool:
        seen.add(seed)
        return "dropout" not in recipe

    points = tune(plan.arms, names, CATALOGUE, BUDGET, seeds, world, equal=equal)
    assert len(points["add-one: dropout"]) > 1
    assert seen <= set(seeds["add-one: dropout"])
