"""Finished trials as observations of a sampler: which ones, and with which value and state."""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from ablate.records.errors import InputError
from ablate.records.run import Outcome
from ablate.search.dimension import Dimension
from ablate.search.samplers import distribution
from ablate.search.space import Params, Space

MAX_HISTORY = 200
"""Trials passed to TPE. It weights trials older than the latest 25 less and less, and its run time grows with their number."""
DIVERGED = (Outcome.DIVERGED, Outcome.OUT_OF_MEMORY)


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The result of a trial. `intermediate`: epoch (from 1) -> the metric."""

    value: float | None
    outcome: Outcome
    params: Params
    intermediate: Mapping[int, float] = field(default_factory=dict)


class History:
    """The best and the latest trials of those added, at most `MAX_HISTORY`, in constant time and memory a trial."""

    def __init__(self, *, higher_is_better: bool) -> None:
        self._sign = -1 if higher_is_better else 1
        self._best: list[tuple[float, int, TrialResult]] = []
        self._latest: deque[tuple[int, TrialResult]] = deque(maxlen=MAX_HISTORY)

    def add(self, number: int, result: TrialResult) -> None:
        """Add a trial; its number is higher than those before."""
        self._latest.append((number, result))
        if _finite(result.value) and result.outcome is Outcome.COMPLETE:
            insort(self._best, (self._sign * result.value, number, result), key=lambda one: one[:2])
            del self._best[MAX_HISTORY // 2 :]

    def selected(self) -> dict[int, TrialResult]:
        """The trials selected, by number: half of MAX_HISTORY are the best, the others the latest of the rest."""
        chosen = {number: result for _, number, result in self._best}
        for number, result in reversed(self._latest):
            if len(chosen) == MAX_HISTORY:
                break
            chosen.setdefault(number, result)
        return dict(sorted(chosen.items()))


class TrialConverter:
    """Converts results to Optuna's trials. Conversions are cached while the trial is in the history."""

    def __init__(self, space: Space, *, higher_is_better: bool) -> None:
        self.higher_is_better = higher_is_better
        self.distributions = {dim.name: distribution(dim) for dim in space.dimensions()}
        self._dimensions: dict[str, Dimension] = {dim.name: dim for dim in space.dimensions()}
        self._cache: dict[int, tuple[TrialResult, float | None, FrozenTrial]] = {}
        self.internal: dict[int, dict[str, float]] = {}
        """Number of a trial in the history -> its parameters in Optuna's internal representation."""

    def trials(self, results: Mapping[int, TrialResult]) -> Iterator[FrozenTrial]:
        """Results as Optuna's trials, in the order of their numbers.

        Diverged or out of memory: complete, with a value one tenth of the range of the values beyond the worst
        of them. With NaN, Optuna would set the state FAIL, which samplers ignore, and the search would
        return to the same region; an infinite value is accepted but breaks a Gaussian
        process. Failed for another reason, or before any trial had a value: FAIL. Pruned: PRUNED with
        its curve. Raises InputError if a result is outside this space.
        """
        values = [r.value for r in results.values() if r.outcome is Outcome.COMPLETE and _finite(r.value)]
        penalty = None
        if values:
            beyond = (max(values) - min(values)) / 10 or 1.0
            penalty = min(values) - beyond if self.higher_is_better else max(values) + beyond
        cache = {}
        for number in sorted(results):
            result = results[number]
            substitute = penalty if result.outcome in DIVERGED or not _finite(result.value) else None
            cached = self._cache.get(number)
            if cached is None or cached[0] is not result or cached[1] != substitute:
                cached = (result, substitute, self._trial(number, result, substitute))
                self.internal[number] = {
                    name: float(self.distributions[name].to_internal_repr(value))
                    for name, value in result.params.items()
                }
            cache[number] = cached
            yield cached[2]
        self._cache = cache

    def _trial(self, number: int, result: TrialResult, penalty: float | None) -> FrozenTrial:
        value, state = None, TrialState.FAIL
        if result.outcome is Outcome.PRUNED:
            state = TrialState.PRUNED
        elif result.outcome is Outcome.COMPLETE and _finite(result.value):
            value, state = result.value, TrialState.COMPLETE
        elif result.outcome in (*DIVERGED, Outcome.COMPLETE) and penalty is not None:
            value, state = penalty, TrialState.COMPLETE
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
            if dim is None or not dim.contains(value):
                raise InputError(
                    f"trial {number} has {name} = {value}, which is outside the search space",
                    hint="the study file has changed: start a study under a new name",
                )
        return {name: self.distributions[name] for name in params}


def _finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
