"""Asking for trials in generations, without a queue: suggestions are a pure function of (seed, results).

Trials come G at a time. Generation g learns from the results of generations up to g − 2 only, so that the
next generation can train while one is still being asked, two workers never wait for each other, and after a
crash the same suggestions come again whatever had finished by then. Optuna's study lives for one generation.

Within a generation, groups of `lanes` trials share their structure (what lanes of one fused group must agree
in): it is drawn for the first of them, the rest for each. That is the split plot of an experimenter with
hard-to-change factors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeGuard, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome
from ablate.records.trick import Value
from ablate.search.cube import params_at, random_points, sobol_points
from ablate.search.dimension import Dimension
from ablate.search.samplers import check_sampler, distribution, optuna_sampler
from ablate.search.space import Params, Space

LAG = 2
REMEMBERED = 200  # TPE already gives trials older than the latest 25 less and less weight
LOST = (Outcome.DIVERGED, Outcome.OUT_OF_MEMORY)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Trial `number`: train `recipe` under `seed`. `params` are to come back in its `TrialResult`."""

    number: int
    recipe: Recipe
    params: Params
    seed: int


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What came of a trial. `intermediate`: epoch (from 1) -> the metric."""

    value: float | None
    outcome: Outcome
    params: Params
    intermediate: Mapping[int, float] = field(default_factory=dict)


class Suggester:
    """Suggests the trials of a search. `generation` is the size of one, at least two groups of `lanes`."""

    def __init__(
        self,
        space: Space,
        *,
        seed: int,
        higher_is_better: bool,
        sampler: str = "tpe",
        generation: int = 20,
        lanes: int = 10,
    ) -> None:
        check_sampler(sampler)
        self.space = space
        self.sampler = sampler
        self.seed = seed
        self.direction: Literal["maximize", "minimize"] = "maximize" if higher_is_better else "minimize"
        self.lanes = max(1, lanes)
        self.size = max(generation, 2 * self.lanes)
        self._dimensions = {found.name: found for found in space.dimensions()}
        self._structural = {name for name, found in self._dimensions.items() if found.structural}
        self._distributions = {name: distribution(found) for name, found in self._dimensions.items()}

    def generation(self, number: int, finished: Mapping[int, TrialResult]) -> list[Suggestion]:
        """Generation `number` (from 0). Trial 0 is the baseline itself; the first two generations are random.

        `finished`: trial -> result; it must hold every trial of the generations up to `number` − 2, and what
        it holds beyond is not looked at. Raises ValueError where one is missing, InputError where a result
        does not belong to this space.
        """
        start = number * self.size
        if number < LAG or self.sampler in ("random", "qmc"):
            drawn = self._from_cube(start)
        else:
            drawn = self._from_optuna(number, self._past(number, finished))
        if number == 0:
            drawn[0] = self.space.to_params(self.space.baseline)
        return [self._suggestion(start + i, params) for i, params in enumerate(drawn)]

    def study(self, results: Mapping[int, TrialResult]) -> optuna.Study:
        """An in-memory Optuna study that holds `results`, in the order of their numbers."""
        study = optuna.create_study(direction=self.direction)
        study.add_trials(self._told(results))
        return study

    def _suggestion(self, number: int, params: Params) -> Suggestion:
        if number == 0:
            return Suggestion(0, self.space.baseline, params, self.seed)
        names = [switch.name for switch in self.space.switches]
        order = np.random.default_rng([self.seed, number]).permutation(len(names))
        settled = self.space.settled(params, [names[i] for i in order])
        return Suggestion(number, self.space.from_params(settled), settled, self.seed + number)

    def _from_cube(self, start: int) -> list[dict[str, Value]]:
        """Trials that learn from nothing."""
        if self.sampler == "qmc":
            points = sobol_points(self.space, self.seed, start, self.size)
        else:
            points = random_points(self.space, [self.seed, start], self.size)
        drawn: list[dict[str, Value]] = []
        for i, point in enumerate(points):
            if start + i == 0:
                drawn.append(self.space.to_params(self.space.baseline))
            else:
                drawn.append(params_at(self.space, point, self._structure(drawn, i)))
        return drawn

    def _from_optuna(self, number: int, past: Mapping[int, TrialResult]) -> list[dict[str, Value]]:
        """Trials that learn from `past`."""
        study = self.study(self._remembered(past))
        study.sampler = optuna_sampler(self.sampler, _seed(self.seed, number))
        drawn: list[dict[str, Value]] = []
        for i in range(self.size):
            if structure := self._structure(drawn, i):
                study.enqueue_trial(structure)
            drawn.append(self._suggested(study.ask()))
        return drawn

    def _structure(self, drawn: list[dict[str, Value]], i: int) -> dict[str, Value]:
        """What trial `i` of a generation takes over from the first of its group."""
        leader = i - i % self.lanes
        if leader == i:
            return {}
        return {name: value for name, value in drawn[leader].items() if name in self._structural}

    def _suggested(self, trial: Trial) -> dict[str, Value]:
        """Every parameter of `trial`, before anything can end it: a trial pruned with some of them missing
        would shrink TPE's joint space for good."""
        params = {switch.name: _suggest(trial, switch) for switch in self.space.switches}
        for name in self.space.on(params):
            for found in self.space.settings.get(name, ()):
                if found.constant is None:
                    params[found.name] = _suggest(trial, found)
        return params

    def _past(self, number: int, finished: Mapping[int, TrialResult]) -> dict[int, TrialResult]:
        needed = range((number - LAG + 1) * self.size)
        if missing := [trial for trial in needed if trial not in finished]:
            raise ValueError(f"generation {number} needs the result of trial {missing[0]}")
        return {trial: finished[trial] for trial in needed}

    def _remembered(self, past: Mapping[int, TrialResult]) -> dict[int, TrialResult]:
        """The best and the latest of `past`: a sampler's time grows with all that it is told."""
        sign = 1 if self.direction == "maximize" else -1
        values = {
            n: sign * r.value for n, r in past.items() if _finite(r.value) and r.outcome is Outcome.COMPLETE
        }
        best = sorted(values, key=lambda n: (-values[n], n))[: REMEMBERED // 2]
        latest = sorted(set(past).difference(best))[len(best) - REMEMBERED :]
        return {n: past[n] for n in sorted({*best, *latest})}

    def _told(self, results: Mapping[int, TrialResult]) -> Iterator[FrozenTrial]:
        """Results as Optuna is to see them.

        Diverged, or too large for the memory: complete, one tenth of the values' range beyond the worst of
        them. Told as NaN, Optuna would set the state FAIL, which no sampler looks at, and the search would
        walk into the same region again and again; an infinite value is accepted but ruins a Gaussian
        process. Failed for reasons of its own, or lost before any trial had a value: FAIL. Pruned: PRUNED with
        its curve.
        """
        values = [r.value for r in results.values() if r.outcome is Outcome.COMPLETE and _finite(r.value)]
        lost = None
        if values:
            beyond = (max(values) - min(values)) / 10 or 1.0
            lost = min(values) - beyond if self.direction == "maximize" else max(values) + beyond
        for number in sorted(results):
            result = results[number]
            distributions = self._check(number, result.params)
            value, state = None, TrialState.FAIL
            if result.outcome is Outcome.PRUNED:
                state = TrialState.PRUNED
            elif result.outcome is Outcome.COMPLETE and _finite(result.value):
                value, state = result.value, TrialState.COMPLETE
            elif result.outcome in (*LOST, Outcome.COMPLETE) and lost is not None:
                value, state = lost, TrialState.COMPLETE
            curve = {epoch: v for epoch, v in result.intermediate.items() if math.isfinite(v)}
            yield create_trial(
                state=state,
                value=value,
                params=dict(result.params),
                distributions=distributions,
                intermediate_values=curve,
            )

    def _check(self, number: int, params: Params) -> dict[str, BaseDistribution]:
        for name, value in params.items():
            found = self._dimensions.get(name)
            if found is None or not found.holds(value):
                raise InputError(
                    f"trial {number} has {name} = {value}, which is outside the search space",
                    hint="the study file has changed since: start a study under a new name",
                )
        return {name: self._distributions[name] for name in params}


def _suggest(trial: Trial, found: Dimension) -> Value:
    if found.choices:
        return cast(Value, trial.suggest_categorical(found.name, found.choices))
    if found.integer:
        return trial.suggest_int(found.name, int(found.low), int(found.high), log=found.log)
    return trial.suggest_float(found.name, found.low, found.high, log=found.log)


def _seed(study: int, generation: int) -> int:
    return int(np.random.SeedSequence([study, generation]).generate_state(1)[0])


def _finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
