"""Restore a model, its loaders and every random generator."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class ModelState:
    """A module's parameters, buffers, gradients and modes, which can be restored any number of times."""

    def __init__(self, model: nn.Module) -> None:
        self.modules = [
            (module, module.training, dict(module._parameters), dict(module._buffers)) for module in model.modules()
        ]  # fmt: skip
        tensors = [*model.parameters(), *model.buffers()]
        self.values = [(tensor, tensor.detach().clone()) for tensor in tensors]
        self.gradients = [
            (p, p.grad, None if p.grad is None else p.grad.detach().clone()) for p in model.parameters()
        ]
        self.trainable = [(p, p.requires_grad) for p in model.parameters()]

    @torch.no_grad()
    def restore(self, *, gradients: bool = True) -> None:
        """Restore everything: the same tensor objects with their old values. `gradients=False`: clear those instead."""
        for module, training, parameters, buffers in self.modules:
            module.training = training
            module._parameters.update(parameters)
            module._buffers.update(buffers)
        for tensor, value in self.values:
            tensor.copy_(value)
        for parameter, required in self.trainable:
            parameter.requires_grad_(required)
        for parameter, gradient, before in self.gradients:
            parameter.grad = gradient if gradients else None
            if gradients and gradient is not None and before is not None:
                gradient.copy_(before)


def generators_of(loaders: Sequence[Any]) -> list[torch.Generator]:
    """The generators that the loaders and their samplers own, each once."""
    generators: dict[int, torch.Generator] = {}
    for loader in loaders:
        batches = getattr(loader, "batch_sampler", None)
        for holder in (loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None)):
            generator = getattr(holder, "generator", None)
            if isinstance(generator, torch.Generator):
                generators[id(generator)] = generator
    return list(generators.values())


def seed_everything(seed: int, generators: Sequence[torch.Generator]) -> None:
    """Seed Python's, NumPy's and torch's generators, and `generators`."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    for generator in generators:
        generator.manual_seed(seed)


@contextmanager
def restored(model: nn.Module, loaders: Sequence[Any]) -> Iterator[ModelState]:
    """Context in which the model may be trained; on exit, also after an error, model, loaders and generators are restored."""
    state, generators = ModelState(model), generators_of(loaders)
    saved = [generator.get_state() for generator in generators]
    python, numpy = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    grad_enabled = torch.is_grad_enabled()
    try:
        with torch.random.fork_rng(devices=devices), torch.enable_grad():
            yield state
    finally:
        state.restore()
        torch.set_grad_enabled(grad_enabled)
        random.setstate(python)
        np.random.set_state(numpy)
        for generator, before in zip(generators, saved, strict=True):
            generator.set_state(before)


def to_device(batch: Any, device: torch.device) -> Any:
    """Every tensor of a nested batch on `device`."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict) or hasattr(batch, "keys"):
        return {key: to_device(batch[key], device) for key in batch.keys()}  # noqa: SIM118 - a BatchEncoding
    if isinstance(batch, list | tuple):
        return [to_device(part, device) for part in batch]
    return batch
