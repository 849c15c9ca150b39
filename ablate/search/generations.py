"""Suggesting trials in generations: suggestions are a pure function of (seed, results).

A generation has a fixed number of trials. Generation g learns from the results of generations up to g − 2 only, so that
one generation can train while the next is being suggested, two workers never wait for each other, and a study that
crashed gets the same suggestions again, whatever had finished. A new Optuna study is built for each generation.

Within a generation, groups of `lanes` trials share their structural parameters (those in which the lanes of a group must
agree): they are drawn for the first trial of the group, all other parameters for each trial. This is a split-plot design
with hard-to-change factors.

The switches are drawn first, jointly; then the settings of every trick that is on, jointly for each trick. TPE
is fitted once per generation (`tpe`); other samplers are asked trial by trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, cast

import numpy as np
import optuna
from optuna.trial import Trial

from ablate.records.recipe import Recipe
from ablate.records.trick import Value
from ablate.search.dimension import Dimension
from ablate.search.observations import History, TrialConverter, TrialResult
from ablate.search.samplers import check_sampler, optuna_sampler
from ablate.search.space import Params, Space
from ablate.search.tpe import FittedTPE
from ablate.search.unit_cube import params_at, random_points, sobol_points

LAG = 2


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Trial `number`: train `recipe` under `seed`. `params` must be passed back in its `TrialResult`."""

    number: int
    recipe: Recipe
    params: Params
    seed: int


