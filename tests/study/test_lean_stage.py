"""The lean stage and the ladder on simulated runs: what the fact says of the recipe, and how many runs it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.catalogue.registry import registry
from ablate.ranking.designs.racing import Racing
from ablate.records.recipe import Recipe, conflict
from ablate.study.ranking.additions import RATES, helpful
from ablate.study.ranking.arms import Arm
from ablate.study.ranking.ballast import ballast
from ablate.study.ranking.budget import LEAN_PAIRS, OVER, RankBudget
from ablate.study.ranking.lean_recipe import lean_and_ladder
from ablate.study.ranking.tuned import Tuned
from ablate.study.ranking.tuning_points import TuningBudget

CATALOGUE = registry()
BASELINE = Recipe.of(CATALOGUE, {"momentum": {"lr": 0.1}, "cosine": {}})
FOUND = Recipe.of(
    CATALOGUE, {"nadam": {"lr": 0.01}, "cosine": {}, "swa": {}, "label_smoothing": {}, "dropout": {}}
)
NO_EFFECT, HELPS, HURTS = "no measurable effect", "helps", "hurts"
TUNING = TuningBudget(1, 1, 0, 0)
TRICKS = (
    "swa",
    "label_smoothing",
    "dropout",
    "mixup",
    "ema",
    "weight_decay",
    "one_cycle",
    "warmup",
    "batch_norm",
)


class Simulation:
    """A ranking that is over, and runs whose score is `score(recipe)` and a little noise; `runs`: (stage, recipe, seed)."""

    def __init__(
        self,
        score: Callable[[Recipe], float] = lambda recipe: 0.0,
        found: Recipe = FOUND,
        baseline: Recipe = BASELINE,
    ) -> None:
        self.catalogue, self.baseline, self.found, self.made = CATALOGUE, baseline, found, score
        self.estimands = ("add-one", "toggle")
        self.runs: set[tuple[str, Recipe, int]] = set()
        ledger = SimpleNamespace(put=lambda name, fact: None, count=self.count)
        self.session: Any = SimpleNamespace(ledger=ledger, higher=True)
        self.tuned = {
            "add-one: baseline": Tuned(Arm("add-one", "", (baseline,)), baseline, ()),
            "toggle: recipe": Tuned(Arm("toggle", "", (found,)), found, ()),
        }
        self.rows: list[dict[str, Any]] = []

    def ranked(self, **verdicts: str) -> Simulation:
        """With rows of the recipe found; effects are smaller from one to the next."""
        for name, verdict in verdicts.items():
            effect = 0.001 * (50 - len(self.rows)) * {HELPS: 1, HURTS: -1}.get(verdict, 0.01)
            inside = name in self.found
            self.rows.append(
                {
                    "trick": name,
                    "estimand": "toggle",
                    "in_recipe": inside,
                    "verdict": verdict,
                    "effect": effect,
                }
            )
            recipe = self.found.without(name)
            if not inside:
                others = [other for other in self.found if conflict(CATALOGUE[name], CATALOGUE[other])]
                recipe = self.found.without(*others).with_trick(CATALOGUE, name)
            self.tuned[f"toggle: {name}"] = Tuned(Arm("toggle", name, (recipe,)), recipe, ())
        return self

    def ranked_alone(self, **verdicts: str) -> Simulation:
        """With rows of the baseline; effects are smaller from one to the next."""
        for place, (name, verdict) in enumerate(verdicts.items()):
            effect = 0.001 * (50 - place) * {HELPS: 1, HURTS: -1}.get(verdict, 0.01)
            inside = name in self.baseline
            self.rows.append(
                {
                    "trick": name,
                    "estimand": "add-one",
                    "in_recipe": inside,
                    "verdict": verdict,
                    "effect": effect,
                    "se": 0.005,
                    "tuning_se": 0.0,
                    "pairs": 8,
                }
            )
            others = [other for other in self.baseline if conflict(CATALOGUE[name], CATALOGUE[other])]
            recipe = self.baseline.without(name)
            if not inside:
                recipe = self.baseline.without(*others).with_trick(CATALOGUE, name)
            self.tuned[f"add-one: {name}"] = Tuned(Arm("add-one", name, (recipe,)), recipe, ())
        return self

    def count(self, *stages: str) -> int:
        return sum(run[0] in stages for run in self.runs)

    def first_seeds(self, number: int, *key: int) -> list[int]:
        return [1000 * sum(key) + place for place in range(number)]

    def is_final(self, *recipes: Recipe) -> bool:
        return False

    def train(self, rows: Sequence[Any], stage: str, title: str) -> list[float]:
        self.runs |= {(stage, recipe, seed) for _, recipe, seed in rows}
        return [self._score(recipe, seed) for _, recipe, seed in rows]

    def score(self, entry: float, *, final: bool) -> float:
        return entry

    def tuning_scores(self, rows: Sequence[Any]) -> list[float]:
        return self.train(rows, "tune", "")

    def submit_tuning(self, rows: Sequence[Any]) -> None:
        pass

    def _score(self, recipe: Recipe, seed: int) -> float:
        noise = np.random.default_rng([seed, int(recipe.hash, 16)]).normal(0, 1e-4)
        return float(self.made(recipe) + noise)

    def outcome(self, runs: int = 10_000) -> dict[str, Any]:
        fact = {"rows": self.rows, "margin": 0.01, "spent": {"tuning": 0, "race": 0}}
        stage: Any = self
        lean_and_ladder(stage, RankBudget(TUNING, Racing.up_to(40), runs), self.tuned, fact)
        return fact


def test_the_recipe_goes_back_to_the_baseline_s_optimizer_where_that_does_as_well() -> None:
    fact = Simulation().ranked(momentum=NO_EFFECT, swa=NO_EFFECT, dropout=HELPS).outcome()
    assert set(fact["lean"]["recipe"]) == {"momentum", "cosine", "label_smoothing", "dropout"}
    assert fact["lean"]["removed"] == ["nadam", "swa"] or fact["lean"]["removed"] == ["swa", "nadam"]
    assert fact["lean"]["replaced"] == {"nadam": "momentum"}


def one_of(*names: str) -> Callable[[Recipe], float]:
    """The score of a task on which a recipe needs one of these tricks."""
    return lambda recipe: 0.0 if set(names) & set(recipe) else -0.1


def test_what_had_to_stay_is_told_with_the_step_that_says_so() -> None:
    fact = Simulation(one_of("swa", "dropout")).ranked(swa=NO_EFFECT, dropout=NO_EFFECT).outcome()
    (kept,) = fact["lean"]["kept"]
    assert kept["trick"] in fact["lean"]["recipe"]
    assert set(kept["without"]) == {"swa", "dropout"}
    assert kept["effect"] == pytest.approx(-0.1, abs=1e-3)
    assert [kept["trick"], *fact["lean"]["removed"]] in (["swa", "dropout"], ["dropout", "swa"])


def test_a_trick_of_the_baseline_without_an_effect_stays_with_the_reason() -> None:
    fact = Simulation().ranked(cosine=NO_EFFECT, swa=HELPS).outcome()
    assert fact["lean"]["kept"] == [{"trick": "cosine", "why": "the baseline has it"}]


def test_what_had_to_stay_is_tried_again_with_what_was_added() -> None:
    """One of swa, dropout and mixup is needed, and mixup is worth more."""
    needed = one_of("swa", "dropout", "mixup")
    world = Simulation(lambda recipe: needed(recipe) + 0.02 * ("mixup" in recipe))
    fact = world.ranked(swa=NO_EFFECT, dropout=NO_EFFECT, mixup=HELPS).outcome()
    assert fact["lean"]["added"] == ["mixup"]
    assert set(fact["lean"]["removed"]) == {"swa", "dropout"}
    assert fact["lean"]["kept"] == []
    assert fact["lean_tried"][-1]["with"] == ["mixup"]


def test_two_losses_within_the_margin_are_not_added_up() -> None:
    """Without swa 0.9 margins are lost, without dropout too; mixup gives a tenth of one. The second loss is tried after mixup has come in."""

    def score(recipe: Recipe) -> float:
        return 0.009 * ("swa" in recipe) + 0.009 * ("dropout" in recipe) + 0.001 * ("mixup" in recipe)

    fact = Simulation(score).ranked(swa=NO_EFFECT, dropout=NO_EFFECT, mixup=HELPS).outcome()
    assert fact["lean"]["added"] == ["mixup"]
    assert len(fact["lean"]["removed"]) == len(fact["lean"]["kept"]) == 1


def test_what_hurts_is_taken_out_whatever_the_rest_says() -> None:
    fact = Simulation(lambda recipe: float("swa" in recipe)).ranked(swa=HURTS).outcome()
    assert fact["lean"]["removed"] == ["swa"]
    assert fact["lean"]["kept"] == []


def test_what_an_addition_replaces_is_told_as_taken_out() -> None:
    fact = Simulation(lambda recipe: 0.02 * ("one_cycle" in recipe)).ranked(one_cycle=HELPS).outcome()
    assert fact["lean"]["added"] == ["one_cycle"]
    assert fact["lean"]["removed"] == ["cosine"]
    assert fact["lean"]["replaced"] == {"cosine": "one_cycle"}


def test_where_no_run_is_left_a_candidate_stays_untried() -> None:
    """The first round takes nothing out, and there are runs for that round alone."""
    world = Simulation(lambda recipe: -0.1 * ("swa" not in recipe or "dropout" not in recipe))
    fact = world.ranked(swa=NO_EFFECT, label_smoothing=NO_EFFECT, dropout=NO_EFFECT).outcome(runs=0)
    assert len(fact["lean_tried"]) == 3
    assert {step["why"] for step in fact["lean"]["kept"]} >= {"no run was left to try the recipe without it"}


def of_alone(**worth: float) -> Callable[[Recipe], float]:
    """The score of a task on which tricks are worth something, but nothing beside the optimizer of the recipe found."""
    return lambda recipe: 0.0 if "nadam" in recipe else sum(worth.get(name, 0.0) for name in recipe)


def test_where_the_recipe_found_is_no_better_the_baseline_with_what_helps_it_is_tried() -> None:
    world = Simulation(of_alone(mixup=0.05, ema=0.02))
    fact = world.ranked(swa=HELPS).ranked_alone(mixup=HELPS, ema=HELPS, warmup="undecided").outcome()
    assert set(fact["recommended"]["recipe"]) == {*BASELINE, "mixup", "ema"}
    assert [step["trick"] for step in fact["ladder"]["steps"]] == ["mixup", "ema"]
    assert fact["recommended"]["gain"]["effect"] == pytest.approx(0.07, abs=1e-3)
    assert fact["helped"]["is_recommended"]
    assert fact["helped"]["found"]["effect"] == pytest.approx(0.0, abs=1e-3)
    assert fact["spent"]["ladder"] == len(world.runs)


def test_what_hurts_the_baseline_is_taken_out_of_it_and_what_hurts_the_recipe_found_is_not_added() -> None:
    world = Simulation(lambda recipe: -0.05 * ("cosine" in recipe))
    fact = world.ranked(swa=HURTS).ranked_alone(cosine=HURTS, swa=HELPS).outcome()
    assert set(fact["recommended"]["recipe"]) == {"momentum"}
    assert fact["helped"]["changes"] == ["cosine"]


def test_what_helps_alone_and_not_together_leaves_the_baseline() -> None:
    world = Simulation().ranked(swa=HELPS).ranked_alone(mixup=HELPS)
    fact = world.outcome()
    assert fact["recommended"]["is_baseline"]
    assert fact["helped"]["changes"] == ["mixup"]
    assert not fact["helped"]["is_recommended"]
    assert {step["trick"] for step in fact["ladder"]["steps"]} >= {"nadam"}  # that to the recipe found


def test_a_better_recipe_and_a_baseline_that_nothing_helps_are_compared_with_nothing_else() -> None:
    better = Simulation(lambda recipe: float("nadam" in recipe)).ranked(swa=HELPS).ranked_alone(mixup=HELPS)
    assert better.outcome()["helped"] is None
    assert Simulation().ranked(swa=HELPS).ranked_alone(mixup="undecided").outcome()["helped"] is None


def test_where_no_run_is_left_the_largest_effect_alone_is_tried() -> None:
    world = Simulation(of_alone(mixup=0.05, ema=0.02)).ranked(swa=HELPS).ranked_alone(mixup=HELPS, ema=HELPS)
    fact = world.outcome(runs=0)
    assert fact["helped"]["changes"] == ["mixup"]
    assert Recipe(fact["recommended"]["recipe"]) == world.tuned["add-one: mixup"].recipe
    assert len(fact["ladder"]["seeds"]) == LEAN_PAIRS[0]


def test_a_further_ladder_counts_what_tuned_the_first_one_and_the_baseline_s_further_runs() -> None:
    """The optimizer found gives way to the baseline's, whose rung is tuned; the further ladder has more seeds than the baseline was trained on."""
    baseline = Recipe.of(CATALOGUE, {"momentum": {}, "swa": {}})
    world: Any = Simulation(found=Recipe.of(CATALOGUE, {"adamw": {}}), baseline=baseline)
    world.ranked(**dict.fromkeys(sorted({*TRICKS, *OPTIMIZERS} - {"adamw"}), NO_EFFECT))
    world.ranked_alone(**dict.fromkeys(sorted(TRICKS), NO_EFFECT) | {"weight_decay": "helps a little"})
    fact = world.outcome(60)
    assert fact["helped"]["changes"] == ["weight_decay"]
    assert len(fact["ladder"]["seeds"]) < fact["helped"]["gain"]["pairs"]
    assert len(world.runs) <= OVER * 60


