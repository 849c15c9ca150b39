"""Save and restore a group in the middle of training, bit for bit.

Randomness is counter-based, so weights, buffers, optimizer state, averages and counters are the whole state.
A checkpoint is a SHA-256 digest followed by a flat mapping of tensors and one JSON text: a damaged one is
detected, and it is read with `weights_only=True`, so it cannot carry code. One in a file also has the fingerprint of data
and model, and is refused if they differ.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ablate.lanes.context import TaskContext
from ablate.lanes.fingerprint import difference, fingerprint
from ablate.lanes.optimizer_parts import loaded
from ablate.lanes.trace import RunRecord
from ablate.lanes.trainer import Trainer
from ablate.lanes.training import Training
from ablate.records.errors import InputError
from ablate.records.files import write_bytes
from ablate.records.recipe import Recipe
from ablate.records.run import Run

FORMAT = 4


def trainer_state(trainer: Trainer) -> dict[str, Tensor]:
    """Copies of everything that training changes, by name."""
    state = {**trainer.state(), "within": torch.tensor(trainer.within)}
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def restore_trainer(trainer: Trainer, state: dict[str, Tensor]) -> None:
    """Restore the state that `trainer_state` returned, in a trainer of the same runs."""
    device = trainer.context.device
    state = {name: tensor.to(device) for name, tensor in state.items()}
    trainer.weights.flat.copy_(state["weights"])
    trainer.steps, trainer.alive = state["steps"].clone(), state["alive"].clone()
    trainer.within, trainer.stale = int(state["within"]), True
    trainer.forward.load_buffers(
        {name.removeprefix("buffer/"): t for name, t in state.items() if name.startswith("buffer/")}
    )
    trainer.optimizers.plan, trainer.optimizers.parts = None, loaded(state, trainer.layout)
    trainer.extra = {trick: _with_prefix(state, f"extra/{trick}/") for trick in trainer.extra}


def _with_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t.clone() for n, t in state.items() if n.startswith(prefix)}


def _plain(run: Run) -> dict[str, Any]:
    return {"task": run.task, "recipe": run.recipe.to_dict(), "seed": run.seed, "epochs": run.epochs}


def _run(row: dict[str, Any]) -> Run:
    return Run(row["task"], Recipe(row["recipe"]), row["seed"], row["epochs"])


def save(path: Path, training: Training) -> None:
    """Write the state of a group in the middle of training to a file, atomically."""
    write_bytes(path, dumps(training, fingerprint(training.context)))


def dumps(training: Training, made_from: dict[str, Any] | None = None) -> bytes:
    """The state of a group in the middle of training, as bytes. `made_from`: the fingerprint of data and model to store with it."""
    about = {
        "format": FORMAT,
        "fingerprint": made_from,
        "keep_weights": training.keep_weights,
        "runs": [_plain(run) for run in training.trainer.group.runs],
        "together": [_plain(run) for run in training.together],
        "splits": training.splits,
        "traces": [
            {"curves": training.traces[run.identity].curves, "best": training.traces[run.identity].best}
            for run in training.trainer.group.runs
        ],
        "seconds": [training.seconds[run.identity] for run in training.trainer.group.runs],
    }
    tensors = {f"trainer/{name}": tensor for name, tensor in trainer_state(training.trainer).items()}
    tensors["totals"] = training.totals.clone()
    for lane, run in enumerate(training.trainer.group.runs):
        for split, output in training.traces[run.identity].outputs.items():
            tensors[f"outputs/{lane}/{split}"] = output
        for name, tensor in training.traces[run.identity].weights.items():
            tensors[f"weights/{lane}/{name}"] = tensor
    buffer = io.BytesIO()
    torch.save({"about": json.dumps(about), "tensors": tensors}, buffer)
    payload = buffer.getvalue()
    return hashlib.sha256(payload).digest() + payload


def load(path: Path, context: TaskContext) -> Training:
    """The group of a checkpoint, as it was saved. Raises InputError for a file that is not a checkpoint, and for one
    of other data or another model than those of the context."""
    try:
        whole = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} is not a readable checkpoint", hint="train again") from error
    return loads(whole, context, str(path), check=True)


def loads(whole: bytes, context: TaskContext, path: str = "this", *, check: bool = False) -> Training:
    """The inverse of `dumps`. `path`: for error messages. `check`: compare the fingerprints."""
    try:
        digest, payload = whole[:32], whole[32:]
        if hashlib.sha256(payload).digest() != digest:
            raise ValueError("damaged")
        saved = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        about, tensors = json.loads(saved["about"]), saved["tensors"]
        if about["format"] != FORMAT:
            raise InputError(f"{path} is a checkpoint of format {about['format']}, this is {FORMAT}")
        runs, together = ([_run(row) for row in about[name]] for name in ("runs", "together"))
    except (RuntimeError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} is not a readable checkpoint", hint="train again") from error
    if check and (changed := difference(about["fingerprint"], fingerprint(context))):
        raise InputError(
            f"the {changed} of '{context.task.name}' changed since {path} was saved",
            hint="undo the change, name another folder with --out, or remove that file to begin again",
        )
    training = Training(context, runs, about["splits"], together=together, keep_weights=about["keep_weights"])
    training.keep(runs)  # in the order of the checkpoint's lanes
    restore_trainer(training.trainer, _with_prefix(tensors, "trainer/"))
    training.totals = tensors["totals"].to(context.device)
    for lane, (run, row) in enumerate(zip(runs, about["traces"], strict=True)):
        training.traces[run.identity] = RunRecord(
            row["curves"],
            row["best"],
            _with_prefix(tensors, f"outputs/{lane}/"),
            _with_prefix(tensors, f"weights/{lane}/"),
        )
        training.seconds[run.identity] = about["seconds"][lane]
    return training
