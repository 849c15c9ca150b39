"""R7 and R8: a number that is not finite, and memory that runs out, injected at every place of a training."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable
from dataclasses import replace
from math import inf, isfinite, isnan, nan

import pytest
import torch

from ablate.lanes import build, trainer
from ablate.lanes.context import TaskContext
from ablate.lanes.parameters import LaneParameters
from ablate.lanes.train import train
from ablate.lanes.trainer import Trainer
from ablate.lanes.training import Training
from ablate.lanes.update import Optimizers
from ablate.records.run import Outcome, Result, Run
from ablate.seams.batch import Batch
from ablate.trick_suite import suite

KERNELS = ("compiled", "batched", "vmap", "loop")
PER_EPOCH, STEPS = 6, (0, 3, 6, 23)
"""Steps of an epoch of the small task; steps at which a number is spoilt: the first, within an epoch, a second epoch's first, the last."""
LANE = 1
VALUES = (nan, inf, -inf)


def context_of(kernel: str, name: str = "table") -> TaskContext:
    return suite().contexts[name].with_kernel(kernel)


def runs_of(context: TaskContext, count: int = 3) -> list[Run]:
    tricks = {"adam": {"lr": 0.01}, "clip_norm": {}, "ema": {}, "weight_decay": {}}
    return [suite().run(context, tricks, seed) for seed in range(count)]


def without_durations(results: list[Result]) -> list[Result]:
    return [replace(result, seconds=0) for result in results]


class Spoiling:
    """Makes one number of lane LANE of a group of three `value` at one step: in the place that it is installed at."""

    def __init__(self, at: int, value: float) -> None:
        self.at, self.value, self.seen = at, value, 0

    def now(self, lanes: int) -> bool:
        self.seen += lanes == 3
        return lanes == 3 and self.seen == self.at + 1

    def loss(self, patch: pytest.MonkeyPatch) -> None:
        real = trainer.lane_losses

        def losses(*arguments: object) -> torch.Tensor:
            losses_of_lanes = real(*arguments)
            if self.now(len(losses_of_lanes)):
                losses_of_lanes = losses_of_lanes + torch.tensor(
                    [self.value if lane == LANE else 0.0 for lane in range(3)]
                )
            return losses_of_lanes

        patch.setattr(trainer, "lane_losses", losses)

    def gradient(self, patch: pytest.MonkeyPatch) -> None:
        real = LaneParameters.gradients

        def gradients(leaves: LaneParameters, *arguments: object, **named: object) -> object:
            slopes, absent = real(leaves, *arguments, **named)
            if self.now(slopes.lanes):
                slopes.flat[LANE, 0] = self.value
            return slopes, absent

        patch.setattr(LaneParameters, "gradients", gradients)

    def weight(self, patch: pytest.MonkeyPatch) -> None:
        real = Trainer.step

        def step(group_trainer: Trainer, *arguments: object) -> object:
            if self.now(group_trainer.lanes):
                with torch.no_grad():
                    group_trainer.weights.flat[LANE, :5] = self.value
            return real(group_trainer, *arguments)

        patch.setattr(Trainer, "step", step)

    def inputs(self, patch: pytest.MonkeyPatch) -> None:
        real = Trainer.batch

        def batch(group_trainer: Trainer, *arguments: object) -> Batch:
            drawn = real(group_trainer, *arguments)
            if self.now(group_trainer.lanes):
                x = drawn.x.clone()
                x[LANE, 0] = self.value
                drawn = drawn.replaced(x=x)
            return drawn

        patch.setattr(Trainer, "batch", batch)


PLACES = ("loss", "gradient", "weight", "inputs")
CASES = list(itertools.product(PLACES, STEPS, VALUES))


