"""`ablate.lr_find(model, train_loader, validation_loader, optimizer=…)`: the protocol without a task.

The same steps as `ablate lr-find`, one run at a time in this process: which rates make the loss drop, whether a batch can
be overfitted, a grid of half-decades over five decades at the full number of epochs, three seeds of the best three, and a
paired test of the chosen rate against the best constant prediction.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, TensorDataset

from ablate.protocol.anywhere import first_steps
from ablate.protocol.anywhere.causes import loop_label_cause
from ablate.protocol.anywhere.loop import OptimizerFactory, PlainRun, TrainingLoop
from ablate.protocol.anywhere.objective import LossFunction, example_losses
from ablate.protocol.anywhere.record import LRFindResult, Trial, step_of
from ablate.protocol.anywhere.restoring import restored
from ablate.protocol.baseline import half_decades, round_rate
from ablate.protocol.chosen import verdict
from ablate.protocol.guess import PairedTest, one_sided
from ablate.protocol.label_causes import with_label_cause
from ablate.protocol.plan import BEST, SEEDS, Budget, plan
from ablate.protocol.rate_grid import BEYOND, nearest, rates_worth_trying
from ablate.protocol.steps import Finding, Step
from ablate.records.arguments import known_arguments
from ablate.records.errors import InputError

BATCH = 64
USUAL = {"SGD": 0.05, "ASGD": 0.05}
"""Centres of the grid for optimizers whose default rate in torch is not a usual one."""


@known_arguments()
def lr_find(
    model: nn.Module,
    train_loader: Any,
    validation_loader: Any,
    *,
    optimizer: OptimizerFactory = torch.optim.AdamW,
    loss: LossFunction | None = None,
    epochs: int = 5,
    rates: Sequence[float] | None = None,
    budget: float | None = None,
    batch_size: int = BATCH,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> LRFindResult:
    """A learning rate for `model` with `optimizer`. Model, loaders and random generators are restored.

    model: any module; every run starts from its current weights.
    train_loader, validation_loader: DataLoaders (or anything that can be iterated again and again) of `(x, …, y)` or of
        mappings with "labels", which are passed to the model as keywords; or pairs of tensors `(x, y)`.
    optimizer: a class of `torch.optim` or any function `(parameters, lr=…)`, such as `partial(SGD, momentum=0.9)`.
    loss: `(outputs, targets) -> scalar`; by default the model's own `loss` output, else cross-entropy for integer
        targets and squared error for numbers.
    epochs: length of a run; use the length that you will train for. `rates`: the grid, instead of five decades.
    budget: seconds that the grid may take; it then has fewer repeats or shorter runs. `say`: called with the plan beforehand.

    Raises InputError for what cannot be trained. The result is deterministic if the model is and no budget is given.
    """
    if isinstance(budget, str):
        raise InputError(f"budget is a number of seconds, not {budget!r}", hint="write budget=120")
    train, validation = (_loader(data, batch_size) for data in (train_loader, validation_loader))
    _check(model, epochs)
    device = next(model.parameters()).device
    started = time.perf_counter()
    with restored(model, [train, validation]) as state:
        loop = TrainingLoop(model, state, train, validation, optimizer, loss, device)
        name = getattr(getattr(optimizer, "func", optimizer), "__name__", type(optimizer).__name__)
        answer = Findings()
        steps = tuple(_steps(loop, answer, name, epochs, rates, budget, seed, say))
    seconds = time.perf_counter() - started
    return LRFindResult(answer.rate, name, answer.trials, answer.guess, steps, seconds)


@dataclass
class Findings:
    """What the steps found so far."""

    rate: float | None = None
    trials: tuple[Trial, ...] = ()
    guess: float | None = None


def _steps(
    loop: TrainingLoop,
    answer: Findings,
    name: str,
    epochs: int,
    rates: Sequence[float] | None,
    budget: float | None,
    seed: int,
    say: Callable[[str], None],
) -> Iterator[Step]:
    """The steps in order, which fill in `answer`; the protocol ends after one that fails."""
    length = epochs * sum(1 for _ in loop.train)
    step = first_steps.initial_loss(loop, seed, length)
    yield step
    if step.verdict == "fail":
        return
    center = default_rate(loop.optimizer, name)
    began = time.perf_counter()
    third, drops, done = first_steps.loss_drop(loop, center, seed, length)
    seconds = (time.perf_counter() - began) / max(done, 1)
    best = max((drop for drop in drops if drop.falls), key=lambda drop: drop.mean, default=None)
    second = first_steps.overfit_batch(loop, center if best is None else best.rate, seed)
    yield second
    yield third
    if "fail" in (second.verdict, third.verdict):
        return
    tried = rates_worth_trying(half_decades(center), drops, length) if rates is None else list(rates)
    bound = Budget(seconds=budget).in_runs(seconds * length)
    most = len(tried) + (SEEDS - 1) * BEST if bound is None else bound
    planned = plan(len(tried), 0, epochs, most)
    if rates is None:
        tried = nearest(tried, drops, planned.rates)
    say(
        f"lr_find will train at most {planned}, about {seconds * length * planned.runs * planned.epochs / epochs:.0f} s"
    )
    runs = [loop.run(rate, seed, planned.epochs) for rate in tried]
    if rates is None and planned.runs - len(runs) >= BEYOND:
        runs += _beyond(loop, runs, seed, planned.epochs)
    yield step_of(4, {"losses": {f"{run.rate:g}": run.final for run in runs}}, _none_finished(runs))
    ranked = sorted((run for run in runs if isfinite(run.final)), key=lambda run: run.final)[:BEST]
    if not ranked:
        return
    repeats = min(planned.repeats, max(planned.runs - len(runs), 0)) // len(ranked)
    means = {}
    for run in ranked:
        more = [loop.run(run.rate, seed + 1 + i, planned.epochs).final for i in range(repeats)]
        means[run.rate] = float(np.mean([run.final, *more]))
    finite = [run for run in ranked if isfinite(means[run.rate])] or ranked[:1]
    winner = min(finite, key=lambda run: means[run.rate])
    test, note = against_constant(loop, winner)
    findings = [*([] if test is None else verdict(test)), *([note] if note else [])]
    if any(finding.code == "no-better-than-a-guess" for finding in findings):
        findings = with_label_cause(findings, loop_label_cause(loop))
    answer.trials = tuple(
        Trial(r.rate, means.get(r.rate, r.final), r.lowest, 1 + repeats * (r.rate in means))
        for r in sorted(runs, key=lambda run: run.rate)
    )
    answer.guess = None if test is None else test.guess
    answer.rate = None if any(finding.level == "fail" for finding in findings) else winner.rate
    figures: dict[str, Any] = {"means": {f"{rate:g}": mean for rate, mean in means.items()}}
    yield step_of(5, {**figures, **({} if test is None else {"against_guess": test.to_dict()})}, *findings)


def _beyond(loop: TrainingLoop, runs: Sequence[PlainRun], seed: int, epochs: int) -> list[PlainRun]:
    """Two half-decades beyond the grid, if its best rate is the outermost."""
    finite = [run for run in runs if isfinite(run.final)]
    lowest, highest = min(run.rate for run in runs), max(run.rate for run in runs)
    best = min(finite, key=lambda run: run.final).rate if finite else lowest
    if best not in (lowest, highest):
        return []
    side = -0.5 if best == lowest else 0.5
    return [loop.run(round_rate(best * 10 ** (side * i)), seed, epochs) for i in range(1, BEYOND + 1)]


def _none_finished(runs: Sequence[PlainRun]) -> Finding | None:
    if any(isfinite(run.final) for run in runs):
        return None
    rates = [run.rate for run in runs]
    return Finding(
        "no-run-completed", "fail", "the only run diverged" if len(runs) == 1 else f"all of {len(runs)} runs diverged", f"rates {min(rates):g} to {max(rates):g}",
        "the loss drops at first and then diverges: clip gradients or use warmup",
    )  # fmt: skip


def against_constant(loop: TrainingLoop, run: PlainRun) -> tuple[PairedTest | None, Finding | None]:
    """The test of the run's best epoch against the best constant prediction of the training targets."""
    constant = first_steps.constant_of(loop)
    if constant is None or run.outputs is None or run.targets is None:
        message = (
            "the model computes its own loss, so that no guess without inputs is known to compare it with"
        )
        return None, Finding(
            "no-guess", "note", message, "loss", "give loss=, or let the model return logits"
        )
    shape = (len(run.targets), *constant.shape[1:])
    guess = example_losses(constant.cpu().expand(shape), run.targets, loop.loss).double()
    losses = example_losses(run.outputs, run.targets, loop.loss).double()
    p = one_sided((guess - losses).numpy())
    return PairedTest(float(losses.mean()), float(guess.mean()), p, len(losses)), None


