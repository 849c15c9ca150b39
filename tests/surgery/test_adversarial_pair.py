"""One gradient of the summed losses is, for each network, the gradient of its own loss; and the gradient norm is the critic's."""

import torch
import torch.nn.functional as F
from torch import nn

from ablate.surgery.adversarial_pair import AdversarialPair
from ablate.surgery.layer_table import layer_table
from ablate.surgery.net import open_net
from ablate.tasks.criteria import adversarial


def pair() -> AdversarialPair:
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    critic = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    return AdversarialPair(generator, critic).double()


class Given(nn.Module):
    """The latent vectors as they are given, in training too."""

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        return latent


def test_each_network_has_the_gradient_of_its_own_loss():
    both, real, latent = pair(), torch.randn(6, 2).double(), torch.randn(6, 3).double()
    both.fresh_latent = Given()
    adversarial.plain_loss(both(real, latent), real).backward()
    actual = {name: parameter.grad.clone() for name, parameter in both.named_parameters()}
    both.zero_grad()
    bce, fake = F.binary_cross_entropy_with_logits, both.generator(latent)
    ones, zeros = torch.ones(6, 1).double(), torch.zeros(6, 1).double()
    critic_loss = bce(both.critic(real), ones) + bce(both.critic(fake.detach()), zeros)
    expected = dict(
        zip(
            dict(both.critic.named_parameters()),
            torch.autograd.grad(critic_loss, list(both.critic.parameters())),
            strict=True,
        )
    )
    generator_loss = bce(both.critic(fake), ones)
    of_generator = torch.autograd.grad(generator_loss, list(both.generator.parameters()))
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[f"critic.{name}"], gradient)
    for (name, _), gradient in zip(both.generator.named_parameters(), of_generator, strict=True):
        torch.testing.assert_close(actual[f"generator.{name}"], gradient)


def test_the_gradient_norm_is_that_of_finite_differences_and_has_a_gradient():
    both, real, fake = pair(), torch.randn(5, 2).double(), torch.randn(5, 2).double()
    share = both.mixing_share(real).double()
    between = share * real + (1 - share) * fake
    norm = both._gradient_norm(real, fake)
    step, slopes = 1e-6, []
    for axis in range(2):
        shift = torch.zeros(1, 2).double()
        shift[0, axis] = step
        slopes.append((both.critic(between + shift) - both.critic(between - shift)) / (2 * step))
    torch.testing.assert_close(norm, torch.cat(slopes, 1).norm(dim=1, keepdim=True), rtol=1e-6, atol=1e-8)
    assert torch.autograd.grad(norm.sum(), both.critic[0].weight)[0].abs().sum() > 0


def test_latent_vectors_are_normal_in_training_and_given_in_evaluation():
    both = pair().float()
    given = torch.randn(4, 3)
    assert torch.equal(both.eval().fresh_latent(given), given)
    drawn = both.train().fresh_latent(torch.zeros(20_000, 3))
    assert abs(float(drawn.mean())) < 0.02
    assert abs(float(drawn.std()) - 1) < 0.02
    assert abs(float((drawn.abs() < 1).float().mean()) - 0.6827) < 0.01


def test_the_ends_of_both_networks_are_left_alone():
    net = open_net(_unpacked(pair().float()), torch.randn(2, 5))
    assert net.heads == {"generator.2", "critic.4"}
    assert [info.path for info in net.hidden()] == ["generator.0", "critic.0", "critic.2"]


def _unpacked(both: AdversarialPair) -> AdversarialPair:
    class OfColumns(AdversarialPair):
        def forward(self, x):
            return super().forward(x[:, :2], x[:, 2:])

    both.__class__ = OfColumns
    return both


def test_fields_of_the_critic_are_in_the_image_and_those_of_the_generator_in_its_first_maps():
    generator = nn.Sequential(
        nn.Linear(4, 32), nn.Unflatten(1, (2, 4, 4)), nn.ConvTranspose2d(2, 2, 2, stride=2), nn.ReLU(), nn.Conv2d(2, 1, 3, padding=1)
    )  # fmt: skip
    critic = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3, stride=2), nn.Flatten(), nn.Linear(8, 1)
    )

    class OfImages(AdversarialPair):
        def forward(self, x):
            return super().forward(x[:, :64].reshape(-1, 1, 8, 8), x[:, 64:])

    pair = OfImages(generator, critic)
    table = layer_table(pair, torch.randn(1, 68), maps=False)
    fields = {row.path: row.receptive_field for row in table.rows if row.receptive_field}
    assert fields == {
        "generator.1": (1, 1), "generator.2": (1, 1), "generator.3": (1, 1), "generator.4": (2, 2),
        "critic.0": (3, 3), "critic.1": (3, 3), "critic.2": (5, 5),
    }  # fmt: skip
