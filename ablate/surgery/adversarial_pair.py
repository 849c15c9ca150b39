"""A generator and a critic as one model: one forward pass has everything that both losses need.

    forward: (real `[B, …]`, latent `[B, L]`) -> `[B, 4 + D]`: c(x), c(x̃), c̄(x̃), ‖∇c(x̂)‖, then x̃ = g(z), flattened

c is the critic (of the standard GAN: the discriminator's logit), c̄ the same function with its weights held constant. The critic's loss is a function of c(x) and
c(g(z)) with g(z) held constant, the generator's one of c̄(g(z)): each network has its own gradient from the sum of both losses, and both are updated at once (simultaneous gradient descent).
"""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ablate.surgery.layers import RandomLayer

REAL, FAKE, FOR_GENERATOR, NORM = range(4)
"""The output's columns before the generated examples."""
SCORES = 4
NETWORKS = "generator", "critic"
GENERATOR, CRITIC = (f"{name}." for name in NETWORKS)
"""Prefixes of the names of the networks' parameters."""


class FreshLatent(RandomLayer):
    """Latent vectors `[B, L]`: standard normal draws in training, the given ones in evaluation."""

    def forward(self, latent: Tensor) -> Tensor:
        if not self.training:
            return latent
        return normal(*self.uniform((2, *latent.shape)).unbind(0))


def normal(one: Tensor, other: Tensor) -> Tensor:
    """A standard normal draw from two uniform ones on [0, 1) (Box & Muller 1958). Shape `[…]` of all three."""
    return (-2 * (1 - one).log()).sqrt() * (2 * pi * other).cos()


class MixingShare(RandomLayer):
    """Uniform draws on [0, 1), one for each example: `[B, …]` -> `[B, 1, …]`."""

    def forward(self, x: Tensor) -> Tensor:
        return self.uniform((len(x), *[1] * (x.ndim - 1)))


class ConstantCritic(nn.Module):
    """c̄: the critic that a pair holds at present, with constant weights."""

    def __init__(self, pair: AdversarialPair) -> None:
        super().__init__()
        self.__dict__["_modules_of_pair"] = (
            pair._modules
        )  # as an attribute, the critic would be a second child with the same layers

    @property
    def critic(self) -> nn.Module:
        """The critic, with weights that train."""
        critic: nn.Module = self.__dict__["_modules_of_pair"]["critic"]
        return critic

    def forward(self, x: Tensor) -> Tensor:
        constants = {name: parameter.detach() for name, parameter in self.critic.named_parameters()}
        scores: Tensor = functional_call(self.critic, constants, (x,))
        return scores


class AdversarialPair(nn.Module):
    """Two networks that train against each other.

    generator: maps latent vectors `[B, L]` to examples `[B, …]`. critic: maps examples to scores `[B]` or `[B, 1]`, larger for real ones.
    """

    penalised = False
    """Whether the gradient norm of the critic is computed, which takes a second backward pass; else the column is 1."""
    critic_alone = False
    """Whether only the critic has a gradient: c̄(x̃) is then 0."""

    def __init__(self, generator: nn.Module, critic: nn.Module) -> None:
        super().__init__()
        self.generator = generator
        self.critic = critic
        self.fresh_latent = FreshLatent("adversarial/latent")
        self.mixing_share = MixingShare("adversarial/mixing")
        self.constant_critic = ConstantCritic(self)

    def forward(self, real: Tensor, latent: Tensor) -> Tensor:
        fake: Tensor = self.generator(self.fresh_latent(latent))
        of_real = self._scores(self.critic(real))
        of_fake = self._scores(self.critic(fake.detach()))
        if self.critic_alone:
            for_generator = torch.zeros_like(of_fake)
        else:
            for_generator = self._scores(self.constant_critic(fake)) if self.training else of_fake
        norm = (
            self._gradient_norm(real, fake.detach())
            if self.penalised and self.training
            else torch.ones_like(of_real)
        )
        return torch.cat([of_real, of_fake, for_generator, norm, fake.flatten(1)], dim=1)

    def _gradient_norm(self, real: Tensor, fake: Tensor) -> Tensor:
        """‖∇c(x̂)‖ `[B, 1]` at x̂ = u x + (1 − u) g(z), u uniform for each pair (Gulrajani et al. 2017, algorithm 1)."""
        share = self.mixing_share(real)

        def score(x: Tensor) -> Tensor:
            # What the pass does to buffers (running statistics) is discarded: no example is a mixture.
            buffers = {name: buffer.clone() for name, buffer in self.critic.named_buffers()}
            total: Tensor = functional_call(self.critic, buffers, (x,)).sum()
            return total

        gradient: Tensor = torch.func.grad(score)(share * real + (1 - share) * fake)
        # The square root has no gradient at zero.
        norm: Tensor = gradient.flatten(1).square().sum(dim=1, keepdim=True).clamp(min=1e-12).sqrt()
        return norm

    @staticmethod
    def _scores(scores: Tensor) -> Tensor:
        return scores.reshape(-1, 1)


def is_generator(parameter: str) -> bool:
    """Whether a pair's parameter of this name is the generator's."""
    return parameter.startswith(GENERATOR)


def pair_of(module: nn.Module) -> AdversarialPair | None:
    """The adversarial pair that `module` is, or None."""
    return module if isinstance(module, AdversarialPair) else None
