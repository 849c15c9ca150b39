"""A planted fault or a healthy task, the protocol run on it, and how its findings compare with the known cause."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.train import train
from ablate.protocol.anywhere.find import lr_find as lr_find_anywhere
from ablate.protocol.baseline import Baseline
from ablate.protocol.plan import Budget
from ablate.protocol.run import run_steps
from ablate.protocol.steps import NAMES, Setup, Step
from ablate.records.errors import AblateError
from ablate.records.recipe import Recipe
from ablate.records.run import Result, Run
from ablate.tasks.check import check
from ablate.tasks.task import Task

Verdict = Literal["named", "vague", "wrong cause", "missed"]
SYMPTOMS = frozenset({
    "does-not-learn", "no-better-than-a-guess", "metric-at-chance", "no-run-completed", "diverges-at-every-rate", "falls-slowly",
    "hardly-below-the-prior", "slow-to-overfit", "unusual-rate", "edge", "unsound-neighbour", "no-gap", "still-falling",
    "spikes", "start-up-plateau", "validation-rising", "wide-gap", "too-few-to-judge", "worse-than-linear",
})  # fmt: skip
"""Codes that say what is seen and not why; they name a cause only where a case expects them."""
LAST = len(NAMES) - 1
REFUSED = "refused"
"""The code of an error that is raised before the first step."""


@dataclass(frozen=True, slots=True)
class Module:
    """Arguments of `ablate.lr_find` for a module without a task."""

    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """`make(seed)`: the task. `codes`, `steps`: the findings that name the cause, and where; none for a healthy task.

    `baseline`: the recipe, momentum by default. `also`: other causes that are true of the same case.
    `says`: part of the message of an error that refuses the case.
    """

    name: str
    make: Callable[[int], Task | Module]
    codes: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()
    baseline: Mapping[str, Any] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    says: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A finding that is no note, with the step that it belongs to."""

    step: int
    level: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the protocol said. `seconds`: of CPU time of this process."""

    told: tuple[Diagnosis, ...]
    rate: float | None
    seconds: float

    @property
    def failed(self) -> bool:
        return any(one.level == "fail" for one in self.told)


def examine(case: Case, seed: int, last: int | None = None) -> Answer:
    """The protocol on the case with a seed for data, model and training: up to step `last`, by default that of the cause."""
    started = time.process_time()
    last = max(case.steps, default=LAST) if last is None else last
    try:
        diagnoses, rate = _examined(case, seed, last)
    except AblateError as error:
        diagnoses, rate = [Diagnosis(0, "fail", REFUSED, str(error))], None
    return Answer(tuple(diagnoses), rate, time.process_time() - started)


def _examined(case: Case, seed: int, last: int) -> tuple[list[Diagnosis], float | None]:
    torch.manual_seed(seed)
    made = case.make(seed)
    if isinstance(made, Module):
        answer = lr_find_anywhere(**made.arguments, seed=seed)
        return diagnoses_of(answer.steps), answer.learning_rate
    check(made)
    catalogue = registry()
    context = TaskContext.of(made, catalogue, torch.device("cpu"))
    recipe = Recipe.of(catalogue, case.baseline) if case.baseline else Baseline.default(catalogue).recipe

    def trained(runs: Sequence[Run], arm: str) -> list[Result]:
        return train(context, list(runs))

    setup = Setup(context, trained, Baseline(recipe, catalogue), seed, lambda line: None)
    steps, best = run_steps(setup, force=False, budget=Budget(), last=last)
    return diagnoses_of(steps), best.rate if best else None


def diagnoses_of(steps: Sequence[Step]) -> list[Diagnosis]:
    return [
        Diagnosis(step.number, one.level, one.code, one.message)
        for step in steps
        for one in step.by_severity
        if one.level != "note"
    ]


def judge(case: Case, answer: Answer) -> Verdict:
    """How a fault was told: "named" if the first cause that is given is the true one, at the step that it belongs to."""
    for one in answer.told:
        if one.code in case.codes and one.step in case.steps:
            return "named" if case.says in one.message else "vague"
        if one.code not in SYMPTOMS and one.code not in case.also and one.code not in case.codes:
            return "wrong cause"
    return "vague" if answer.told else "missed"
