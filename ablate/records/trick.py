"""The record of a trick: its metadata as a literal.

The search space, the card of `ablate tricks NAME`, the documentation, the report's "claimed / measured"
row and the conformance tests are generated from this record. It is a literal at the end of the
trick's file, so that it can be read without running the file, and therefore without importing torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal

from ablate.records.errors import InputError, unknown

Value = bool | int | float | str
Seam = Literal[
    "data", "model", "criterion", "objective", "gradient", "optimizer", "schedule", "precision", "evaluation"
]
SEAMS: tuple[Seam, ...] = (
    "data", "model", "criterion", "objective", "gradient", "optimizer", "schedule", "precision", "evaluation",
)  # fmt: skip
NEEDS_RETUNE, SLOW = "needs_retune", "slow"
"""Role of a trick that shifts the best learning rate: the rank stage tunes the rate of each of its arms."""
PLACEBO = "placebo"
"""The trick that does nothing and is carried in every ranking."""
OPTIMIZER = "optimizer"
LR = "lr"
"""The learning rate, a parameter that every optimizer has."""
REQUIREMENTS = (
    "classification", "regression", "image", "tabular", "text", "convolution", "normalisable", "activation",
    "embedding", "shape-preserving block", "spatial model", "continuous", "mixable", "any order", "norm layer", "dropout layer",
    "residual addition", "weight normalisation", "upsampling", "subsampling",
    "imbalanced classes", "adversarial", "detection", "block to pass over",
)  # fmt: skip

_CONDITIONAL = re.compile(r"conditional\((\w+)\)")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One setting of a trick.

    A number has `low` and `high` (the search range, inclusive); a choice has `choices`; a boolean has
    neither. `least` and `most` (inclusive) bound the legal values; without them every finite number is legal,
    or every non-negative one if `low` is not negative. `neutral`: the value at which the trick has no effect, bit for
    bit; None if there is none. `lane`: whether lanes of one group may differ in it; a parameter that changes tensor
    shapes, the batch size or the number of passes cannot. Raises ValueError for a wrong declaration.
    """

    name: str
    default: Value
    low: float | None = None
    high: float | None = None
    log: bool = False
    neutral: Value | None = None
    choices: tuple[Value, ...] = ()
    lane: bool = True
    meaning: str = ""
    least: float | None = None
    most: float | None = None

    def __post_init__(self) -> None:
        if self.choices and self.default not in self.choices:
            raise ValueError(f"{self.name}: default {self.default!r} is not one of {self.choices}")
        if self.is_number and (self.low is None or self.high is None or not self.low <= self.high):
            raise ValueError(f"{self.name}: a number needs low <= high")
        if self.log and not (self.low or 0) > 0:
            raise ValueError(f"{self.name}: a log range needs low > 0")

    @property
    def is_number(self) -> bool:
        """Whether the setting is a number."""
        return not self.choices and not isinstance(self.default, bool)

    @property
    def is_integer(self) -> bool:
        """Whether the setting is an integer."""
        return self.is_number and isinstance(self.default, int)

    @property
    def lowest(self) -> float | None:
        """The smallest legal number; None if there is none."""
        assert self.low is not None
        return 0.0 if self.least is None and self.low >= 0 else self.least

    def check(self, value: Value, where: str) -> Value:
        """`value` converted to this parameter's type. Raises InputError that names `where` (e.g. `dropout.p`).

        Numbers outside the search range are accepted: the range says where to search, not what is legal. The
        neutral value is always legal.
        """
        if self.neutral is not None and type(value) is not bool and value == self.neutral:
            return self.neutral
        if self.choices:
            if value not in self.choices:
                raise unknown(f"value of {where}", str(value), [str(choice) for choice in self.choices])
            return next(choice for choice in self.choices if choice == value)
        if isinstance(self.default, bool):
            if not isinstance(value, bool):
                raise InputError(f"{where} must be true or false, not {value!r}")
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{where} must be a number, not {value!r}")
        if not isfinite(value):
            raise InputError(f"{where} must be finite, not {value!r}")
        least = self.lowest
        if least is not None and value < least:
            raise InputError(f"{where} must be at least {least:g}, not {value!r}")
        if self.most is not None and value > self.most:
            raise InputError(f"{where} must be at most {self.most:g}, not {value!r}")
        if self.is_integer:
            if value != int(value):
                raise InputError(f"{where} must be a whole number, not {value!r}")
            return int(value)
        return float(value)

    def without(self, values: Sequence[Value]) -> Parameter:
        """This parameter without the choices `values`; a number whose default is among them gets another default."""
        if not values:
            return self
        if self.choices:
            left = tuple(choice for choice in self.choices if choice not in values)
            default = self.default if self.default in left or not left else left[0]
            return replace(self, choices=left or self.choices, default=default)
        if self.is_number and self.default in values:
            assert self.low is not None
            half = (float(self.low) + float(self.default)) / 2
            return replace(self, default=round(half) if self.is_integer else half)
        return self


