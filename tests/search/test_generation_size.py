"""Generations stay many enough to learn from, groups as large as is worth it."""

import pytest

from ablate.search.generation_size import LONG_SEARCH_GENERATIONS, MAX_LANES, GenerationSize, generation_size

TRIALS = [1, 2, 3, 8, 20, 40, 99, 100, 101, 200, 500, 1000, 10_000]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("kernel", ["loop", "vmap", "batched", "compiled"])
@pytest.mark.parametrize("solo", [False, True])
def test_a_search_of_ten_or_more_has_four_generations_and_groups_fit_into_them(kernel, device, solo):
    before = 0
    for trials in TRIALS:
        sizes = generation_size(kernel, device, trials, solo=solo)
        assert 1 <= sizes.lanes <= sizes.generation
        assert sizes.generation % sizes.lanes == 0
        assert sizes.generation >= 0.8 * before, (
            "a longer search has no smaller generations, but for an even number"
        )
        assert trials < 10 or -(-trials // sizes.generation) >= 4
        before = sizes.generation


def test_what_is_chosen():
    assert [generation_size("loop", "cpu", n).lanes for n in (20, 100, 1000)] == [2, 5, 5]
    assert [generation_size("batched", "cpu", n).lanes for n in (20, 100, 192, 600)] == [5, 17, 16, 50]
    assert abs(generation_size("batched", "cpu", 10_000).lanes - MAX_LANES["cpu"]) <= 1
    for trials in (20, 100, 192, 600, 1000, 10_000):
        assert -(-trials // generation_size("vmap", "cpu", trials).generation) % 2 == 0, (
            "two workers end together"
        )
    assert generation_size("vmap", "cuda", 100).lanes == 20
    assert generation_size("loop", "cpu", 100, solo=True) == GenerationSize(6, 1)
    assert generation_size("batched", "cpu", 100, large=True) == GenerationSize(6, 1)
    assert generation_size("loop", "cpu", 12, large=True) == GenerationSize(2, 1)
    assert generation_size("vmap", "cpu", 100, large=True, lanes=16) == GenerationSize(8, 4)
    assert generation_size("vmap", "cpu", 12, large=True, lanes=16) == GenerationSize(2, 1)
    assert generation_size("batched", "cuda", 100, large=True) == generation_size("batched", "cuda", 100)
    assert 1000 / generation_size("vmap", "cpu", 1000).generation >= LONG_SEARCH_GENERATIONS
