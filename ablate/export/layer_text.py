"""Layers that surgery has put into a model, as expressions that make them: torch's own layer wherever it computes the same."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from ablate.export.bundle import Bundle, is_plain
from ablate.records.errors import InputError
from ablate.surgery.layer_types import ACTIVATIONS
from ablate.surgery.norms import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from ablate.surgery.switch import Switch

DIMENSIONS = {2: 1, 3: 1, 4: 2, 5: 3}
"""Dimensions of activations with the batch -> the dimensions in the name of torch's layer."""


@dataclass(frozen=True)
class Call:
    """How a layer was made: `layer = type(layer)(*arguments, **named)`."""

    layer: nn.Module
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]


Calls = dict[int, Call]
"""The id of a layer -> its call, which holds the layer too."""


@contextmanager
def recorded() -> Iterator[Calls]:
    """Within, note the arguments of every `nn.Module` that is made: those of its own `__init__`, as they are when it calls `nn.Module`'s."""
    calls: Calls = {}
    original = nn.Module.__init__

    def init(layer: nn.Module, *given: Any, **named: Any) -> None:
        original(layer, *given, **named)
        frame, init_frame = sys._getframe(1), None
        while frame is not None and frame.f_code.co_name == "__init__" and _first(frame) is layer:
            frame, init_frame = frame.f_back, frame  # type: ignore[assignment]
        if init_frame is not None:
            calls[id(layer)] = _call(layer, init_frame)

    nn.Module.__init__ = init  # type: ignore[method-assign, assignment]
    try:
        yield calls
    finally:
        nn.Module.__init__ = original  # type: ignore[method-assign]


def _first(frame: FrameType) -> Any:
    """The first argument of a function that is running."""
    names = frame.f_code.co_varnames
    return frame.f_locals.get(names[0]) if names else None


def _call(layer: nn.Module, frame: FrameType) -> Call:
    """The call of an `__init__` that is running; what has its default value is left out."""
    values = inspect.getargvalues(frame)
    parameters = list(inspect.signature(type(layer).__init__).parameters.values())[1:]
    arguments: list[Any] = []
    keywords: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            arguments += values.locals[parameter.name]
        elif parameter.kind is parameter.VAR_KEYWORD:
            keywords |= values.locals[parameter.name]
        else:
            value = values.locals[parameter.name]
            if parameter.default is inspect.Parameter.empty and parameter.kind is not parameter.KEYWORD_ONLY:
                arguments.append(value)
            elif parameter.default is inspect.Parameter.empty or value is not parameter.default:
                keywords[parameter.name] = value
    return Call(layer, tuple(arguments), keywords)


@dataclass(frozen=True)
class LayerText:
    """`of(layer)` is an expression; what it uses is put into `bundle`.

    `calls`: how layers were made. `expressions`: the id of a tensor or a layer of the model -> an expression for it. `generators`: seed -> the
    variable of the generator that was seeded with it.
    """

    bundle: Bundle
    calls: Calls
    expressions: Mapping[int, str]
    generators: Mapping[int, str]

    def of(self, layer: nn.Module, *, ndim: int = 0) -> str:
        """An expression that makes a layer like `layer`; `ndim`: of its activations, where it is known.

        Raises InputError for a layer that was made from something that no expression gives.
        """
        if id(layer) in self.expressions:
            return self.expressions[id(layer)]
        if isinstance(layer, Switch):
            return self._chosen(layer)
        if isinstance(layer, (*ACTIVATIONS, nn.Identity)) and not list(layer.parameters()):
            return f"nn.{layer!r}"
        if isinstance(layer, BatchNorm | GroupNorm | LayerNorm | InstanceNorm) and ndim in DIMENSIONS:
            return norm(layer, ndim)
        kind = type(layer)
        call = self.calls.get(id(layer))
        if call is None:
            raise InputError(f"it is unknown how the recipe made a {kind.__name__} in the model")
        given = [self._argument(value, kind) for value in call.arguments]
        given += [f"{name}={self._argument(value, kind)}" for name, value in call.named.items()]
        if kind.__module__.startswith("torch.nn.modules."):
            return f"nn.{kind.__name__}({', '.join(given)})"
        return f"{self.bundle.add(kind.__module__, kind.__name__)}({', '.join(given)})"

    def _argument(self, value: Any, kind: type[nn.Module]) -> str:
        if is_plain(value):
            return repr(value)
        if isinstance(value, torch.Generator) and value.initial_seed() in self.generators:
            return self.generators[value.initial_seed()]
        if isinstance(value, Tensor) and id(value) in self.expressions:
            return self.expressions[id(value)]
        if isinstance(value, nn.Module):
            return self.of(value)
        if isinstance(value, type) and value.__module__.startswith("torch.nn.modules."):
            return f"nn.{value.__name__}"
        raise InputError(
            f"the recipe makes a {kind.__name__} from a {type(value).__name__}, which cannot be written out as a script",
            hint="export a recipe without that trick",
        )

    def _chosen(self, switch: Switch) -> str:
        chosen = switch.chosen
        made = self.of(chosen, ndim=len(switch.shape))
        if not switch.channels_last or isinstance(chosen, nn.Identity | LayerNorm):
            return made
        return f"{self.bundle.add('ablate.export.plain', 'ChannelsFirst')}({made})"


def norm(layer: nn.Module, ndim: int) -> str:
    """torch's layer that standardises as `layer` does; `ndim`: of its activations, with the batch."""
    channels = len(layer.weight)  # type: ignore[arg-type]
    settings: dict[str, float] = layer.settings  # type: ignore[assignment]
    eps = f"eps={settings['eps']!r}"
    if isinstance(layer, BatchNorm):
        return f"nn.BatchNorm{DIMENSIONS[ndim]}d({channels}, {eps}, momentum={settings['momentum']!r})"
    if isinstance(layer, GroupNorm):
        return f"nn.GroupNorm({layer.groups}, {channels}, {eps})"
    if isinstance(layer, InstanceNorm):
        return f"nn.InstanceNorm{DIMENSIONS[ndim]}d({channels}, {eps}, affine=True)"
    tokens = isinstance(layer, LayerNorm) and (layer.per_position or ndim == 2)
    return f"nn.LayerNorm({channels}, {eps})" if tokens else f"nn.GroupNorm(1, {channels}, {eps})"