verdicts = st.sampled_from([NO_EFFECT, HELPS, HURTS, "helps a little", "hurts a little", "undecided"])


def recipes(optimizer: str) -> st.SearchStrategy[Recipe]:
    """Recipes of an optimizer and any tricks that may stand beside each other."""

    def built(names: list[str]) -> Recipe:
        recipe = Recipe.of(CATALOGUE, {optimizer: {}})
        for name in names:
            if not any(conflict(CATALOGUE[name], CATALOGUE[other]) for other in recipe):
                recipe = recipe.with_trick(CATALOGUE, name)
        return recipe

    return st.lists(st.sampled_from([*TRICKS, "cosine"]), unique=True, max_size=6).map(built)


OPTIMIZERS = ("momentum", "nadam", "adamw", "schedule_free_adamw")


@settings(max_examples=150, deadline=None)
@given(data=st.data(), runs=st.sampled_from([0, 60, 200, 600, 3000]))
def test_what_the_fact_says_is_so_and_takes_no_more_runs_than_it_may(data: st.DataObject, runs: int) -> None:
    baseline, found = (data.draw(st.sampled_from(OPTIMIZERS).flatmap(recipes)) for _ in range(2))
    worth = data.draw(
        st.dictionaries(st.sampled_from([*TRICKS, *OPTIMIZERS, "cosine"]), st.floats(-0.05, 0.05))
    )
    needed = data.draw(st.sets(st.sampled_from(TRICKS), max_size=3))
    world: Any = Simulation(
        lambda recipe: sum(worth.get(name, 0.0) for name in recipe) - 0.1 * bool(needed and not needed & set(recipe)),
        found, baseline,
    )  # fmt: skip
    names = {*TRICKS, *baseline, *found, *OPTIMIZERS} - {next(name for name in found if name in OPTIMIZERS)}
    world.ranked(**{name: data.draw(verdicts) for name in sorted(names)})
    alone = {*TRICKS, *baseline} - set(OPTIMIZERS)
    world.ranked_alone(**{name: data.draw(verdicts) for name in sorted(alone)})
    fact = world.outcome(runs)
    lean, recipe = fact["lean"], fact["lean"]["recipe"]
    assert not set(lean["removed"]) & set(recipe)
    assert set(lean["removed"]) <= set(found)
    assert set(lean["added"]) <= set(recipe) - set(found)
    assert {step["trick"] for step in lean["kept"]} <= set(recipe)
    assert set(found) - set(lean["removed"]) == set(found) & set(recipe)
    Recipe.of(CATALOGUE, recipe)
    helped = fact["helped"] or {"is_recommended": False}
    if not fact["recommended"]["is_baseline"] and not helped["is_recommended"]:
        taken_back = set(lean["removed"]) & set(fact["recommended"]["recipe"])
        assert not taken_back - set(baseline)
    ladder = fact["ladder"]
    trained = [Recipe(step["recipe"]) for step in ladder["steps"]] if ladder else []
    assert len({baseline, *trained}) == 1 + len(trained)
    of_lean = {recipe for stage, recipe, _ in world.runs if stage == "lean"}
    first = len(ballast(CATALOGUE, found, baseline, fact)) + RATES * len(helpful(world, found, fact))
    fewest = not ladder or len(ladder["seeds"]) == LEAN_PAIRS[0]
    least = 2 * LEAN_PAIRS[0] if fact["helped"] else 0
    assert len(world.runs) <= max(OVER * runs, runs + least) or (fewest and len(of_lean) <= 2 + first)