def default_rate(optimizer: OptimizerFactory, name: str) -> float:
    """The centre of the grid: the optimizer's default rate, 1e-3 where it has none."""
    if name in USUAL:
        return USUAL[name]
    function = getattr(optimizer, "func", optimizer)
    given = inspect.signature(function).parameters.get("lr")
    default = None if given is None else given.default
    return float(default) if isinstance(default, int | float) and default > 0 else 1e-3


def _loader(data: Any, batch_size: int) -> Any:
    """A loader that can be iterated again and again. Raises InputError."""
    if isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        return DataLoader(TensorDataset(*data), batch_size=batch_size, shuffle=True)
    if isinstance(data, Iterator) or not hasattr(data, "__iter__"):
        raise InputError(
            f"a {type(data).__name__} cannot be iterated again and again",
            hint="give a DataLoader, or a pair of tensors (x, y)",
        )
    return data


def _check(model: nn.Module, epochs: int) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(
            f"model is a {type(model).__name__}, not an nn.Module", hint="give the module itself"
        )
    if any(is_lazy(parameter) for parameter in model.parameters()):
        raise InputError("the model has lazy layers", hint="run it once on a batch first")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError("the model has no trainable parameters", hint="there is nothing to train")
    if not isinstance(epochs, int) or epochs < 1:
        raise InputError(f"epochs must be a whole number of at least 1, not {epochs!r}", hint="for example 5")
