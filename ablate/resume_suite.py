"""The conformance check of exact resume: a training that is stopped and restored again and again is the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ablate.lanes import checkpoint
from ablate.lanes.checkpoint import trainer_state
from ablate.lanes.context import TaskContext
from ablate.lanes.training import Training
from ablate.records.run import Result, Run

KILLS = ((0, 1), (0, 4), (1, 0), (2, 3), (3, 5))
"""(epoch, step of the epoch): after the first step, within the first epoch, at its end, within a later one, before the last step."""


def check_resume_of(
    context: TaskContext, runs: Sequence[Run], what: str, kills: Sequence[tuple[int, int]] = KILLS
) -> None:
    """A training that ends at each of `kills` and continues from its checkpoint's bytes has, at the next one and at
    the end, every tensor of an uninterrupted training (weights, optimizer state, averages, buffers, scored outputs, kept weights)
    bit for bit, and its results."""
    whole, killed = (Training(context, runs, ("validation", "test"), keep_weights=True) for _ in range(2))
    now = (0, 0)
    for kill in kills:
        for training in (whole, killed):
            advance_to(training, now, kill)
        if whole.done:
            break
        now = kill
        _assert_equal(tensors_of(whole), tensors_of(killed), f"{what}, killed at {now}")
        killed = _restored(killed)
        _assert_equal(tensors_of(whole), tensors_of(killed), f"{what}, restored at {now}")
    for training in (whole, killed):
        training.finish()
    for training in (whole, killed):
        missing = {run.identity for run in runs} - training.results.keys() & training.traces.keys()
        assert not missing, f"{what}: {len(missing)} of {len(runs)} runs ended without results"
    for run in runs:
        one, other = (training.results[run.identity] for training in (whole, killed))
        assert _timeless(one) == _timeless(other), f"{what}: the results differ"
        first, second = (training.traces[run.identity] for training in (whole, killed))
        _assert_equal(first.weights | first.outputs, second.weights | second.outputs, f"{what}, in the end")


def _restored(training: Training) -> Training:
    """What a new process makes of the checkpoint. Runs that have ended are not in it: they have their results."""
    again = checkpoint.loads(checkpoint.dumps(training), training.context)
    again.results |= training.results
    again.traces = {**training.traces, **again.traces}
    return again


def advance_to(training: Training, now: tuple[int, int], then: tuple[int, int]) -> None:
    """Train from one (epoch, step of the epoch) to a later one, or until all lanes have ended."""
    epoch, step = now
    while epoch < then[0] and not training.done:
        training.epoch()
        epoch, step = epoch + 1, 0
    while step < then[1] and not training.done:
        training.step()
        step += 1


def tensors_of(training: Training) -> dict[str, Tensor]:
    """Every tensor of the training by name."""
    tensors = {**trainer_state(training.trainer), "totals": training.totals}
    for lane, run in enumerate(training.trainer.group.runs):
        trace = training.traces[run.identity]
        tensors |= {f"outputs/{lane}/{name}": tensor for name, tensor in trace.outputs.items()}
        tensors |= {f"kept/{lane}/{name}": tensor for name, tensor in trace.weights.items()}
    return tensors


def _assert_equal(first: dict[str, Tensor], second: dict[str, Tensor], what: str) -> None:
    assert first.keys() == second.keys(), f"{what}: {sorted(first.keys() ^ second.keys())} is in one only"
    for name, tensor in first.items():
        same = torch.equal(tensor, second[name]) or (
            torch.equal(tensor.nan_to_num(), second[name].nan_to_num())
            and torch.equal(tensor.isnan(), second[name].isnan())
        )
        assert same, f"{what}: {name} differs"


def _timeless(result: Result) -> Result:
    return replace(result, seconds=0.0)
