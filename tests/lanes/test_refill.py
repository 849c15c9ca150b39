"""Refill: more runs than lanes. Each run is what it is alone, whoever was pruned beside it and whenever it came."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from ablate.catalogue.registry import registry
from ablate.lanes.applicable import applicable, narrowed, scopes
from ablate.lanes.context import TaskContext
from ablate.lanes.group import grouped
from ablate.lanes.trace import EpochReport
from ablate.lanes.train import train
from ablate.lanes.training import Training
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run
from ablate.records.study import SpaceSection, StudyFile
from ablate.search.pruning import rungs
from ablate.search.space import Space
from ablate.search.unit_cube import params_at, random_points
from ablate.study.search import Prune
from ablate.tasks.load import load

CATALOGUE = registry()
EPOCHS = 4
METRIC = "validation/accuracy"


def context_of(name: str) -> TaskContext:
    context = TaskContext.of(load(name), CATALOGUE, torch.device("cpu"))
    return narrowed(context, scopes(context))


@pytest.fixture(scope="module")
def context() -> TaskContext:
    return context_of("breast-cancer")


def runs_of(context: TaskContext, count: int, epochs: int = EPOCHS) -> list[Run]:
    """Runs of one structure, the one most random recipes have, with as many different tricks as can be."""
    study = StudyFile(task=context.task.name, space=SpaceSection(exclude=("batch_size", "fgsm")))
    baseline = Recipe.of(CATALOGUE, {"momentum": {"lr": 0.05}})

    space = Space.of(context.catalogue, study, applicable(context), baseline)
    runs: list[Run] = []
    for number, point in enumerate(random_points(space, [3], 4 * count)):
        params = space.without_conflicts(
            params_at(space, point, {}), [switch.name for switch in space.switches]
        )
        runs.append(Run(context.task.name, space.from_params(params), number, epochs))
    alike = max(grouped(runs, CATALOGUE, len(runs)), key=len)
    assert len(alike) >= count
    return alike[:count]


def without_durations(results: list[Result]) -> list[str]:
    """Text, because NaN is not equal to itself."""
    return [repr(replace(result, seconds=0)) for result in results]


def halving(higher: bool = True) -> Prune:
    return Prune("successive-halving", METRIC, (), EPOCHS, higher)


def test_every_run_is_what_it_is_alone(context: TaskContext):
    runs = runs_of(context, 11)
    assert len({name for run in runs for name in run.recipe}) > 12
    together = train(context, runs, lanes=4, watch=halving())
    assert {result.outcome for result in together} >= {Outcome.COMPLETE, Outcome.PRUNED}
    for run, result in zip(runs, together, strict=True):
        ends = result.epochs if result.outcome is Outcome.PRUNED else None
        alone = train(context, [run], watch=partial(_at, ends))
        assert without_durations(alone) == without_durations([result])


def _at(ends: int | None, report: EpochReport) -> list[bool]:
    return [len(report.curves[METRIC][0]) == ends]


def test_lanes_are_never_more_and_nobody_starves(context: TaskContext):
    runs = runs_of(context, 11)
    training = Training(context, runs, ("validation",), halving(), lanes=4)
    seen = []
    while not training.done:
        seen.append(training.trainer.lanes)
        training.epoch()
    assert max(seen) == 4
    assert not training.waiting
    assert set(training.results) == {run.identity for run in runs}
    mixed = [lanes for lanes in seen if lanes > 2]
    assert len(mixed) > len(seen) / 2, "places that are pruned free are taken"


def test_the_order_in_which_runs_come_decides_nothing_but_their_rivals(context: TaskContext):
    """Without pruning a job with few lanes gives what one with many gives."""
    runs = runs_of(context, 6, epochs=2)
    expected = without_durations(train(context, runs))
    for lanes in (1, 2, 5, 6, 99):
        assert without_durations(train(context, runs, lanes=lanes)) == expected
    assert without_durations(train(context, runs[::-1], lanes=2)[::-1]) == expected


def test_ages_are_judged_apart(context: TaskContext):
    """Every report holds curves of one length; rivals at a rung are all that reached it before."""
    runs = runs_of(context, 12)
    heard: list[EpochReport] = []

    def watch(report: EpochReport) -> list[bool]:
        heard.append(report)
        return halving()(report)

    results = train(context, runs, lanes=4, watch=watch)
    for report in heard:
        assert len({len(curve) for curve in report.curves[METRIC]}) == 1
    assert len({tuple(report.runs) for report in heard}) > 4
    first = rungs(EPOCHS)[0]
    reached: list[float] = []
    for report in heard:
        if len(report.curves[METRIC][0]) != first:
            continue
        now = [curve[-1] for curve in report.curves[METRIC]]
        assert sorted(
            curve[first - 1] for curve in report.others.get(METRIC, ()) if len(curve) >= first
        ) == sorted(reached)
        reached += now
        bar = sorted(reached)[-max(1, len(reached) // 2)]
        for run, value in zip(report.runs, now, strict=True):
            result = results[runs.index(run)]
            assert (value >= bar) == (result.epochs > first)
    assert len(reached) == 12


@pytest.mark.parametrize("kernel", ["batched", "compiled", "loop"])
def test_who_is_pruned_is_who_was_judged(kernel: str):
    """Lanes stand in another order than their runs came in: every verdict is for the lane whose curve was seen."""
    context = context_of("breast-cancer").with_kernel(kernel)
    kinds = [{"rmsprop": {"lr": 0.001}}, {"adam": {"lr": 0.01}}, {"sgd": {"lr": 0.1}}]
    tricks = [{**kinds[i % 3], **({"batch_norm": {}} if i % 2 else {})} for i in range(9)]
    runs = [Run(context.task.name, Recipe.of(CATALOGUE, trick), i, EPOCHS) for i, trick in enumerate(tricks)]
    alone = {run: train(context, [run])[0].curves[METRIC] for run in runs}
    chosen: set[Run] = set()
    training = Training(context, runs, ("validation",))
    assert [run.identity for run in training.trainer.group.runs] != [run.identity for run in runs]

    def watch(report: EpochReport) -> list[bool]:
        seen = dict(zip(report.runs, report.curves[METRIC], strict=True))
        age = len(report.curves[METRIC][0])
        assert seen == {run: alone[run][:age] for run in report.runs}
        ended = [run == min(report.runs, key=lambda run: (seen[run][-1], run.seed)) for run in report.runs]
        chosen.update(run for run, over in zip(report.runs, ended, strict=True) if over and age < EPOCHS)
        return ended

    training.watch = watch
    results = dict(zip(runs, training.finish(), strict=True))
    assert {run for run, result in results.items() if result.outcome is Outcome.PRUNED} == chosen
    assert len(chosen) == EPOCHS - 1


def test_a_job_where_all_diverge_lets_the_next_in(context: TaskContext):
    mad = Recipe.of(CATALOGUE, {"momentum": {"lr": 1e30}})
    calm = runs_of(context, 3, epochs=2)
    runs = [*(Run(context.task.name, mad, seed, 2) for seed in range(4)), *calm]
    results = train(context, runs, lanes=2)
    assert [r.outcome for r in results] == [Outcome.DIVERGED] * 4 + [Outcome.COMPLETE] * 3
    assert without_durations(results[4:]) == without_durations(train(context, calm))


def test_out_of_memory_halves_the_lanes_and_loses_nobody(
    context: TaskContext, monkeypatch: pytest.MonkeyPatch
):
    from ablate.lanes.trainer import Trainer

    runs = runs_of(context, 6, epochs=2)
    expected = without_durations(train(context, runs))
    real = Trainer.step

    def step(self: Trainer, *args: object) -> object:
        if self.lanes > 2:
            raise torch.OutOfMemoryError("out of memory")
        return real(self, *args)

    monkeypatch.setattr(Trainer, "step", step)
    assert without_durations(train(context, runs, lanes=4)) == expected


def test_the_loop_kernel_can_do_it_too():
    context = context_of("digits")
    runs = [
        Run("digits", Recipe.of(CATALOGUE, {"momentum": {"lr": 0.01 * (i + 1)}, **extra}), i, 2)
        for i, extra in enumerate(({}, {"batch_norm": {}}, {"ema": {}}, {"dropout": {}}))
    ]
    assert without_durations(train(context, runs, lanes=2)) == without_durations(train(context, runs))


def test_curves_of_others_are_those_of_the_results(context: TaskContext):
    runs = runs_of(context, 6, epochs=4)
    reports: list[EpochReport] = []

    def watch(report: EpochReport) -> list[bool]:
        reports.append(report)
        return [False] * len(report.runs)

    results = train(context, runs, lanes=3, watch=watch)
    last = reports[-1].others[METRIC]
    assert len(last) == 3
    assert np.array_equal(last, [result.curves[METRIC] for result in results[:3]])
