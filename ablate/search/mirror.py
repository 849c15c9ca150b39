"""The trials of a search in an Optuna storage, for Optuna's dashboard and plots. Only Optuna's documented functions are used.

The ledger stays the source of truth: the storage is a copy, may be deleted, and is never read back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result
from ablate.records.trick import Value
from ablate.search.dimension import Dimension
from ablate.search.samplers import distribution
from ablate.search.space import NONE

RUN = "run"
"""The attribute of a trial that holds the identity of its run."""
Trial = tuple[int, str, Recipe, Result]
"""(number, the run's identity, recipe, result)"""


def mirror(path: Path, name: str, trials: Iterable[Trial], space: Sequence[Mapping[str, Any]], *, metric: str, higher: bool) -> int:  # fmt: skip
    """Add `trials` that the study `name` of the SQLite storage `path` lacks; it is created if it is missing. Returns the number of its trials.

    `space`: the dimensions as the ledger's fact "search" has them.
    """
    dimensions = [_dimension(item) for item in space]
    study = optuna.create_study(
        storage=f"sqlite:///{path}", study_name=name, direction="maximize" if higher else "minimize",
        load_if_exists=True,
    )  # fmt: skip
    study.set_user_attr("metric", metric)
    mirrored = {trial.user_attrs.get(RUN) for trial in study.get_trials(deepcopy=False)}
    new = [trial for trial in trials if trial[1] not in mirrored]
    study.add_trials([_frozen(trial, dimensions, metric) for trial in new])
    return len(mirrored) + len(new)


def _dimension(item: Mapping[str, Any]) -> Dimension:
    values: dict[str, Any] = {field.name: item[field.name] for field in fields(Dimension)}
    return Dimension(**{**values, "choices": tuple(item["choices"])})


def _frozen(trial: Trial, dimensions: Sequence[Dimension], metric: str) -> FrozenTrial:
    number, identity, recipe, result = trial
    params: dict[str, Value] = {}
    distributions: dict[str, BaseDistribution] = {}
    for dim in dimensions:
        value = _value(dim, recipe)
        if value is None or (dim.choices and not dim.contains(value)):
            continue  # the trick is off, or the choice is of an earlier space
        params[dim.name], distributions[dim.name] = value, _distribution_holding(dim, value)
    value = result.metrics.get(metric)
    finite = value is not None and math.isfinite(value)
    state = TrialState.FAIL
    if result.outcome is Outcome.PRUNED:
        state = TrialState.PRUNED
    elif result.outcome is Outcome.COMPLETE and finite:
        state = TrialState.COMPLETE
    curve = {epoch: one for epoch, one in enumerate(result.curves.get(metric, ()), 1) if math.isfinite(one)}
    return optuna.trial.create_trial(
        state=state, value=value if finite and state is not TrialState.FAIL else None, params=params, distributions=distributions,
        intermediate_values=curve,
        user_attrs={RUN: identity, "trial": number, "outcome": str(result.outcome), "recipe": recipe.to_dict(), "seconds": result.seconds},
    )  # fmt: skip


def _value(dim: Dimension, recipe: Recipe) -> Value | None:
    """The recipe's value of a dimension; None where its trick is off."""
    trick, _, parameter = dim.name.partition(".")
    if parameter:
        return recipe[trick].get(parameter) if trick in recipe else None
    if dim.choices[0] is False:
        return dim.name in recipe
    return next((choice for choice in dim.choices if choice in recipe), NONE)


def _distribution_holding(dim: Dimension, value: Value) -> BaseDistribution:
    """The distribution of a dimension; with a range that holds `value`, where a trial is of a wider space."""
    original = distribution(dim)
    if dim.contains(value) or not isinstance(value, int | float):
        return original
    if isinstance(original, IntDistribution):
        return IntDistribution(
            min(original.low, int(value)), max(original.high, int(value)), log=original.log
        )
    assert isinstance(original, FloatDistribution)
    return FloatDistribution(min(original.low, value), max(original.high, value), log=original.log)
