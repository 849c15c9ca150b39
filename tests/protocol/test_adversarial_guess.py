"""No level of the losses of two networks against each other says that nothing was learned."""

import pytest
import torch
from protocol_cases import ground_of
from torch import nn

from ablate.protocol.guess import against_guess, guess_loss
from ablate.protocol.overfit import overfit_sample
from ablate.records.run import Outcome, Result
from ablate.tasks.gan_task import gan_task
from ablate.tasks.load import load


def test_any_finite_loss_is_better_than_a_guess():
    task = gan_task(lambda: nn.Linear(3, 2), lambda: nn.Linear(2, 1), torch.randn(60, 2), latent=3)
    assert guess_loss(task) == float("inf")
    for loss, better in ((5.0, True), (float("nan"), False)):
        result = Result(Outcome.COMPLETE, metrics={"validation/loss": loss})
        assert against_guess(task, result).better == better


def test_one_real_point_for_all_examples_is_no_control():
    """A critic tells a single real point from generated ones, and that is no leak of targets."""
    task = load("ring-gan")
    step = overfit_sample(ground_of(task))
    assert step.verdict == "pass"
    assert "loss_without_inputs" not in step.figures


class Deaf(nn.Module):
    """A critic whose scores do not depend on what it is shown."""

    def __init__(self):
        super().__init__()
        self.score = nn.Linear(2, 1)

    def forward(self, x):
        return self.score(x * 0)


def of_seeds(task, seeds=(0, 1, 2)):
    return [overfit_sample(ground_of(task, seed)) for seed in seeds]


@pytest.mark.parametrize("name", ["ring-gan", "digits-gan"])
def test_the_critic_of_a_built_in_task_learns_a_few_examples(name):
    for step in of_seeds(load(name)):
        assert step.verdict == "pass", step.findings
        assert step.figures["score"], "rates and scores"


def test_a_critic_that_sees_nothing_fails():
    task = gan_task(lambda: nn.Linear(3, 2), Deaf, torch.randn(60, 2) + 3, latent=3)
    (step,) = of_seeds(task, (0,))
    assert step.verdict == "fail"
    assert step.findings[0].code == "no-gradient"
    assert step.findings[0].where == "critic.score.weight"


def test_a_generator_without_a_gradient_is_told():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, z):
            return self.used(z)

    task = gan_task(Unused, lambda: nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)), torch.randn(60, 2) + 3, latent=3)  # fmt: skip
    (step,) = of_seeds(task, (0,))
    (finding,) = step.findings
    assert finding.code == "parameters-without-gradient"
    assert "generator.unused" in finding.where