@pytest.mark.parametrize(
    ("number", "place", "step", "value"), [(number, *case) for number, case in enumerate(CASES)]
)
def test_what_is_not_finite_ends_its_lane_within_a_step(
    number: int, place: str, step: int, value: float, monkeypatch: pytest.MonkeyPatch
):
    context = context_of(KERNELS[(number + number // len(KERNELS)) % len(KERNELS)])
    runs = runs_of(context)
    expected = train(context, [runs[0], runs[2]])
    getattr(Spoiling(step, value), place)(monkeypatch)
    training = Training(context, runs, ("validation",))
    epoch = step // PER_EPOCH
    for _ in range(epoch):
        training.epoch()
    for _ in range(step % PER_EPOCH + 1):
        assert training.trainer.alive.all()
        training.step()
    order = [run.seed for run in training.trainer.group.runs]
    assert training.trainer.alive.tolist() == [seed != LANE for seed in order]
    if training.trainer.within:
        training.epoch()
    else:  # the epoch is over but for its evaluation
        training._evaluate()
        training._end()
    results = training.finish()
    assert results[LANE].outcome is Outcome.DIVERGED
    assert results[LANE].epochs == epoch + 1
    assert without_durations([results[0], results[2]]) == without_durations(expected)


@pytest.mark.parametrize("value", VALUES)
def test_a_metric_that_is_not_finite_is_no_score(value: float, monkeypatch: pytest.MonkeyPatch):
    """Of the loss on validation data, by which a lane is judged."""
    context = context_of("loop")
    runs = runs_of(context)
    expected = train(context, [runs[0], runs[2]])
    evaluation = type(context.task.evaluation)
    real = evaluation.metrics

    def metrics(judge: object, outputs: torch.Tensor, *arguments: object) -> dict[str, torch.Tensor]:
        measured = dict(real(judge, outputs, *arguments))
        if len(outputs) == 3:
            measured["loss"] = measured["loss"].clone()
            measured["loss"][LANE] = value
        return measured

    monkeypatch.setattr(evaluation, "metrics", metrics)
    results = train(context, runs)
    assert [result.outcome is Outcome.DIVERGED for result in results] == [False, True, False]
    assert without_durations([results[0], results[2]]) == without_durations(expected)


@pytest.mark.parametrize("value", VALUES)
def test_a_metric_of_the_users_that_is_not_finite_does_not_count(value: float):
    """Its lane ends as it would have, since its loss is finite; the value is none, and a line says so."""
    calls: list[float] = []

    def own(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        calls.append(value if len(calls) % 3 == LANE else 0.5)  # lane by lane
        return calls[-1]

    plain = context_of("loop")
    task = plain.task.but(metrics={"own": (own, "maximize")}, metric="own")
    context = TaskContext.of(task, plain.catalogue, torch.device("cpu"), "loop")
    calls.clear()
    training = Training(context, runs_of(context), ("validation",))
    training.epoch()
    curves = [training.traces[run.identity].curves["validation/own"][0] for run in runs_of(context)]
    assert [number == 0.5 for number in curves] == [True, False, True]
    assert isnan(curves[LANE])
    always = task.but(metrics={"own": (lambda outputs, targets: value, "maximize")}, metric="loss")
    context = TaskContext.of(always, plain.catalogue, torch.device("cpu"), "loop")
    results = train(context, runs_of(context))
    assert {result.outcome for result in results} == {Outcome.COMPLETE}
    assert all(isnan(result.metrics["validation/own"]) for result in results)
    assert all(isfinite(result.metrics["validation/loss"]) for result in results)
    line = "the metric 'own' is not finite on validation data of a run whose loss is: it does not count"
    assert line in context.clock.slow


def _failing(
    real: Callable[..., object], lanes: Callable[..., int], seen: list[int]
) -> Callable[..., object]:
    """`real`, which needs too much memory for more than two lanes."""

    def call(*arguments: object, **named: object) -> object:
        result = real(*arguments, **named)
        if lanes(*arguments) > 2:
            seen.append(lanes(*arguments))
            raise torch.OutOfMemoryError("tried to allocate 3 GiB")
        return result

    return call


WHERE = {
    "build": (build, "initial", lambda nets, *more: len(nets)),
    "forward": (Trainer, "outputs", lambda group_trainer, weights, x, *more: len(x)),
    "backward": (LaneParameters, "gradients", lambda parameters, *more: parameters.weights.lanes),
    "step": (Optimizers, "update", lambda optimizers, group, weights, *more: weights.lanes),
    "evaluation": (Trainer, "predict", lambda group_trainer, *more: group_trainer.lanes),
}


@pytest.mark.parametrize(("number", "where"), list(enumerate(WHERE)))
def test_out_of_memory_anywhere_halves_the_group(number: int, where: str, monkeypatch: pytest.MonkeyPatch):
    context = context_of(KERNELS[number % len(KERNELS)])
    runs = runs_of(context, 5)
    expected = train(context, runs)
    place, name, lanes = WHERE[where]
    seen: list[int] = []
    monkeypatch.setattr(place, name, _failing(getattr(place, name), lanes, seen))
    assert without_durations(train(context, runs)) == without_durations(expected)
    assert seen == [5]
    monkeypatch.setattr(place, name, _failing(getattr(place, name), lambda *more: 3, seen))
    alone = train(context, runs[:1])[0]
    assert alone.outcome is Outcome.OUT_OF_MEMORY
    assert "3 GiB" in alone.note


def test_the_group_that_did_not_fit_is_freed_before_its_halves_are_built(monkeypatch: pytest.MonkeyPatch):
    context = context_of("loop")
    built: list[weakref.ref[Trainer]] = []
    alive: list[int] = []
    real_init, real_step = Trainer.__init__, Trainer.step

    def made(group_trainer: Trainer, *arguments: object) -> None:
        gc.collect()
        alive.append(sum(reference() is not None for reference in built))
        real_init(group_trainer, *arguments)
        built.append(weakref.ref(group_trainer))

    def step(group_trainer: Trainer, *arguments: object) -> object:
        if group_trainer.lanes > 1:
            raise torch.OutOfMemoryError("tried to allocate 3 GiB")
        return real_step(group_trainer, *arguments)

    monkeypatch.setattr(Trainer, "__init__", made)
    monkeypatch.setattr(Trainer, "step", step)
    assert [result.outcome for result in train(context, runs_of(context, 4))] == [Outcome.COMPLETE] * 4
    assert alive == [0] * len(alive)
    assert len(alive) == 7
