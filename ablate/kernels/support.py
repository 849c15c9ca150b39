"""Whether a kernel can run a model, found by running one lane of it. Nothing in the model is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.stacked import stacked
from ablate.kernels.vmapped import vmapped


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Within it, mode and buffers may change; they are restored after it."""
    was_training = module.training
    kept = {name: buffer.clone() for name, buffer in module.named_buffers()}
    try:
        yield
    finally:
        module.train(was_training)
        for name, buffer in module.named_buffers():
            buffer.copy_(kept[name])


def why_not_vmap(module: nn.Module, x: Tensor) -> str:
    """Why the model cannot be vmapped, in a few words; empty where it can."""
    binding = binding_of(module)
    state = {name: tensor.detach().clone()[None] for name, tensor in binding.held().items()}
    try:
        with unchanged(module), torch.no_grad(), binding.bound(state):
            vmapped(module.train(), x[None])
    except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError) as error:
        return " ".join(str(error).split())[:160] or type(error).__name__
    return ""


def trace_matches(module: nn.Module, x: Tensor) -> bool:
    """Whether the trace of a model's `forward` computes what the model does, training and evaluating."""
    try:
        return all(_trace_matches(module, x, training) for training in (True, False))
    except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError, LookupError):
        return False  # a function that the trace cannot run on several lanes


@torch.no_grad()
def _trace_matches(module: nn.Module, x: Tensor, training: bool) -> bool:
    binding = binding_of(module)
    with unchanged(module):
        pairs = {name: torch.stack([tensor, tensor]) for name, tensor in binding.held().items()}
        expected = module.train(training)(x)
        with binding.bound(pairs):
            outputs = stacked(module, torch.stack([x, x]))
    return all(own.shape == expected.shape and torch.allclose(own, expected, 1e-3, 1e-4) for own in outputs)
