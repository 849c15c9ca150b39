"""Custom metrics: functions `(outputs, targets) -> float`, or torchmetrics objects.

They get the outputs of one run for a whole split on the CPU, in the form that the model returns, and its targets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ablate.records.errors import InputError
from ablate.tasks.metric_table import METRICS, Criterion, Direction, Metric
from ablate.tasks.user_code import UserCode

DIRECTIONS: dict[str, Direction] = {
    "maximize": "higher",
    "minimize": "lower",
    "higher": "higher",
    "lower": "lower",
}
FORM = '{"NAME": (function, "maximize")}, or "minimize"'


@dataclass(frozen=True)
class CustomMetric:
    """A metric by its name and direction. function: `(outputs, targets)` -> a number, or a torchmetrics object."""

    metric: Metric
    function: Any

    @property
    def name(self) -> str:
        """The metric's name."""
        return self.metric.name

    def __call__(self, outputs: Any, targets: Any) -> float:
        """The value for one lane's split. Raises InputError if the function raises or returns no number."""
        with UserCode(f"the metric '{self.name}'"):
            value = _updated(self.function, outputs, targets) if is_torchmetric(self.function) else self.function(outputs, targets)  # fmt: skip
        if isinstance(value, Tensor) and value.numel() == 1:
            return float(value)
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError) as error:
            shape = f" of shape {list(value.shape)}" if hasattr(value, "shape") else ""
            raise InputError(
                f"the metric '{self.name}' returned a {type(value).__name__}{shape}, not one number",
                hint="average it over classes or outputs",
            ) from error


def is_torchmetric(function: Any) -> bool:
    """Whether it has the interface of torchmetrics."""
    return all(callable(getattr(function, name, None)) for name in ("update", "compute", "reset"))


def _updated(metric: Any, outputs: Any, targets: Any) -> Any:
    metric.reset()
    metric.update(outputs, targets)
    value = metric.compute()
    metric.reset()
    return value


def custom_metrics(given: Any, criterion: Criterion) -> dict[str, CustomMetric]:
    """The task's `metrics` by name. Raises InputError for a name that is taken or an unknown direction."""
    if given is None:
        return {}
    checked = {}
    for name, value in _by_name(given).items():
        if not isinstance(name, str) or not re.fullmatch(r"\w+", name):
            raise InputError(f"metrics: {name!r} cannot name a metric", hint="use letters, digits and '_'")
        if name in METRICS[criterion]:
            raise InputError(f"metrics: '{name}' is measured already", hint="give it another name")
        if isinstance(value, CustomMetric):
            checked[name] = value
            continue
        function, direction = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
        if isinstance(function, type) or not callable(function):
            what = f"the class {function.__name__}" if isinstance(function, type) else repr(function)
            raise InputError(f"metrics: '{name}' is {what}, not a function", hint=f"write metrics={FORM}")
        checked[name] = CustomMetric(
            Metric(name, _direction(name, function, direction), "the task's own"), function
        )
    return checked


def _by_name(given: Any) -> Mapping[Any, Any]:
    if isinstance(given, Mapping):
        return given
    several = given if isinstance(given, list | tuple) else [given]
    return {_name_of(one): one for one in several}


def _name_of(function: Any) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    if name == "<lambda>":
        raise InputError("metrics: a lambda has no name", hint=f"write metrics={FORM}")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _direction(name: str, function: Callable[..., Any], given: Any) -> Direction:
    if given is None:
        better = getattr(function, "higher_is_better", None)
        if better is None:
            raise InputError(
                f"metrics: nothing says whether a high '{name}' is good", hint=f"write metrics={FORM}"
            )
        return "higher" if better else "lower"
    if given not in DIRECTIONS:
        raise InputError(f"metrics: the direction of '{name}' is {given!r}", hint=f"write metrics={FORM}")
    return DIRECTIONS[given]