@dataclass(frozen=True, slots=True)
class Source:
    """The publication of a claim or a formula."""

    title: str
    authors: str
    year: int
    url: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the literature, in the metric in which it is made.

    `metric`: a metric (`accuracy`, `ece`, `log_loss`, `robust_accuracy`) or a cost
    (`time`, `memory`, `steps_to_target`); `direction`: the claimed change; `contested`: evidence against it.
    `settings`: (parameter, value) pairs that the claim is about; without any it is about the trick as such.
    """

    metric: str
    direction: Literal["up", "down", "same"]
    statement: str
    source: Source
    contested: str = ""
    settings: tuple[tuple[str, Value], ...] = ()


@dataclass(frozen=True, slots=True)
class Trick:
    """One switchable change to training. See `docs/architecture.md` for the ports of each seam.

    `lane=False`: runs with and without the trick cannot share a group.
    `applies_to`: what the task or model must have (`REQUIREMENTS`); `conflicts`: tricks or slots
    that it cannot be combined with. `searched=False` keeps a trick out of the search (cost-only tricks).
    `roles`: "needs_retune", "conditional(NAME)" for a trick that acts only where the trick or slot NAME is on, or "slow" for one with which
    a run takes many times as long: it is tried only where a study names it.
    A trick of the slot "optimizer" has a parameter `lr`. Raises ValueError for a wrong record.
    """

    name: str
    title: str
    seam: Seam
    claims: tuple[Claim, ...]
    slot: str | None = None
    parameters: tuple[Parameter, ...] = ()
    applies_to: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    lane: bool = True
    searched: bool = True
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.seam not in SEAMS:
            raise ValueError(f"{self.name}: unknown seam {self.seam!r}")
        for need in self.applies_to:
            if need not in REQUIREMENTS:
                raise ValueError(f"{self.name}: unknown requirement {need!r}")
        names = [parameter.name for parameter in self.parameters]
        if len(set(names)) != len(names):
            raise ValueError(f"{self.name}: a parameter is declared twice")
        for role in self.roles:
            if role not in (NEEDS_RETUNE, SLOW) and not _CONDITIONAL.fullmatch(role):
                raise ValueError(
                    f"{self.name}: unknown role {role!r}; known: {NEEDS_RETUNE}, {SLOW}, conditional(NAME)"
                )
        if self.slot == OPTIMIZER and LR not in names:
            raise ValueError(f"{self.name}: a trick of the slot 'optimizer' needs a parameter 'lr'")

    @property
    def parent(self) -> str | None:
        """The trick or slot without which this trick does nothing, or None."""
        roles = (_CONDITIONAL.fullmatch(role) for role in self.roles)
        return next((match[1] for match in roles if match), None)

    def parameter(self, name: str) -> Parameter:
        """The parameter `name`. Raises KeyError."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise unknown(f"parameter of {self.name}", name, [p.name for p in self.parameters])

    def without_values(self, values: Mapping[str, Sequence[Value]]) -> Trick:
        """This record without `values` (parameter -> those not to be used): as choices, and as the default of a number."""
        parameters = tuple(p.without(values.get(p.name, ())) for p in self.parameters)
        return replace(self, parameters=parameters)

    @property
    def defaults(self) -> dict[str, Value]:
        """Parameter -> default."""
        return {parameter.name: parameter.default for parameter in self.parameters}

    @property
    def neutral(self) -> dict[str, Value] | None:
        """Settings at which the trick has no effect, or None if there are none."""
        if all(parameter.neutral is None for parameter in self.parameters):
            return None
        return {p.name: p.default if p.neutral is None else p.neutral for p in self.parameters}
