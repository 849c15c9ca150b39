"""An optimizer class of torch (or of a package with the same interface) as a trick: `{ torch = "torch.optim.NAdam", lr = 0.01 }`.

The class runs unchanged, lane by lane and with one instance per step: correct, but slower than the catalogue's update rules, which
update all lanes at once. Its state is kept in tensors `[K, …]`, so that lanes can be regrouped and resumed.

Parameters of the trick are the class's keyword arguments with a number or a bool as default; `lr` is searched over a factor of
30 either way, the others are fixed at their defaults unless a study file says otherwise. Not supported, with an error that says so:
optimizers that need a closure, and state that is neither tensors nor numbers.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ablate.catalogue.optimizer_record import LR, optimizer_record, rate_parameter
from ablate.records.errors import InputError
from ablate.records.recipe import torch_name
from ablate.records.trick import Parameter, Trick
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors

IMPLEMENTATION = frozenset({"foreach", "fused", "capturable", "differentiable", "maximize"})
"""Arguments that select an implementation or a direction and are not hyperparameters."""
BEGUN = "begun"


@cache
def optimizer_class(path: str) -> type[torch.optim.Optimizer]:
    """The class at a dotted path. Raises InputError if it cannot be imported or is not an optimizer."""
    module, _, name = path.rpartition(".")
    hint = 'give the dotted path of an optimizer class: torch = "torch.optim.NAdam"'
    if not module:
        raise InputError(f"'{path}' is not the dotted path of a class", hint=hint)
    try:
        optimizer = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise InputError(f"'{path}' cannot be imported: {error}", hint=hint) from error
    if not (inspect.isclass(optimizer) and issubclass(optimizer, torch.optim.Optimizer)):
        raise InputError(f"'{path}' is not a torch.optim.Optimizer", hint=hint)
    return optimizer


def trick_of(path: str) -> Trick:
    """The record of the trick. Raises InputError."""
    optimizer = optimizer_class(path)
    arguments = list(inspect.signature(optimizer).parameters.values())[1:]
    if "lr" not in {argument.name for argument in arguments}:
        raise InputError(
            f"'{path}' has no argument lr", hint="its rate could not be tuned: write your own trick"
        )
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise InputError(
            f"'{path}' needs a closure in each step", hint="use an optimizer that steps without one"
        )
    return optimizer_record(path, [_parameter(argument) for argument in arguments if _is_setting(argument)])


def _is_setting(argument: inspect.Parameter) -> bool:
    plain = isinstance(argument.default, int | float)
    return argument.name == "lr" or (plain and argument.name not in IMPLEMENTATION)


def _parameter(argument: inspect.Parameter) -> Parameter:
    default = argument.default
    if argument.name == "lr":
        rate = float(default) if isinstance(default, int | float) and default else LR
        return rate_parameter(rate)
    if isinstance(default, bool):
        return Parameter(argument.name, default)
    if argument.annotation in (int, "int"):
        return Parameter(argument.name, default, default, default)
    return Parameter(argument.name, float(default), float(default), float(default))


def module_of(path: str) -> ModuleType:
    """The trick's code: its ports `state` and `update`."""
    optimizer = optimizer_class(path)
    rule = _Rule(path, optimizer)
    module = ModuleType(
        torch_name(path), f"{optimizer.__name__} of {path}.\n\nRun lane by lane.\n\nLineage: {path}."
    )
    module.TRICK, module.state, module.update = trick_of(path), rule.state, rule.update  # type: ignore[attr-defined]
    module.PATH = path  # type: ignore[attr-defined]
    return module


def optimizer_path(code: ModuleType) -> str:
    """The dotted path of the class that `code` is made from (`module_of`); "" for any other trick's code."""
    path = getattr(code, "PATH", "")
    return path if isinstance(path, str) else ""


