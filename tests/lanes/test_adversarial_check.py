"""The self-check gives a model's own random layers the keys that the engine gives them."""

import torch
from torch import nn

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.self_check import by_kernel, first_difference, plain
from ablate.tasks.gan_task import gan_task


def test_two_networks_train_as_in_a_plain_loop():
    points = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    task = gan_task(lambda: nn.Linear(3, 2), lambda: nn.Linear(2, 1), points, latent=3, batch_size=12)
    context = TaskContext.of(task, registry(), torch.device("cpu"))
    for kernel in ("loop", "vmap"):
        for seed, result in enumerate(by_kernel(context.with_kernel(kernel), [0, 1])):
            assert first_difference(result, plain(context, seed)) == ""
