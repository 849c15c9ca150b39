"""Counter-based draws: an independent reference in plain integers, and what is asked of a generator."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from scipy import stats

from ablate.seams.draws import (
    Draws,
    bits,
    call_key,
    calls_so_far,
    count_calls,
    keep_mask,
    keep_masks,
    least_kept,
    mix,
    seed_keys,
    step_keys,
    stream_keys,
    stream_number,
)  # fmt: skip

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
        lane_keys = stream_keys(keys[lane], stream_number("dropout"))
        assert torch.equal(together[lane], bits(lane_keys, (7, 5)))


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


def least_of(p: float) -> torch.Tensor:
    return torch.tensor(least_kept(p), dtype=torch.int16)


def mask_keys(count: int, stream: str = "mask") -> torch.Tensor:
    """Keys as a layer gets them: one seed, `count` steps."""
    keys = step_keys(seed_keys([1], CPU).expand(count), torch.arange(count))
    return stream_keys(keys, stream_number(stream))


def test_keep_mask_keeps_the_right_share_and_everything_at_zero():
    for key in mask_keys(5):
        assert (keep_mask(key, least_of(0.0), (100_000,)) == 1).all()
        for p in (0.001, 0.1, 0.5, 0.9):
            kept = int(keep_mask(key, least_of(p), (100_000,)).sum())
            assert stats.binomtest(kept, 100_000, 1 - p).pvalue > 1e-4


def test_masks_are_those_of_the_tables_written_out_in_plain_integers():
    key, p = int(mask_keys(3)[2]) & 0xFFFFFFFF, 0.3
    first, second = key & 0xFFFF, key >> 16

    def number(start: int, table: str) -> int:
        return lowbias32(start ^ (stream_number(f"keep/{table}") & 0xFFFFFFFF)) >> 16

    drawn = [number(first + i, "first") ^ number(second + i, "second") for i in range(3000)]
    signed = [value - 2**16 if value >= 2**15 else value for value in drawn]
    expected = [float(value >= round(p * 2**16) - 2**15) for value in signed]
    assert keep_mask(mask_keys(3)[2], least_of(p), (3000,)).tolist() == expected


def test_a_lanes_mask_is_the_same_alone_and_among_many_and_however_much_is_drawn_at_a_time():
    keys, shape = mask_keys(7), (300, 100)
    least = torch.stack([least_of(p) for p in (0.0, 0.1, 0.5, 0.9, 0.3, 0.0, 0.99)])
    together = keep_masks(keys, least, shape)  # more than a chunk
    for lane in range(7):
        assert torch.equal(together[lane], keep_mask(keys[lane], least[lane], shape))
    assert torch.equal(keep_mask(keys[2], least[2], (50,)), together[2].flatten()[:50])


def test_masks_of_neighbouring_units_and_of_different_steps_are_independent():
    masks = keep_masks(mask_keys(400), least_of(0.5).expand(400), (500,)).double()
    n = masks.numel()
    for other in (masks.roll(1, 0), masks.roll(1, 1), masks.roll(7, 1), masks.roll((1, 1), (0, 1))):
        agree = int((masks == other).sum())
        assert abs(agree - n / 2) < 4 * math.sqrt(n) / 2
    by_unit, by_step = masks.sum(0), masks.sum(1)
    assert stats.chisquare([float(((by_unit - 200).abs() < 10).sum()), float(((by_unit - 200).abs() >= 10).sum())],
                           [500 * _within(400, 10), 500 * (1 - _within(400, 10))]).pvalue > 1e-4  # fmt: skip
    assert stats.chisquare([float(((by_step - 250).abs() < 11).sum()), float(((by_step - 250).abs() >= 11).sum())],
                           [400 * _within(500, 11), 400 * (1 - _within(500, 11))]).pvalue > 1e-4  # fmt: skip


def _within(n: int, distance: int) -> float:
    """The probability that a fair binomial of `n` is nearer to n / 2 than `distance`."""
    return float(stats.binom.cdf(n // 2 + distance - 1, n, 0.5) - stats.binom.cdf(n // 2 - distance, n, 0.5))


def test_one_pair_of_masks_in_thousands_is_a_shifted_copy_as_documented():
    keys = mask_keys(2000).long() & 0xFFFFFFFF
    apart = ((keys & 0xFFFF) - (keys >> 16)) & 0xFFFF  # equal: one mask is the other, shifted
    pairs = 2000 * 1999 / 2
    same = sum(count * (count - 1) / 2 for count in apart.bincount().tolist())
    assert same == pytest.approx(pairs / 65536, abs=4 * math.sqrt(pairs / 65536))


def test_permutations_are_permutations_and_differ_between_epochs():
    first, second = draws_of(1, 0).permutation("order", 97), draws_of(1, 1).permutation("order", 97)
    assert sorted(first[0].tolist()) == list(range(97))
    assert not torch.equal(first, second)


def test_draws_are_counted_thread_by_thread() -> None:
    """A pool may train in one thread while the driver runs a model in another."""
    key = torch.tensor(1, dtype=torch.int32)
    before = count_calls({})
    try:
        call_key(key, 7)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(calls_so_far).result() is None
            assert pool.submit(count_calls, {}).result() is None
        assert calls_so_far() == {7: 1}
    finally:
        count_calls(before)


def test_masks_within_a_gradient_are_those_outside():
    """A gradient penalty runs the critic, with its dropout, under `torch.func.grad`."""
    keys, least = (
        torch.tensor([5, 77, -3], dtype=torch.int32),
        torch.full((3,), least_kept(0.4), dtype=torch.int16),
    )

    def slope(key, least):
        return torch.func.grad(lambda x: (x * keep_mask(key, least, (6, 4))).sum())(torch.ones(6, 4))

    assert torch.equal(torch.func.vmap(slope)(keys, least), keep_masks(keys, least, (6, 4)))
    assert torch.equal(slope(keys[1], least[1]), keep_masks(keys, least, (6, 4))[1])
