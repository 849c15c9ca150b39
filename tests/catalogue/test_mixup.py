"""mixup: the share against Beta(α, α), the mixing against a loop, the loss against its own linearity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from image_cases import same_bits, with_extremes
from scipy import stats
from sweep import sweep

from ablate.catalogue.data.mixup import TRICK, batch, mixed, symmetric_beta
from ablate.records.errors import NotApplicable
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws, seed_keys, step_keys
from ablate.seams.settings import Settings

CPU = torch.device("cpu")


def settings(alphas):
    return Settings.stack(TRICK, [None if a is None else {"alpha": a} for a in alphas], CPU)


def given(lanes, examples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(lanes, examples, 3, 4, generator=generator)
    target = torch.eye(5)[torch.randint(5, (lanes, examples), generator=generator)]
    return Batch(x, target, torch.zeros(lanes, examples, dtype=torch.int64))


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2, 0.5, 0.8, 1.0, 2.0, 8.0])
def test_share_has_the_beta_distribution(alpha):
    """Kolmogorov and Smirnov's distance, at the level 1e-6.

    The distance is taken at points within (0, 1) only: for small α much of the mass lies closer to 1 than
    the spacing of float32, and is rounded to 1.
    """
    draws = Draws(seed_keys([11], CPU))
    count = 200_000
    u, v = draws.uniform("u", count)[0], draws.uniform("v", count)[0]
    share = np.sort(symmetric_beta(u, v, torch.full_like(u, alpha)).double().numpy())
    assert share.min() >= 0
    assert share.max() <= 1
    points = np.concatenate([np.geomspace(1e-12, 0.5, 500), 1 - np.geomspace(1e-6, 0.5, 500)])
    distance = np.abs(
        np.searchsorted(share, points, side="right") / count - stats.beta(alpha, alpha).cdf(points)
    )
    assert distance.max() < stats.kstwo(count).isf(1e-6)


def test_the_ends_of_the_uniform_numbers_give_numbers():
    ends = torch.tensor([0.0, 2.0**-24, 0.25, 0.5, 0.75, 1 - 2.0**-24])
    u, v = torch.meshgrid(ends, ends, indexing="ij")
    for alpha in (0.0, 1e-6, 0.2, 1.0, 100.0):
        share = symmetric_beta(u, v, torch.full_like(u, alpha))
        assert ((share >= 0) & (share <= 1)).all()


def test_consecutive_steps_draw_independent_shares():
    keys = seed_keys([4], CPU)
    shares = []
    for step in range(2000):
        draws = Draws(step_keys(keys, torch.tensor([step]))).within("mixup")
        shares.append(symmetric_beta(draws.uniform("u"), draws.uniform("v"), torch.ones(1)).item())
    assert stats.kstest(shares, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(shares[:-1], shares[1:])[0, 1]) < 4 / np.sqrt(2000)


@sweep("seed", range(100))
def test_mixing_is_that_of_a_loop(seed):
    random = np.random.default_rng(seed)
    lanes, examples = random.integers(1, 5), random.integers(1, 7)
    x = random.normal(size=(lanes, examples, 2, 3))
    partner = np.stack([random.permutation(examples) for _ in range(lanes)])
    share = random.uniform(size=lanes)
    values = torch.tensor(x, requires_grad=True)
    mixture = mixed(values, torch.tensor(partner), torch.tensor(share))
    expected, slope = np.empty_like(x), np.zeros_like(x)
    weight = random.normal(size=x.shape)
    for lane in range(lanes):
        for i, j in enumerate(partner[lane]):
            expected[lane, i] = x[lane, j] + share[lane] * (x[lane, i] - x[lane, j])
            slope[lane, i] += share[lane] * weight[lane, i]
            slope[lane, j] += (1 - share[lane]) * weight[lane, i]
    np.testing.assert_allclose(mixture.detach().numpy(), expected, atol=1e-14)
    (gradient,) = torch.autograd.grad((mixture * torch.tensor(weight)).sum(), values)
    np.testing.assert_allclose(gradient.numpy(), slope, atol=1e-14)


def test_inputs_and_targets_are_mixed_alike():
    """A target that is a linear function of the input still is one afterwards."""
    before = given(3, 8)
    matrix = torch.randn(12, 2, generator=torch.Generator().manual_seed(1))
    linear = before.replaced(target=before.x.flatten(2) @ matrix)
    after = batch(linear, Draws(seed_keys([1, 2, 3], CPU)), settings([1.0, 0.5, 0.3]))
    assert not torch.allclose(after.x, before.x)
    torch.testing.assert_close(after.target, after.x.flatten(2) @ matrix, rtol=1e-4, atol=1e-5)


def test_neutral_lanes_are_untouched_and_lanes_do_not_mix():
    alphas = [0.0, 0.2, None, 1.0]
    draws = Draws(seed_keys([5, 6, 7, 8], CPU), "mixup/")
    before = with_extremes(given(4, 9))
    after = batch(before, draws, settings(alphas))
    for lane in (0, 2):
        assert same_bits(after.x[lane], before.x[lane])
        assert same_bits(after.target[lane], before.target[lane])
    before = given(4, 9)
    after = batch(before, draws, settings(alphas))
    for lane, alpha in enumerate(alphas):
        row = slice(lane, lane + 1)
        lane_batch = Batch(before.x[row], before.target[row], before.index[row])
        alone = batch(lane_batch, Draws(draws.keys[row], "mixup/"), settings([alpha]))
        assert torch.equal(alone.x[0], after.x[lane])
        assert torch.equal(alone.target[0], after.target[lane])


def test_numbers_of_tokens_are_refused():
    before = given(1, 4)
    with pytest.raises(NotApplicable, match="tokens"):
        batch(
            before.replaced(x=torch.zeros(1, 4, 6, dtype=torch.int64)),
            Draws(seed_keys([0], CPU)),
            settings([1.0]),
        )
