"""No level of the losses of two networks against each other says that nothing was learned."""

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
