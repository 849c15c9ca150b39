"""No level of the losses of two networks against each other says that nothing was learned."""

import torch
from torch import nn

from ablate.protocol.guess import against_guess, guess_loss
from ablate.records.run import Outcome, Result
from ablate.tasks.gan_task import gan_task


def test_any_finite_loss_is_better_than_a_guess():
    task = gan_task(lambda: nn.Linear(3, 2), lambda: nn.Linear(2, 1), torch.randn(60, 2), latent=3)
    assert guess_loss(task) == float("inf")
    for loss, better in ((5.0, True), (float("nan"), False)):
        result = Result(Outcome.COMPLETE, metrics={"validation/loss": loss})
        assert against_guess(task, result).better == better
