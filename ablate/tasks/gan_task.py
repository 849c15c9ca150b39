"""Tasks of two networks: a generator and a critic, and the real examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ablate.records.arguments import known_arguments, parameters_of
from ablate.surgery.adversarial_pair import AdversarialPair, is_generator, pair_of
from ablate.tasks import data
from ablate.tasks.model_outputs import Adapted
from ablate.tasks.task import Task
from ablate.tasks.user_splits import positive

__all__ = ["critic_alone", "gan_task", "is_generator"]
LATENT_SEED = {"train": 1, "validation": 2, "test": 3}


@known_arguments(parameters_of(Task))
def gan_task(
    generator: Callable[[], nn.Module],
    critic: Callable[[], nn.Module],
    train: Any,
    validation: Any = None,
    test: Any = None,
    *,
    latent: int,
    **changes: Any,
) -> Task:
    """The task of generating examples like those of `train`.

    generator, critic: make fresh modules: latent vectors `[B, latent]` -> examples `[B, …]`, and examples -> scores `[B]` or `[B, 1]`
        (of a discriminator: logits). train, validation, test: real examples `[N, …]` as tensors or arrays; a missing split is taken from
        the training data. changes: other arguments of `Task` (`metric`, `metrics`, `epochs`, …); a metric's function gets outputs
        `[N, 4 + D]` (critic's scores in the first four columns, then the generated examples) and the real examples `[N, D]`.

    Latent vectors are redrawn at each step, and are always the same in evaluation. Raises InputError.
    """
    positive("latent", latent)  # the number of the generator's inputs
    given = {"train": train, "validation": validation, "test": test}
    splits: dict[str, Any] = {
        where: split
        if split is None or split is False
        else _with_latent(data.tensor(split, f"{where} x"), latent, where)
        for where, split in given.items()
    }

    def model() -> nn.Module:
        return AdversarialPair(generator(), critic())

    return Task(model, **splits, criterion="adversarial", **changes)


def _with_latent(real: Tensor, latent: int, where: str) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """((real examples, latent vectors of evaluation), real examples)."""
    draws = torch.Generator().manual_seed(LATENT_SEED[where])
    real = real.to(torch.float32)
    return (real, torch.randn(len(real), latent, generator=draws)), real


@dataclass(frozen=True)
class CriticAlone:
    """A factory of pairs in which only the critic trains."""

    factory: Callable[[], nn.Module]

    def __call__(self) -> nn.Module:
        module = self.factory()
        pair = pair_of(module)
        assert pair is not None
        pair.critic_alone = True
        return module


def critic_alone(task: Task) -> Task:
    """The task of telling the real examples from those of the generator as it was initialised; the generator's loss is a constant.

    Two networks that train against each other may end at the loss that they started from, so that only a critic that trains alone can be seen to learn.
    """
    model = task.model
    assert isinstance(model, Adapted)  # a pair takes two inputs
    return task.but(model=replace(model, factory=CriticAlone(model.factory)))
