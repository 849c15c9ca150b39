"""Models with lazy layers (`nn.LazyLinear`, …), whose sizes are determined by the first forward pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ablate.records.errors import InputError
from ablate.tasks.user_code import UserCode


def materialised(module: nn.Module, example: Tensor) -> nn.Module:
    """`module` with the sizes of its lazy layers set by a forward pass on `example` `[B, …]` in evaluation mode.

    Their initial weights are drawn from torch's generator. Every layer keeps its mode. Raises InputError if the forward
    pass fails or leaves a layer uninitialised.
    """
    if not any(map(is_lazy, module.parameters())):
        return module
    modes = [(layer, layer.training) for layer in module.modules()]
    module.eval()
    with UserCode("the forward pass that finds the sizes of the model's lazy layers"), torch.no_grad():
        module(example.clone())
    for layer, mode in modes:
        layer.training = mode
    left = [name for name, parameter in module.named_parameters() if is_lazy(parameter)]
    if left:
        raise InputError(f"the model's '{left[0]}' is lazy, and its forward pass does not use it", hint="give its size")  # fmt: skip
    return module
