"""Which kernel and how many lanes: the rule on made-up timings, and real measurements of a small model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ablate.catalogue.registry import registry
from ablate.lanes.autotune import LANES, SLACK, Choice, Timing, best_of, measured, peak_bytes
from ablate.lanes.context import TaskContext
from ablate.lanes.trainer import Trainer
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.study import kernel as kernels
from ablate.study.kernel import cache_file, choose
from ablate.tasks.load import load

CPU = torch.device("cpu")


def rows(kernel: str, *seconds: float, size: int = 1000) -> list[Timing]:
    return [Timing(kernel, lanes, s, size) for lanes, s in zip(LANES["cpu"], seconds, strict=False)]


@pytest.mark.parametrize(
    ("timings", "budget", "expected"),
    [
        (rows("vmap", 8, 4, 2) + rows("loop", 9, 9, 9), 1e9, ("vmap", 48)),
        (rows("vmap", 8, 3.8, 4) + rows("loop", 9, 9, 9), 1e9, ("vmap", 48)),  # nearly as fast
        (rows("vmap", 8, 3, 4) + rows("loop", 9, 9, 9), 1e9, ("vmap", LANES["cpu"][1])),  # out of the cache
        (
            rows("loop", 3, 3, 3) + rows("vmap", 9, 4, 2.8),
            1e9,
            ("loop", 48),
        ),  # within what a measurement tells
        (rows("loop", 3, 3, 3) + rows("vmap", 9, 4, 2.6), 1e9, ("vmap", 48)),
        (rows("compiled", 16.6) + rows("loop", 12.3), 1e9, ("loop", LANES["cpu"][0])),
        (rows("vmap", 8, 4, 2), 10 * SLACK * 1000, ("vmap", 10)),
        (rows("vmap", 8), 1.0, ("vmap", 1)),
    ],
)
def test_the_fastest_kernel_and_the_usual_one_where_they_are_nearly_equal(timings, budget, expected):
    assert best_of(timings, timings[0].kernel, budget) == expected


@pytest.mark.parametrize(("seconds", "lanes"), [((8, 7.6, 7.5), 4), ((8, 4, 3.9), 20), ((8, 4, 2), 48)])
def test_long_steps_take_the_fewest_lanes_that_are_nearly_as_fast(seconds: tuple[float, ...], lanes: int):
    assert best_of(rows("loop", *seconds), "loop", 1e9, fewest=True) == ("loop", lanes)


@pytest.fixture(scope="module")
def context() -> TaskContext:
    return TaskContext.of(load("breast-cancer"), registry(), CPU)


@pytest.fixture
def recipe() -> Recipe:
    return Recipe.of(registry(), {"optimizer": {"name": "momentum", "lr": 0.05}})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels.json"


def test_both_kernels_are_measured_and_a_budget_caps_the_lanes(context: TaskContext, recipe: Recipe):
    free = measured(context, recipe, 1e12)
    assert {row.kernel for row in free.timings} == {"compiled", "loop"}
    assert all(row.seconds > 0 and row.bytes > 0 for row in free.timings)
    heaviest = max(row.bytes for row in free.timings)
    tight = measured(context, recipe, 6 * heaviest * SLACK)
    assert max(row.lanes for row in tight.timings) == LANES["cpu"][0]
    assert tight.lanes <= 6


def test_bytes_grow_with_lanes_and_hold_at_least_the_activations(context: TaskContext, recipe: Recipe):
    few, many = (
        peak_bytes(Trainer(context, [Run("breast-cancer", recipe, seed, 1) for seed in range(lanes)])) / lanes
        for lanes in (2, 16)
    )
    hidden = sum(4 * place.output[1] * context.task.batch_size for place in context.layer_infos)
    assert hidden / 4 < many < 2 * few


def test_a_measurement_is_made_once_and_remembered(
    context: TaskContext, recipe: Recipe, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    chosen_context, first = choose(context, recipe)
    assert first.source == "measured"
    assert chosen_context.kernel == first.kernel
    assert len(json.loads(cache.read_text())) == 1
    monkeypatch.setattr(kernels, "measured", None)
    _, again = choose(context, recipe)
    assert again == replace(first, source="cached")


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"x": 1}', "null"])
def test_a_damaged_cache_is_as_good_as_none(
    context: TaskContext, recipe: Recipe, cache: Path, damage: str, monkeypatch: pytest.MonkeyPatch
):
    choice = Choice("loop", 7, "measured", (Timing("loop", 7, 0.1, 10),))
    monkeypatch.setattr(kernels, "measured", lambda *_: choice)
    cache.parent.mkdir()
    cache.write_text(damage)
    assert choose(context, recipe)[1].source == "measured"
    assert choose(context, recipe)[1].source == "cached"


@pytest.mark.parametrize(
    "change",
    [
        {"kernel": "lop"},
        {"kernel": 3},
        {"lanes": 0},
        {"lanes": 1e999},
        {"timings": [3]},
        {"timings": [{"x": 1}]},
    ],
    ids=str,
)
def test_a_cached_choice_of_another_form_is_as_good_as_none(cache: Path, change: dict[str, object]):
    document = Choice("loop", 7, "measured", (Timing("loop", 7, 0.1, 10),)).to_json()
    cache.parent.mkdir()
    cache.write_text(json.dumps({"right": document, "forged": {**document, **change}}))
    assert kernels.remembered("right") is not None
    assert kernels.remembered("forged") is None
    cache.write_text("[" * 100_000)
    assert kernels.remembered("right") is None


def test_what_is_given_is_kept_and_nothing_is_measured(context: TaskContext, recipe: Recipe, cache: Path):
    chosen_context, choice = choose(context, recipe, kernel="loop", lanes=3)
    assert (chosen_context.kernel, choice.lanes, choice.source) == ("loop", 3, "given")
    assert not cache_file().exists()
    assert choose(context, recipe, lanes=5)[1].lanes == 5
    assert choose(context, recipe, kernel="loop")[0].kernel == "loop"


def test_a_study_stays_with_its_kernel(context: TaskContext, recipe: Recipe, cache: Path):
    begun = Choice("loop", 7, "measured", (Timing("loop", 7, 0.1, 10),)).to_json()
    chosen_context, choice = choose(context, recipe, begun=json.loads(json.dumps(begun)))
    assert (chosen_context.kernel, choice.lanes, choice.source) == ("loop", 7, "ledger")
    assert choose(context, recipe, lanes=3, begun=begun)[1].lanes == 3
    with pytest.raises(InputError, match="begun with the kernel 'loop'"):
        choose(context, recipe, kernel="vmap", begun=begun)
    with pytest.raises(InputError, match="kernel"):
        choose(context, recipe, kernel="fast")
    alone = replace(context, probe=replace(context.probe, solo="it branches on data", kernel="loop"))
    assert choose(alone, recipe)[1].lanes == 1
    with pytest.raises(InputError, match="cannot be vmapped"):
        choose(alone, recipe, kernel="vmap")
