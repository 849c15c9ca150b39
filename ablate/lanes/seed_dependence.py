"""What a model draws when it is made beside parameters and buffers: a permutation, a mask in a plain attribute, the kind of an activation,
the weights of a layer that it holds unregistered.

The kernels for stacked tensors run one module for all lanes, so that such a model's lanes run one at a time, each its own module.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from functools import partial
from inspect import getclosurevars, isfunction
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ablate.kernels.parameter_binding import REPEATED
from ablate.lanes.side_effects import OWN
from ablate.surgery.readers import tensors_of

STATE_DICT_HOOKS = frozenset({
    "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
})  # fmt: skip
"""They run when weights are saved and loaded, not in training; torch numbers them anew in each model."""


def seed_dependent(one: nn.Module, other: nn.Module) -> str:
    """Why lanes of a model that two seeds make like this must run one at a time; empty where they need not."""
    if why := compiled_by_torch(one) or own_parameters_elsewhere(one):
        return why
    first, second = _described(one), _described(other)
    for name in first.keys() | second.keys():
        if first.get(name) != second.get(name):
            return f"'{name}' is drawn when the model is made"
    return ""


def compiled_by_torch(module: nn.Module) -> str:
    """The first layer that torch.compile has wrapped, as a reason; empty if there is none."""
    for path, layer in module.named_modules():
        if type(layer).__name__ == "OptimizedModule":  # its class would import torch.compile
            return f"{repr(path) if path else 'the model'} is compiled by torch.compile"
    return ""


def own_parameters_elsewhere(module: nn.Module) -> str:
    """Why code that reads the model's tensors would not see a lane's own: they are held a second time or computed from others.
    Empty if there is nothing of the kind."""
    registered_ids = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    for path, layer in module.named_modules():
        place = f"{path}." if path else ""
        if isinstance(getattr(layer, "parametrizations", None), nn.ModuleDict):
            return f"parameters of '{path or type(layer).__name__}' are computed from others (torch.nn.utils.parametrize)"
        for name, value in vars(layer).items():
            if name in OWN or _is_bound(layer, name):
                continue
            for tensor in tensors_of(value):
                if id(tensor) in registered_ids:
                    return f"'{place}{name}' holds parameters of the model a second time"
                if tensor.grad_fn is not None:
                    return f"'{place}{name}' is computed from parameters"
    return ""


def _is_bound(layer: nn.Module, name: str) -> bool:
    """Whether the attribute repeats parameters, and gets each lane's own with them."""
    return isinstance(layer, nn.RNNBase) and name in REPEATED


def _described(module: nn.Module) -> dict[str, Hashable]:
    """What the layers are and hold, but for the values of parameters and buffers."""
    described: dict[str, Hashable] = {}
    registered = set(module.modules())
    for path, layer in module.named_modules():
        place = f"{path}." if path else ""
        described[path or type(layer).__name__] = type(layer).__qualname__
        for name, value in vars(layer).items():
            if name not in OWN and name not in STATE_DICT_HOOKS and not _is_bound(layer, name):
                described[place + name] = _value(value)
                for number, layer_held in enumerate(_layers_in(value)):
                    if layer_held not in registered:
                        state = [*layer_held.parameters(), *layer_held.buffers()]
                        described[f"{place}{name}.{number}"] = _value(state)
        for name, parameter in layer._parameters.items():
            described[place + name] = (
                None if parameter is None else (*parameter.shape, parameter.requires_grad)
            )
    return described


def _layers_in(value: Any, depth: int = 3) -> Iterator[nn.Module]:
    """Layers in an attribute of a layer: itself, or in a container."""
    if isinstance(value, nn.Module):
        yield value
    elif depth and isinstance(value, (dict, list, tuple, set, deque)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _layers_in(one, depth - 1)


def _value(value: Any, depth: int = 3) -> Hashable:
    """A hashable key that is equal for equal values; for objects without value or attributes, their type."""
    if isinstance(value, Tensor):
        numbers = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return str(value.dtype), tuple(value.shape), numbers.tobytes()
    if isinstance(value, np.ndarray | np.generic):
        return str(value.dtype), value.shape, value.tobytes()
    if value is None or isinstance(value, int | float | complex | str | bytes | torch.dtype | torch.device):
        return repr(value)
    if depth and isinstance(value, dict):
        return tuple((repr(key), _value(one, depth - 1)) for key, one in value.items())
    if depth and isinstance(value, list | tuple | deque):
        return tuple(_value(one, depth - 1) for one in value)
    if depth and isinstance(value, partial):
        return _value([value.func, value.args, value.keywords], depth - 1)
    if isinstance(value, set | frozenset):
        return tuple(sorted(repr(_value(one, 0)) for one in value))
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if name is not None:
        return str(name), _value(list(getclosurevars(value).nonlocals.values()), depth - 1) if isfunction(
            value
        ) and depth else ()
    inner = vars(value) if depth and hasattr(value, "__dict__") and not isinstance(value, nn.Module) else {}
    return type(value).__qualname__, _value(inner, depth - 1) if inner else ()
