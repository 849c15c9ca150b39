"""What a sampler is told of finished trials: which of them, and as what."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import TypeGuard

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from ablate.records.errors import InputError
from ablate.records.run import Outcome
from ablate.search.dimension import Dimension
from ablate.search.samplers import distribution
from ablate.search.space import Params, Space

MAX_HISTORY = 200
"""TPE gives trials older than the latest 25 less and less weight, and its time grows with all it is told."""
DIVERGED = (Outcome.DIVERGED, Outcome.OUT_OF_MEMORY)


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What came of a trial. `intermediate`: epoch (from 1) -> the metric."""

    value: float | None
    outcome: Outcome
    params: Params
    intermediate: Mapping[int, float] = field(default_factory=dict)


def select_history(past: Mapping[int, TrialResult], *, higher_is_better: bool) -> dict[int, TrialResult]:
    """The best and the latest of `past`, at most `MAX_HISTORY`."""
    sign = -1 if higher_is_better else 1
    values = (
        (sign * r.value, n) for n, r in past.items() if _finite(r.value) and r.outcome is Outcome.COMPLETE
    )
    best = {n for _, n in nsmallest(MAX_HISTORY // 2, values)}
    latest = nsmallest(MAX_HISTORY - len(best), (-n for n in past if n not in best))
    return {n: past[n] for n in sorted({*best, *(-n for n in latest)})}


class TrialConverter:
    """Results as Optuna's trials. Each is made once, for as long as it is told."""

    def __init__(self, space: Space, *, higher_is_better: bool) -> None:
        self.higher_is_better = higher_is_better
        self.distributions = {dim.name: distribution(dim) for dim in space.dimensions()}
        self._dimensions: dict[str, Dimension] = {dim.name: dim for dim in space.dimensions()}
        self._made: dict[int, tuple[TrialResult, float | None, FrozenTrial]] = {}
        self.internal: dict[int, dict[str, float]] = {}
        """Number of a told trial -> its parameters as the numbers that Optuna's samplers compute with."""

    def trials(self, results: Mapping[int, TrialResult]) -> Iterator[FrozenTrial]:
        """Results as Optuna is to see them, in the order of their numbers.

        Diverged, or too large for the memory: complete, one tenth of the values' range beyond the worst of
        them. Told as NaN, Optuna would set the state FAIL, which no sampler looks at, and the search would
        walk into the same region again and again; an infinite value is accepted but ruins a Gaussian
        process. Failed for reasons of its own, or lost before any trial had a value: FAIL. Pruned: PRUNED with
        its curve. Raises InputError where a result does not belong to this space.
        """
        values = [r.value for r in results.values() if r.outcome is Outcome.COMPLETE and _finite(r.value)]
        lost = None
        if values:
            beyond = (max(values) - min(values)) / 10 or 1.0
            lost = min(values) - beyond if self.higher_is_better else max(values) + beyond
        made = {}
        for number in sorted(results):
            result = results[number]
            instead = lost if result.outcome in DIVERGED or not _finite(result.value) else None
            known = self._made.get(number)
            if known is None or known[0] is not result or known[1] != instead:
                known = (result, instead, self._trial(number, result, instead))
                self.internal[number] = {
                    name: float(self.distributions[name].to_internal_repr(value))
                    for name, value in result.params.items()
                }
            made[number] = known
            yield known[2]
        self._made = made

    def _trial(self, number: int, result: TrialResult, lost: float | None) -> FrozenTrial:
        value, state = None, TrialState.FAIL
        if result.outcome is Outcome.PRUNED:
            state = TrialState.PRUNED
        elif result.outcome is Outcome.COMPLETE and _finite(result.value):
            value, state = result.value, TrialState.COMPLETE
        elif result.outcome in (*DIVERGED, Outcome.COMPLETE) and lost is not None:
            value, state = lost, TrialState.COMPLETE
        trial = create_trial(
            state=state,
            value=value,
            params=dict(result.params),
            distributions=self._check(number, result.params),
            intermediate_values={e: v for e, v in result.intermediate.items() if math.isfinite(v)},
        )
        trial.number = number
        return trial

    def _check(self, number: int, params: Params) -> dict[str, BaseDistribution]:
        for name, value in params.items():
            dim = self._dimensions.get(name)
            if dim is None or not dim.holds(value):
                raise InputError(
                    f"trial {number} has {name} = {value}, which is outside the search space",
                    hint="the study file has changed since: start a study under a new name",
                )
        return {name: self.distributions[name] for name in params}


def _finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
