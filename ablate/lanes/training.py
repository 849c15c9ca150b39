"""A group of runs in training: epochs, evaluation, masking, compaction, results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from math import isfinite

import torch
from torch import Tensor, nn

from ablate.lanes import robust_accuracy
from ablate.lanes.context import TaskContext
from ablate.lanes.cuda_graph import prepare
from ablate.lanes.scored_epochs import scored_epochs, stopped
from ablate.lanes.scoring import note_of, scored
from ablate.lanes.trace import EpochCallback, EpochReport, RunRecord, stacked_curves
from ablate.lanes.trainer import Trainer
from ablate.lanes.untrained import Untrained
from ablate.records.run import Outcome, Result, Run
from ablate.surgery.folding import folded

LOSS = "validation/loss"


class Paused(Exception):
    """Training was asked to stop before its end; `training` can be continued."""

    def __init__(self, training: Training) -> None:
        super().__init__("training was paused")
        self.training = training


def trainer_of(context: TaskContext, runs: Sequence[Run], together: Sequence[Run]) -> Trainer:
    """A trainer of `runs` that includes, at neutral settings, the tricks of all runs of `together`.

    Only trainers with the same tricks can be joined, so `runs` are built together with a few others that have
    what they lack, and which are then removed.
    """
    tricks = {name for run in runs for name in run.recipe}
    neighbours = []
    for run in together:
        if not tricks.issuperset(run.recipe):
            neighbours.append(run)
            tricks.update(run.recipe)
    trainer = Trainer(context, [*runs, *neighbours])
    if neighbours:
        trainer.take(torch.arange(len(runs), device=context.device))
    return trainer


class Training:
    """A trainer and the traces of its runs, epoch by epoch.

    If there are more runs than `lanes`, the later ones wait; when half of the lanes are free, they replace those
    that have ended (refill). Which run replaces which, and when, depends on the runs and their results
    alone. Refilling pays if many lanes are cheap together (vmap) but limited by memory.
    `together`: all runs that the group ever had, if more than `runs`: the trainer includes the tricks of each.
    `keep_weights`: keep the state dict of each run's model, with folded weights, at the scored epoch (`RunRecord.weights`).
    """

    def __init__(
        self,
        context: TaskContext,
        runs: Sequence[Run],
        splits: Sequence[str],
        watch: EpochCallback | None = None,
        lanes: int | None = None,
        together: Sequence[Run] = (),
        *,
        keep_weights: bool = False,
    ) -> None:
        self.context = context
        self.together = tuple(together or runs)
        self.most = min(lanes or len(runs), len(runs))
        self.runs = tuple(runs)
        self.waiting = self.runs[self.most :]
        self.trainer = trainer_of(context, self.runs[: self.most], self.together)
        self.untrained = Untrained()
        self.untrained.begin(self.trainer.group.runs, self.trainer.weights)
        self.trainer.arrange()
        self.splits = tuple(dict.fromkeys(("validation", *splits)))
        self.watch = watch
        self.order = [run.identity for run in runs]
        self.traces = {run.identity: RunRecord() for run in runs}
        self.results: dict[str, Result] = {}
        self.totals = torch.zeros(3, self.most, device=context.device)
        self.seconds = {run.identity: 0.0 for run in runs}
        self.latest = 0.0  # seconds of the last epoch
        self.last_model: nn.Module | None = None  # of a run alone, as it was when it ended
        self.keep_weights = keep_weights
        self.evaluated: Tensor | None = None  # this epoch's outputs on the validation data, without views

    @property
    def done(self) -> bool:
        """Whether no lane is left."""
        return self.trainer.lanes == 0

    def finish(self, pause: Callable[[Training], bool] | None = None) -> list[Result]:
        """Train to the end; the results in the order of the runs. Raises Paused if `pause` returns true."""
        while not self.done:
            self.epoch()
            if pause is not None and not self.done and pause(self):
                raise Paused(self)
        return [self.results[identity] for identity in self.order]

    @property
    def left(self) -> float:
        """Estimated remaining seconds, if the coming epochs take as long as the last one."""
        runs = self.trainer.group.runs
        ages = [len(self.traces[run.identity].curves.get(LOSS, ())) for run in runs]
        return self.latest * max((run.epochs - age for run, age in zip(runs, ages, strict=True)), default=0)

    def keep(self, runs: Sequence[Run]) -> None:
        """Continue with these runs of the group only, as lanes in this order. No run may be waiting or have ended."""
        lane_of = {run.identity: lane for lane, run in enumerate(self.trainer.group.runs)}
        self.runs = tuple(runs)
        self.order = [run.identity for run in runs]
        self._take([lane_of[identity] for identity in self.order])

    def epoch(self) -> None:
        """Train to the end of the current epoch, evaluate, and end the runs that are finished."""
        started = time.perf_counter()
        prepare(self.trainer)
        at_once = self.context.device.type == "cpu"  # on other devices each check would wait for the device
        while True:
            self.step()
            if self.trainer.within == 0 or (at_once and not bool(self.trainer.alive.any())):
                break
        clock = self.context.clock
        clock.begin()
        self._evaluate()
        self.latest = time.perf_counter() - started
        share = self.latest / self.trainer.lanes
        for run in self.trainer.group.runs:
            self.seconds[run.identity] += share
        self._end()
        clock.lap("evaluation")

    def step(self) -> None:
        """Train one step, and add its losses and shares of right examples to the epoch's totals."""
        loss, right = self.trainer.step()
        self.totals += torch.stack([loss, right, torch.ones_like(loss)])

    def _evaluate(self) -> None:
        """Add this epoch's metrics to the traces; keep the outputs of lanes that may be scored here, though
        they train on. Curves are drawn without test-time views, which only the scored outputs need."""
        trainer, task = self.trainer, self.context.task
        mean = (self.totals[:2] / self.totals[2]).double()
        self.totals = torch.zeros_like(self.totals)
        values = {"train/loss": mean[0]}
        watched = {"loss", task.metric.removeprefix("validation/")}
        accuracy = task.accuracy
        if accuracy:
            values[f"train/{accuracy}"] = mean[1]
            watched.add(accuracy)
        outputs = self.evaluated = trainer.predict("validation", views=False)
        metrics = task.evaluation.metrics(outputs, trainer.data.targets("validation"), watched)
        values |= {f"validation/{name}": value for name, value in metrics.items()}
        columns = {name: value.tolist() for name, value in values.items()}
        for lane, run in enumerate(trainer.group.runs):
            self.traces[run.identity].add({name: column[lane] for name, column in columns.items()})
        keep: list[int] = []
        choosing = [active.settings.on.tolist() for active, _ in trainer.group.ports("choose")]
        epochs = scored_epochs(trainer.group, self._losses(), self.context.device)
        for lane, (run, best) in enumerate(zip(trainer.group.runs, epochs, strict=True)):
            trace = self.traces[run.identity]
            if best == len(trace.curves[LOSS]):
                trace.best, trace.outputs, trace.weights = best, {}, {}
                if best < run.epochs and any(on[lane] for on in choosing):
                    keep.append(lane)
        self._keep_scored(keep)

    def _keep_scored(self, lanes: Sequence[int]) -> None:
        """Store the current outputs of `lanes`, for every requested split, in their traces, and their weights
        if requested: both are of the same epoch."""
        if not lanes:
            return
        chosen = torch.tensor(lanes, dtype=torch.int64, device=self.context.device)
        for split in self.splits:
            outputs = self._outputs(split, chosen)
            for row, lane in enumerate(lanes):
                self.traces[self.trainer.group.runs[lane].identity].outputs[split] = outputs[row]
        for lane in lanes if self.keep_weights else ():
            state = folded(self.trainer.model(lane)).state_dict()
            self.traces[self.trainer.group.runs[lane].identity].weights = {
                name: tensor.detach().cpu().clone() for name, tensor in state.items()
            }

    def _outputs(self, split: str, lanes: Tensor) -> Tensor:
        """The lanes' outputs on a split, as they are scored."""
        if split == robust_accuracy.ROBUST:
            return robust_accuracy.outputs(self.trainer, lanes)
        ports = self.trainer.group.ports("views") + self.trainer.group.ports("ensemble")
        if split == "validation" and self.evaluated is not None and not ports:
            return self.evaluated.index_select(0, lanes)
        return self.trainer.predict(split, lanes)

    def _losses(self) -> list[list[float]]:
        """Each lane's validation losses so far."""
        return [self.traces[run.identity].curves[LOSS] for run in self.trainer.group.runs]

    def _end(self) -> None:
        """Turn the finished lanes into results, and compact the rest."""
        runs = self.trainer.group.runs
        losses = self._losses()
        ages = [len(curve) for curve in losses]
        stops = stopped(self.trainer.group, losses, self.context.device)
        alive = self.trainer.alive.tolist()
        pruned = self._pruned(ages)
        self.untrained.update(runs, self.trainer.weights)
        keep, outcomes = [], {}
        for lane, run in enumerate(runs):
            if not alive[lane] or not isfinite(losses[lane][-1]):
                outcomes[lane] = Outcome.DIVERGED
            elif ages[lane] >= run.epochs or stops[lane]:
                outcomes[lane] = Outcome.FAILED if run in self.untrained else Outcome.COMPLETE
            elif pruned[lane]:
                outcomes[lane] = Outcome.PRUNED
            else:
                keep.append(lane)
        self._keep_scored([lane for lane in outcomes if not self.traces[runs[lane].identity].outputs])
        self.evaluated = None
        for lane, outcome in outcomes.items():
            self._result(runs[lane], outcome)
        if len(keep) < len(runs):
            self.last_model = self.trainer.model(0) if len(self.order) == 1 else None
            self._take(keep)
            self._refill()

    def _take(self, lanes: Sequence[int]) -> None:
        chosen = torch.tensor(lanes, dtype=torch.int64, device=self.context.device)
        self.trainer.take(chosen)
        self.totals = self.totals[:, chosen]

    def _pruned(self, ages: Sequence[int]) -> list[bool]:
        """Lanes that `watch` ends. It is called for the lanes of each age separately, the oldest first, in the order of their runs."""
        runs = self.trainer.group.runs
        pruned = [False] * len(runs)
        if self.watch is None:
            return pruned
        order = sorted(range(len(runs)), key=lambda lane: self.order.index(runs[lane].identity))
        for age in sorted(set(ages), reverse=True):
            lanes = [lane for lane in order if ages[lane] == age]
            cohort = tuple(runs[lane] for lane in lanes)
            others = [run for run in self.runs if run not in cohort]
            report = EpochReport(cohort, self._curves(cohort), self._curves(others))
            for lane, ends in zip(lanes, self.watch(report) or [False] * len(lanes), strict=True):
                pruned[lane] = ends
        return pruned

    def _curves(self, runs: Sequence[Run]) -> dict[str, tuple[tuple[float, ...], ...]]:
        return stacked_curves([self.traces[run.identity] for run in runs])

    def _refill(self) -> None:
        """Let waiting runs in, when at least half of the lanes are free."""
        free = self.most - self.trainer.lanes
        if not self.waiting or 2 * free < self.most:
            return
        incoming, self.waiting = self.waiting[:free], self.waiting[free:]
        trainer = trainer_of(self.context, incoming, self.together)
        self.untrained.begin(trainer.group.runs, trainer.weights)
        if self.trainer.lanes:
            self.trainer.extend(trainer)
        else:
            self.trainer = trainer
        self.trainer.arrange()
        self.totals = torch.cat([self.totals, self.totals.new_zeros(3, len(incoming))], dim=1)

    def _result(self, run: Run, outcome: Outcome) -> None:
        trace = self.traces[run.identity]
        lane = self.trainer.group.runs.index(run)
        targets = partial(self.trainer.data.targets_of, lane)
        values, scores = (
            ({}, {})
            if outcome is Outcome.FAILED
            else scored(self.context, trace.outputs, self.splits, outcome, targets)
        )
        epochs = len(trace.curves[LOSS])
        if outcome is Outcome.COMPLETE:
            for name in ("loss", self.context.task.accuracy):
                if f"train/{name}" in trace.curves:
                    values[f"train/{name}"] = trace.curves[f"train/{name}"][trace.best - 1]
        self.results[run.identity] = Result(
            outcome,
            metrics=values,
            curves={name: tuple(curve) for name, curve in trace.curves.items()},
            scores=scores,
            epochs=epochs,
            seconds=self.seconds[run.identity],
            note=note_of(outcome, trace.best, epochs),
        )
