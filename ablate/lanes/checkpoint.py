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

from ablate.catalogue.registry import Registry
from ablate.lanes.context import TaskContext
from ablate.lanes.fingerprint import difference, fingerprint
from ablate.lanes.optimizer_parts import loaded
from ablate.lanes.trace import RunRecord
from ablate.lanes.trainer import Trainer
from ablate.lanes.training import Training
from ablate.records.errors import InputError
from ablate.records.files import write_bytes
from ablate.records.forms import RECIPE, Each, maybe, mismatch
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
    """The inverse of `dumps`. `path`: for error messages. `check`: compare the fingerprints, and the recipes with the catalogue.
    Raises InputError."""
    about, tensors = parts(whole, path)
    runs, together = ([_run(row) for row in about[name]] for name in ("runs", "together"))
    for run in (*runs, *together) if check else ():  # those of a job have just been trained
        _check_recipe(run.recipe, context.catalogue, path)
    if check and about["fingerprint"] is None:
        raise _unreadable(path, "it does not say of which data and model it is")
    if check and (changed := difference(about["fingerprint"], fingerprint(context))):
        raise InputError(
            f"the {changed} of '{context.task.name}' changed since {path} was saved",
            hint="undo the change, name another folder with --out, or remove that file to begin again",
        )
    training = Training(context, runs, about["splits"], together=together, keep_weights=about["keep_weights"])
    training.keep(runs)  # in the order of the checkpoint's lanes
    try:
        restore_trainer(training.trainer, _with_prefix(tensors, "trainer/"))
        training.totals = tensors["totals"].to(context.device)
    except (RuntimeError, LookupError, ValueError, TypeError) as error:  # the digest is right: it was made so
        raise _unreadable(path, "its tensors are not those of its runs") from error
    for lane, (run, row) in enumerate(zip(runs, about["traces"], strict=True)):
        training.traces[run.identity] = RunRecord(
            row["curves"],
            row["best"],
            _with_prefix(tensors, f"outputs/{lane}/"),
            _with_prefix(tensors, f"weights/{lane}/"),
        )
        training.seconds[run.identity] = about["seconds"][lane]
    return training


RUNS = [{"task": str, "recipe": RECIPE, "seed": int, "epochs": int}]
ABOUT = {
    "format": int, "fingerprint": maybe({"data": str, "outputs": [float], "tensors": str, "training": object}), "keep_weights": bool,
    "runs": RUNS, "together": RUNS, "splits": [str], "traces": [{"curves": Each([float]), "best": int}], "seconds": [float],
}  # fmt: skip


def parts(whole: bytes, path: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a checkpoint says of its runs, in the form of `ABOUT`, and its tensors. Raises InputError."""
    digest, payload = whole[:32], whole[32:]
    if hashlib.sha256(payload).digest() != digest:
        raise _unreadable(path, "its content does not match its SHA-256")
    try:
        saved = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        about, tensors = json.loads(saved["about"]), saved["tensors"]
    except UNREADABLE as error:
        raise _unreadable(path, "it does not say what it is of") from error
    if isinstance(about, dict) and about.get("format", FORMAT) != FORMAT:
        raise InputError(f"{path} is a checkpoint of format {str(about['format'])[:40]}, this is {FORMAT}")
    if what := mismatch(about, ABOUT, "about"):
        raise _unreadable(path, what)
    if not (isinstance(tensors, dict) and all(isinstance(tensor, Tensor) for tensor in tensors.values())):
        raise _unreadable(path, "its tensors are none")
    counts = {name: len(about[name]) for name in ("runs", "traces", "seconds")}
    seeds = [row["seed"] for row in (*about["runs"], *about["together"])]
    epochs = [row["epochs"] for row in (*about["runs"], *about["together"])]
    if len(set(counts.values())) > 1 or not counts["runs"]:
        raise _unreadable(path, "its runs, traces and seconds are not as many")
    if not all(
        0 <= trace["best"] <= max(map(len, trace["curves"].values()), default=0) for trace in about["traces"]
    ):
        raise _unreadable(path, "its best epoch is none")
    if not all(0 <= seed < 2**63 for seed in seeds) or not all(0 < count < 2**31 for count in epochs):
        raise _unreadable(path, "no run has its seed or epochs")
    return about, tensors


UNREADABLE = (
    RuntimeError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, AssertionError, OSError, EOFError, MemoryError,
    pickle.UnpicklingError,
)  # fmt: skip
"""What torch's reader raises at bytes that are no archive of tensors (RecursionError is a RuntimeError)."""


def _check_recipe(recipe: Recipe, catalogue: Registry, path: str) -> None:
    """Raise InputError for a trick or a setting that there is not."""
    for name, settings in recipe.items():
        trick = catalogue.find(name).trick
        if set(settings) != set(trick.defaults):
            raise _unreadable(path, f"its recipe has other settings of '{name}'")
        for parameter in trick.parameters:
            parameter.check(settings[parameter.name], f"{path}: {name}.{parameter.name}")


def _unreadable(path: str, why: str) -> InputError:
    return InputError(f"{path} is not a readable checkpoint: {why}", hint="train again")
