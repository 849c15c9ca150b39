"""Checks that a model on stacked tensors computes the same as the model itself: outputs, gradients and buffers.

A trace records one run of a `forward` but not its effects on gradients (`torch.no_grad`, custom autograd functions); vmap refuses or
changes some operations. Both are checked on an example before they are used.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ablate.kernels.module_state import begin, fused_paths
from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.stacked import stacked
from ablate.kernels.vmapped import vmapped
from ablate.seams.draws import count_calls

Lanes = Callable[[nn.Module, Tensor], Tensor]
FAILURES = (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError, LookupError)
"""Exceptions that a model may raise under vmap or as a trace."""
TOLERANCE = 1e-3
"""Relative to the largest element of a tensor."""
NOISE = 1e-4
"""Relative to the largest element of all."""


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Context of a separate forward pass, after which mode and buffers are restored."""
    was_training = module.training
    kept = {name: buffer.clone() for name, buffer in module.named_buffers()}
    calls = count_calls({})
    try:
        with fused_paths(allowed=False):
            yield
    finally:
        count_calls(calls)
        module.train(was_training)
        for name, buffer in module.named_buffers():
            buffer.copy_(kept[name])


def trace_matches(module: nn.Module, x: Tensor) -> bool:
    """Whether the trace of a model's `forward` computes the same as the model, in training and evaluation, gradients included."""
    return not _why_not(module, x, stacked)


def why_not_vmap(module: nn.Module, x: Tensor) -> str:
    """Why the model cannot be vmapped, in a few words; empty if it can. Changes no buffer of the model."""
    return _why_not(module, x, vmapped)


def _why_not(module: nn.Module, x: Tensor, lanes: Lanes) -> str:
    try:
        for training in (True, False):
            with unchanged(module):
                begin(module, training)
                expected = _results(module, x)
            with unchanged(module), warnings.catch_warnings():
                begin(module, training)
                warnings.simplefilter("ignore")  # vmap's warnings about operations that it runs one by one
                actual = _stacked_results(module, x, lanes)
            for lane in range(2):
                result = {name: None if tensor is None else tensor[lane] for name, tensor in actual.items()}
                if what := differing(result, expected):
                    return f"its {what} would differ"
    except FAILURES as error:
        return " ".join(str(error).split())[:160] or type(error).__name__
    return ""


def differing(actual: Mapping[str, Tensor | None], expected: Mapping[str, Tensor | None]) -> str:
    """The first of `expected` that differs in `actual`, or is missing in one of them; empty if none does.

    Beyond rounding: a gradient that is pure rounding error (such as of a bias before a norm) is compared with the largest element.
    """
    largest = max(
        (
            _exact(value).abs().max().item()
            for value in expected.values()
            if value is not None and value.numel()
        ),
        default=0.0,
    )
    for name, value in expected.items():
        other = actual.get(name)
        if value is None or other is None:
            if value is not other:
                return name
            continue
        scale = _exact(value).abs().max().item() if value.numel() else 0.0
        if value.shape != other.shape or not torch.allclose(
            _exact(other), _exact(value), TOLERANCE, TOLERANCE * scale + NOISE * largest, equal_nan=True
        ):
            return name
    return ""


def _exact(tensor: Tensor) -> Tensor:
    """The tensor in double precision, real or complex."""
    return tensor.detach().to(torch.complex128 if tensor.is_complex() else torch.float64)


def _results(module: nn.Module, x: Tensor) -> dict[str, Tensor | None]:
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    with torch.set_grad_enabled(module.training):
        y = module(x)
    actual: dict[str, Tensor | None] = {"output": y.detach()}
    actual |= _gradients((y * _slope(y)).sum(), parameters)
    return actual | {f"buffer '{name}'": buffer.clone() for name, buffer in module.named_buffers()}


def _stacked_results(module: nn.Module, x: Tensor, lanes: Lanes) -> dict[str, Tensor | None]:
    """Results of two equal lanes, stacked."""
    binding = binding_of(module)
    pairs = {name: torch.stack([tensor.detach()] * 2) for name, tensor in binding.tensors().items()}
    named = dict(module.named_parameters())
    parameters = {
        name: pairs[name].requires_grad_() for name, original in named.items() if original.requires_grad
    }
    before = binding.put(pairs)
    try:
        with torch.set_grad_enabled(module.training):
            y = lanes(module, torch.stack([x, x]))
    finally:
        binding.put(before)
    actual: dict[str, Tensor | None] = {"output": y.detach()}
    actual |= _gradients((y * _slope(y[0])).sum(), parameters)
    return actual | {f"buffer '{name}'": pairs[name] for name, _ in module.named_buffers()}


def _gradients(total: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    if not total.requires_grad:
        return {}
    actual = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    return {f"gradient of '{name}'": gradient for name, gradient in zip(parameters, actual, strict=True)}


def _slope(y: Tensor) -> Tensor:
    """The gradient of the output used for the check, equal for outputs of one shape."""
    return torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).to(y)