class _Rule:
    """The class with its state in tensors: `KEY/PARAMETER` for the state of a parameter, `group.KEY` for a counter."""

    def __init__(self, path: str, optimizer: type[torch.optim.Optimizer]) -> None:
        self.path, self.optimizer_class = path, optimizer
        self.parameters = trick_of(path).parameters
        arguments = inspect.signature(optimizer).parameters
        self.arguments = set(arguments)
        self.numbers: set[str] = set()
        self.fixed: dict[str, Any] = {name: False for name in ("foreach", "fused") if name in arguments}

    def state(self, weights: LaneTensors) -> dict[str, Tensor]:
        """Zeros, with the entries that trial steps on zeros create; the class fills them at a lane's first step. Raises InputError."""
        kept: dict[str, Tensor] = {}
        for settings in self._probes():
            weights_of_lane = {name: torch.zeros_like(tensor[0]) for name, tensor in weights.items()}
            try:
                optimizer = self._optimizer(weights_of_lane, weights_of_lane, {"lr": LR, **settings})
                optimizer.step()
            except (TypeError, RuntimeError, ValueError) as error:
                if settings:
                    continue  # the class rejects this combination
                text = " ".join(str(error).split())
                raise InputError(f"'{self.path}' cannot take a step: {text}") from error
            kept |= self._saved(optimizer, weights_of_lane)
        begun = torch.zeros(weights.lanes, dtype=torch.bool, device=weights.flat.device)
        return {
            BEGUN: begun,
            **{name: value.new_zeros((weights.lanes, *value.shape)) for name, value in kept.items()},
        }

    def _probes(self) -> Iterator[dict[str, Any]]:
        """The defaults, and each setting alone at another value: some state exists only with momentum, for example."""
        yield {}
        for one in self.parameters:
            if one.name != "lr":
                yield {one.name: not one.default if isinstance(one.default, bool) else one.default or 0.5}

    def update(
        self,
        weights: LaneTensors,
        gradients: LaneTensors,
        state: dict[str, Tensor],
        p: Settings,
        step: Tensor,
    ) -> Tensor:
        """New weights `[K, P]`; the state is changed in place."""
        new = weights.like(weights.flat.clone())
        for lane in range(weights.lanes):
            weights_of_lane = {name: new[name][lane] for name in new}
            slopes = {name: gradients[name][lane].clone() for name in new}
            settings = {one.name: _plain(getattr(p, one.name)[lane], one) for one in self.parameters}
            optimizer = self._optimizer(weights_of_lane, slopes, settings)
            if state[BEGUN][lane]:
                self._load(optimizer, weights_of_lane, state, lane)
            optimizer.step()
            for name, value in self._saved(optimizer, weights_of_lane).items():
                state[name][lane] = value
        state[BEGUN].fill_(True)
        return new.flat

    def _optimizer(
        self, weights: Mapping[str, Tensor], slopes: Mapping[str, Tensor], settings: Mapping[str, Any]
    ) -> torch.optim.Optimizer:
        """An instance whose parameters are views of `weights`, so that its step writes to them, with the gradients `slopes`."""
        views = [tensor.detach().requires_grad_() for tensor in weights.values()]
        for view, slope in zip(views, slopes.values(), strict=True):
            view.grad = slope
        return self.optimizer_class(views, **settings, **self.fixed)

    def _saved(self, optimizer: torch.optim.Optimizer, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        (group,) = optimizer.param_groups
        state = {
            f"group.{key}": torch.tensor(float(value), dtype=torch.float64)
            for key, value in group.items()
            if key not in self.arguments and isinstance(value, int | float) and not isinstance(value, bool)
        }
        for name, parameter in zip(weights, group["params"], strict=True):
            for key, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, int | float):
                    self.numbers.add(key)
                    value = torch.tensor(float(value), dtype=torch.float64)
                if value is None:
                    continue
                if not isinstance(value, Tensor):
                    raise InputError(
                        f"'{self.path}' keeps a {type(value).__name__} in its state, which cannot be saved"
                    )
                state[f"{key}/{name}"] = value
        return state

    def _load(
        self,
        optimizer: torch.optim.Optimizer,
        weights: Mapping[str, Tensor],
        state: Mapping[str, Tensor],
        lane: int,
    ) -> None:
        (group,) = optimizer.param_groups
        parameters = dict(zip(weights, group["params"], strict=True))
        for label, tensor in state.items():
            key, _, name = label.partition("/")
            value = tensor[lane].clone()
            if label.startswith("group."):
                group[label.removeprefix("group.")] = _number(value)
            elif name in parameters:
                optimizer.state[parameters[name]][key] = _number(value) if key in self.numbers else value


def _plain(value: Tensor, parameter: Parameter) -> bool | int | float:
    """A lane's setting in the type that the class expects."""
    if isinstance(parameter.default, bool):
        return bool(value)
    return round(float(value)) if parameter.is_integer else float(value)


def _number(value: Tensor) -> int | float:
    number = float(value)
    return int(number) if number.is_integer() else number