class Suggester:
    """Suggests the trials of a search. `generation`: trials per generation; `lanes`: trials per group.

    `first`: parameters that are tried right after the baseline (recipes of another study). `kept`: trials of this search from before
    the space was changed, by their numbers, which are suggested as they were; without `params` where they lie outside of it.
    """

    def __init__(
        self,
        space: Space,
        *,
        seed: int,
        higher_is_better: bool,
        sampler: str = "tpe",
        generation: int = 10,
        lanes: int = 5,
        first: Sequence[Params] = (),
        kept: Mapping[int, Suggestion] = MappingProxyType({}),
    ) -> None:
        check_sampler(sampler)
        self.space = space
        self.sampler = sampler
        self.seed = seed
        self.direction: Literal["maximize", "minimize"] = "maximize" if higher_is_better else "minimize"
        self.lanes = max(1, lanes)
        self.size = max(generation, self.lanes)
        self.first = tuple(first)
        self.kept = kept
        self._structural = {dim.name for dim in space.dimensions() if dim.structural}
        self._converter = TrialConverter(space, higher_is_better=higher_is_better)
        self._selection = History(higher_is_better=higher_is_better)
        self._source: Mapping[int, TrialResult] | None = None
        self._added = 0  # trials of `_source` in the selection

    def generation(self, number: int, finished: Mapping[int, TrialResult]) -> list[Suggestion]:
        """Generation `number` (from 0). Trial 0 is the baseline itself; the first two generations are random.

        `finished`: trial -> result; it must contain every trial of the generations up to `number` − 2; later ones
        are ignored. Raises ValueError if one is missing, InputError if a result is outside this space.
        """
        start = number * self.size
        if number < LAG or self.sampler in ("random", "qmc"):
            drawn = self._from_cube(start)
        else:
            history = self._history(number, finished)
            drawn = (
                self._from_tpe(number, history)
                if self.sampler == "tpe"
                else self._from_optuna(number, history)
            )
        if number == 0:
            drawn[0] = self.space.to_params(self.space.baseline)
        if start <= len(self.first):
            for i, params in enumerate(self._enqueued(), 1 - start):
                if 0 <= i < self.size:
                    drawn[i] = params
        numbers = range(start, start + self.size)
        return [
            self.kept.get(n) or self._suggestion(n, params) for n, params in zip(numbers, drawn, strict=True)
        ]

    def study(self, results: Mapping[int, TrialResult]) -> optuna.Study:
        """An in-memory Optuna study of `results`, in the order of their numbers."""
        study = optuna.create_study(direction=self.direction)
        study.add_trials(self._converter.trials(results))
        return study

    def _suggestion(self, number: int, params: Params) -> Suggestion:
        if number == 0:
            return Suggestion(0, self.space.baseline, params, self.seed)
        names = [switch.name for switch in self.space.switches]
        order = np.random.default_rng([self.seed, number]).permutation(len(names))
        params = self.space.without_conflicts(params, [names[i] for i in order])
        return Suggestion(number, self.space.from_params(params), params, self.seed + number)

    def _from_cube(self, start: int) -> list[dict[str, Value]]:
        """Trials that do not depend on results."""
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

    def _from_tpe(self, number: int, history: Mapping[int, TrialResult]) -> list[dict[str, Value]]:
        """Trials drawn from TPE fitted once to `history`."""
        trials = list(self._converter.trials(history))
        study = optuna.create_study(direction=self.direction)
        sampler = FittedTPE(study, trials, self._converter.internal, _seed(self.seed, number))
        drawn: list[dict[str, Value]] = [{} for _ in range(self.size)]
        self._draw(sampler, self.space.switches, drawn, range(self.size))
        on = [self.space.on(params) for params in drawn]
        for name, settings in self.space.settings.items():
            having = [i for i in range(self.size) if name in on[i]]
            self._draw(sampler, settings, drawn, having)
        return drawn

    def _draw(
        self,
        sampler: FittedTPE,
        dimensions: Sequence[Dimension],
        drawn: list[dict[str, Value]],
        having: Sequence[int],
    ) -> None:
        """Draw `dimensions` jointly for the trials `having` them; structural ones for the first trial of a group."""
        names = [dim.name for dim in dimensions if dim.constant is None]
        shared = [name for name in names if name in self._structural]
        first = [i for i in having if not shared or i % self.lanes == 0]
        others = sorted(set(having).difference(first))
        for trials, wanted in ((first, names), (others, [name for name in names if name not in shared])):
            space = {name: self._converter.distributions[name] for name in wanted}
            if trials and space:
                for i, params in zip(trials, sampler.draw(space, len(trials)), strict=True):
                    drawn[i] |= params
        for i in others:
            drawn[i] |= {name: drawn[i - i % self.lanes][name] for name in shared}

    def _from_optuna(self, number: int, history: Mapping[int, TrialResult]) -> list[dict[str, Value]]:
        """Trials from another sampler of Optuna, asked one by one."""
        study = self.study(history)
        study.sampler = optuna_sampler(self.sampler, _seed(self.seed, number))
        drawn: list[dict[str, Value]] = []
        for i in range(self.size):
            if structure := self._structure(drawn, i):
                study.enqueue_trial(structure)
            drawn.append(self._suggested(study.ask()))
        return drawn

    def _enqueued(self) -> list[dict[str, Value]]:
        """The parameters that are tried first, put before Optuna's sampler by its `enqueue_trial`."""
        study = optuna.create_study(direction=self.direction)
        for params in self.first:
            study.enqueue_trial(dict(params))
        return [self._suggested(study.ask()) for _ in self.first]

    def _structure(self, drawn: list[dict[str, Value]], i: int) -> dict[str, Value]:
        """The structural parameters that trial `i` of a generation shares with the first of its group."""
        leader = i - i % self.lanes
        if leader == i:
            return {}
        return {name: value for name, value in drawn[leader].items() if name in self._structural}

    def _suggested(self, trial: Trial) -> dict[str, Value]:
        """Every parameter of `trial`, suggested before it starts: a trial pruned with some of them missing
        would permanently shrink TPE's joint space."""
        params = {switch.name: _suggest(trial, switch) for switch in self.space.switches}
        for name in self.space.on(params):
            for dim in self.space.settings.get(name, ()):
                if dim.constant is None:
                    params[dim.name] = _suggest(trial, dim)
        return params

    def _history(self, number: int, finished: Mapping[int, TrialResult]) -> dict[int, TrialResult]:
        """What the sampler learns from. Trials that the previous call has added, of the same mapping, are not looked at again."""
        needed = (number - LAG + 1) * self.size
        if finished is not self._source or needed < self._added:
            self._selection = History(higher_is_better=self.direction == "maximize")
            self._source, self._added = finished, 0
        for trial in range(self._added, needed):
            kept = self.kept.get(trial)
            if kept is None or kept.params:
                if trial not in finished:
                    raise ValueError(f"generation {number} needs the result of trial {trial}")
                self._selection.add(trial, finished[trial])
            self._added = trial + 1
        return self._selection.selected()


def _suggest(trial: Trial, dim: Dimension) -> Value:
    if dim.choices:
        return cast(Value, trial.suggest_categorical(dim.name, dim.choices))
    if dim.integer:
        return trial.suggest_int(dim.name, int(dim.low), int(dim.high), log=dim.log)
    return trial.suggest_float(dim.name, dim.low, dim.high, log=dim.log)


def _seed(study: int, generation: int) -> int:
    return int(np.random.SeedSequence([study, generation]).generate_state(1)[0])
