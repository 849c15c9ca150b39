"""The criterion of two networks, its metrics against SciPy and a brute force, and the task made of them."""

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from ablate import InputError
from ablate.tasks.check import check
from ablate.tasks.criteria import adversarial
from ablate.tasks.gan_task import gan_task
from ablate.tasks.ring import centres, good_share, modes_covered

POINTS = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))


def outputs(generated: torch.Tensor, *scores: float) -> torch.Tensor:
    columns = torch.tensor(scores or (0.0, 0.0, 0.0, 1.0)).expand(len(generated), 4)
    return torch.cat([columns, generated], 1)


def test_metrics_are_those_of_scipy_lane_by_lane():
    draws = torch.Generator().manual_seed(1)
    lanes = torch.randn(3, 60, 6, generator=draws)
    metrics = adversarial.metrics(lanes, POINTS)
    along = adversarial.directions(2).numpy()
    for lane in range(3):
        real, generated = POINTS.double().numpy(), lanes[lane, :, 4:].double().numpy()
        squares = [np.square(np.sort(real @ way) - np.sort(generated @ way)).mean() for way in along]
        assert float(metrics["sliced_wasserstein"][lane]) == pytest.approx(
            np.sqrt(np.mean(squares)), rel=1e-12
        )
        near = np.linalg.norm(generated[:, None] - real[None], axis=2).min(1)
        rank = scipy.stats.spearmanr(lanes[lane, :, 1], -near).statistic
        assert float(metrics["critic_rank_correlation"][lane]) == pytest.approx(rank, abs=1e-12)
        value = lanes[lane, :, 0].double().mean() - lanes[lane, :, 1].double().mean()
        assert float(metrics["critic_value"][lane]) == pytest.approx(float(value), abs=1e-12)
        loss = adversarial.plain_loss(lanes[lane].double(), POINTS)
        assert float(metrics["loss"][lane]) == pytest.approx(float(loss), rel=1e-12)


def test_one_direction_of_the_sliced_distance_is_wasserstein_of_sorted_points():
    one, other = torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [2.0]])
    metrics = adversarial.metrics(outputs(other)[None], one)
    assert float(metrics["sliced_wasserstein"]) == pytest.approx(2.0)


def test_ties_share_their_rank_and_a_constant_critic_has_no_correlation():
    one = torch.tensor([[1.0, 2.0, 2.0, 5.0, 0.0]]).double()
    other = torch.tensor([[3.0, 3.0, 1.0, 4.0, 0.0]]).double()
    expected = scipy.stats.spearmanr(one[0], other[0]).statistic
    assert float(adversarial.spearman(one, other)) == pytest.approx(expected)
    assert float(adversarial.spearman(one, torch.ones(1, 5).double())) == 0.0


def test_modes_and_good_samples():
    real = torch.zeros(16, 2)
    on = outputs(centres()[torch.arange(16) % 8])
    assert modes_covered(on, real) == 8
    assert good_share(on, real) == 1
    half = outputs(torch.cat([centres()[:1].expand(8, 2), torch.zeros(8, 2)]))
    assert modes_covered(half, real) == 1
    assert good_share(half, real) == 0.5


def test_a_task_of_two_networks():
    task = gan_task(lambda: nn.Linear(3, 2), lambda: nn.Linear(2, 1), POINTS, latent=3)
    assert check(task) == ()
    assert task.metric == "validation/sliced_wasserstein"
    with pytest.raises(InputError, match="the pair's output has shape"):
        check(gan_task(lambda: nn.Linear(3, 4), lambda: nn.AdaptiveAvgPool1d(1), POINTS, latent=3))
    with pytest.raises(InputError, match="latent must be a whole number of at least 1, not 0"):
        gan_task(lambda: nn.Linear(3, 2), lambda: nn.Linear(2, 1), POINTS, latent=0)
