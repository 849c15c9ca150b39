"""The tricks of adversarial training against float64 references, in torch's own functions and in numbers worked out by hand."""

import numpy as np
import torch
import torch.nn.functional as F
from catalogue.criterion_cases import settings_of_lanes
from sweep import sweep

from ablate.catalogue.criterion.one_sided_smoothing import example_loss as smoothed
from ablate.catalogue.criterion.wgan_clip import example_loss as clipped
from ablate.catalogue.criterion.wgan_clip import project
from ablate.catalogue.criterion.wgan_gp import example_loss as penalised
from ablate.catalogue.optimizer.critic_steps import rests
from ablate.seams.tensors import LaneTensors, Layout, Spec

LANES = 40


def scores(seed: int) -> torch.Tensor:
    random = np.random.default_rng(seed)
    return torch.tensor(random.normal(scale=3, size=(LANES, 6, 7)), requires_grad=True)


def values(low: float, high: float) -> list[float]:
    return np.random.default_rng(5).uniform(low, high, LANES).tolist()


def same(actual: torch.Tensor, expected: torch.Tensor, at: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    gradients = [
        torch.autograd.grad(one.square().sum(), at, retain_graph=True)[0] for one in (actual, expected)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-11)


@sweep("seed", range(3))
def test_one_sided_smoothing_is_cross_entropy_with_a_smoothed_target_of_real_examples(seed):
    eps, z = values(0, 0.3), scores(seed)
    actual = smoothed(
        z, torch.empty(0), settings_of_lanes("one_sided_smoothing", [{"eps": one} for one in eps])
    )
    target = (1 - torch.tensor(eps, dtype=torch.float64))[:, None].expand(LANES, 6)
    bce = F.binary_cross_entropy_with_logits
    expected = (
        bce(z[..., 0], target, reduction="none")
        + bce(z[..., 1], torch.zeros_like(target), reduction="none")
        + bce(z[..., 2], torch.ones_like(target), reduction="none")
    )
    same(actual, expected, z)


@sweep("seed", range(3))
def test_wasserstein_losses(seed):
    weights, z = values(0.1, 100), scores(seed)
    lanes = settings_of_lanes("wgan_gp", [{"penalty": one} for one in weights])
    wasserstein = torch.stack([-z[k, :, 0] + z[k, :, 1] - z[k, :, 2] for k in range(LANES)])
    same(clipped(z, torch.empty(0), settings_of_lanes("wgan_clip", [{"clip": 0.1}] * LANES)), wasserstein, z)
    penalty = lanes.penalty[:, None] * (z[..., 3] - 1) ** 2
    same(penalised(z, torch.empty(0), lanes), wasserstein + penalty, z)


def test_clipping_is_of_the_critic_and_of_lanes_that_have_it():
    layout = Layout([Spec("generator.w", (3, 2), "weight", False), Spec("critic.w", (2, 3), "weight", False)])
    weights = LaneTensors(layout, torch.randn(3, layout.width, generator=torch.Generator().manual_seed(0)))
    before = {name: tensor.clone() for name, tensor in weights.items()}
    project(weights, settings_of_lanes("wgan_clip", [{"clip": 0.1}, None, {"clip": 0.5}]))
    assert torch.equal(weights["generator.w"], before["generator.w"])
    for lane, limit in enumerate((0.1, np.inf, 0.5)):
        expected = np.clip(before["critic.w"][lane].numpy(), -np.float32(limit), np.float32(limit))
        np.testing.assert_array_equal(weights["critic.w"][lane].numpy(), expected)


def test_the_generator_rests_between_its_updates():
    settings = settings_of_lanes("critic_steps", [{"steps": 3}])
    names = ["generator.0.weight", "critic.0.weight"]
    resting = [rests(step, names, settings) for step in range(7)]
    assert resting == [frozenset() if step % 3 == 0 else {"generator.0.weight"} for step in range(7)]
