"""Counter-based draws: an independent reference in plain integers, and what is asked of a generator."""

import math

import pytest
import torch
from scipy import stats

from ablate.seams.draws import Draws, bits, keep_mask, mix, seed_keys, step_keys, stream_number

CPU = torch.device("cpu")


def lowbias32(x: int) -> int:
    """The hash in Python's unbounded integers."""
    x &= 0xFFFFFFFF
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return x ^ (x >> 16)


def draws_of(seed: int, step: int) -> Draws:
    return Draws(step_keys(seed_keys([seed], CPU), torch.tensor([step])))


def test_mix_is_the_published_hash():
    numbers = [0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, *(7919 * i * i for i in range(200))]
    signed = [((n & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000 for n in numbers]
    got = mix(torch.tensor(signed, dtype=torch.int32)).tolist()
    assert [value & 0xFFFFFFFF for value in got] == [lowbias32(n) for n in numbers]


def test_one_lane_draws_the_same_inside_a_model_and_among_many():
    keys = step_keys(seed_keys([3, 4, 5], CPU), torch.tensor([10, 11, 12]))
    together = Draws(keys).bits("dropout", 7, 5)
    for lane in range(3):
        assert torch.equal(together[lane], bits(keys[lane], stream_number("dropout"), (7, 5)))


def test_an_element_does_not_depend_on_how_many_are_drawn():
    assert torch.equal(draws_of(1, 2).bits("a", 1000)[:, :10], draws_of(1, 2).bits("a", 10))


@pytest.mark.parametrize("change", ["seed", "step", "stream"])
def test_streams_are_uncorrelated(change: str):
    one = draws_of(1, 1).uniform("a", 100_000)[0]
    other = {"seed": draws_of(2, 1), "step": draws_of(1, 2), "stream": draws_of(1, 1)}[change]
    two = other.uniform("b" if change == "stream" else "a", 100_000)[0]
    assert abs(torch.corrcoef(torch.stack([one, two]))[0, 1]) < 4 / math.sqrt(100_000)


def test_uniform_over_elements_steps_and_seeds():
    many = torch.cat([draws_of(seed, step).uniform("u", 500)[0] for seed in range(20) for step in range(20)])
    assert stats.kstest(many.numpy(), "uniform").pvalue > 1e-3
    first = torch.stack(
        [draws_of(seed, step).uniform("u", 1)[0, 0] for seed in range(60) for step in range(60)]
    )
    assert stats.kstest(first.numpy(), "uniform").pvalue > 1e-3
    assert many.min() >= 0
    assert many.max() < 1


def test_bits_are_fair_and_pairs_of_neighbours_are_uniform():
    drawn = draws_of(9, 9).bits("b", 200_000)[0]
    for bit in range(32):
        ones = int(((drawn >> bit) & 1).sum())
        assert stats.binomtest(ones, 200_000).pvalue > 1e-5, f"bit {bit}"
    u = draws_of(9, 9).uniform("b", 200_000)[0]
    cells = (u[:-1] * 16).long() * 16 + (u[1:] * 16).long()
    assert stats.chisquare(torch.bincount(cells, minlength=256).numpy()).pvalue > 1e-4


def test_normal_draws_are_normal():
    assert stats.kstest(draws_of(5, 5).normal("n", 50_000)[0].numpy(), "norm").pvalue > 1e-3


def test_keep_mask_keeps_the_right_share_and_everything_at_zero():
    key = seed_keys([1], CPU)[0]
    assert (keep_mask(key, 5, (100_000,), torch.tensor(0.0)) == 1).all()
    for p in (0.1, 0.5, 0.9):
        kept = int(keep_mask(key, 5, (100_000,), torch.tensor(p)).sum())
        assert stats.binomtest(kept, 100_000, 1 - p).pvalue > 1e-4


def test_permutations_are_permutations_and_differ_between_epochs():
    first, second = draws_of(1, 0).permutation("order", 97), draws_of(1, 1).permutation("order", 97)
    assert sorted(first[0].tolist()) == list(range(97))
    assert not torch.equal(first, second)
