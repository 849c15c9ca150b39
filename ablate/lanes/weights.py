"""Trained models as files: safetensors under the user's parameter names, and how to load them.

A tensor of the user's model keeps its name, whatever surgery put around its layer. A weight that tricks compute from others is stored as
computed (`surgery/folding.py`). Tensors that tricks added follow under separate names, unless recipe and seed determine them. If tricks added
nothing, `model.load_state_dict(load_file(path), strict=True)` loads the file directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ablate.catalogue.registry import Registry, registry
from ablate.kernels.support import FAILURES
from ablate.lanes import weights_file
from ablate.lanes.build import build_module, build_net
from ablate.lanes.weights_file import Note
from ablate.records.arguments import known_arguments
from ablate.records.errors import InputError, NotApplicable
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.surgery.folding import folded
from ablate.surgery.layer_proxy import LayerProxy
from ablate.surgery.layer_types import CHANNEL_DROPOUTS
from ablate.surgery.layers import Dropout
from ablate.tasks.builtin import builtin
from ablate.tasks.load import load as load_task
from ablate.tasks.model_outputs import users_own
from ablate.tasks.task import Task
from ablate.tasks.task_cards import CARDS


@dataclass(frozen=True)
class Rebuilt:
    """A run's fresh model. `names`: name of each tensor of its state -> name in the file; `users`: those that the user's class
    has too; `settings`: tensors that are settings of layers in place of the user's dropouts, which a file does not hold."""

    module: nn.Module
    names: dict[str, str]
    users: frozenset[str]
    settings: frozenset[str]


def rebuilt(task: Task, run: Run, catalogue: Registry) -> Rebuilt:
    """The run's model before training, with folded weights. Raises NotApplicable if a trick of the recipe does not apply."""
    surgeries = [name for name in run.recipe if catalogue[name].seam in ("model", "precision")]
    net = build_net(task.model, run, catalogue, task.train.x[:2], surgeries, together=False)
    module = folded(net.module)
    names = {name: users_name(module, name) for name in module.state_dict()}
    own = build_module(task.model, run.seed, task.train.x[:2])
    users = frozenset(own.state_dict()) & frozenset(names.values())  # a trick may have removed some
    return Rebuilt(module, names, users, _dropout_settings(module, own))


def _dropout_settings(module: nn.Module, own: nn.Module) -> frozenset[str]:
    """Names of the buffers of the counted dropouts that stand for those of the user's model `own`, which may change its p."""
    layers = dict(own.named_modules())
    dropouts = {path for path, layer in layers.items() if isinstance(layer, (nn.Dropout, *CHANNEL_DROPOUTS))}
    dropouts |= {
        f"{path}.weight_dropout" for path, layer in layers.items() if isinstance(layer, nn.MultiheadAttention)
    }
    return frozenset(
        f"{path}.{name}"
        for path, layer in module.named_modules()
        if isinstance(layer, Dropout) and users_name(module, path) in dropouts
        for name in layer.state_dict()
    )


def users_name(module: nn.Module, name: str) -> str:
    """The name of a parameter or buffer without the modules that surgery put around the user's layers."""
    kept = []
    for part in name.split("."):
        if not (isinstance(module, LayerProxy) and part == module.inner):
            kept.append(part)
        module = module._modules.get(part) or module
    return ".".join(kept)


def check_savable(task: Task, run: Run) -> None:
    """Raise InputError if the state of a run's model is not only tensors, or the user's hooks of `state_dict` fail beside the
    recipe's tricks."""
    own = build_module(task.model, run.seed, task.train.x[:2])
    for name, value in own.state_dict().items():
        if not isinstance(value, Tensor):
            hint = "keep it in a buffer, which is a tensor"
            raise InputError(f"the model's '{name}' is a {type(value).__name__}, and only tensors are saved", hint=hint)  # fmt: skip
    if not any(layer._state_dict_hooks or layer._state_dict_pre_hooks for layer in own.modules()):
        return
    try:
        rebuilt(task, run, registry())
    except FAILURES as error:
        raise InputError(
            f"the model's own state_dict() fails beside the recipe's tricks ({type(error).__name__}: {error})",
            hint="leave the tricks out that act on the layers which its hooks name",
        ) from error


def save(
    path: Path, task: Task, run: Run, weights: Mapping[str, Tensor], about: Mapping[str, Any] | None = None
) -> None:
    """Write the state dict `weights` of a run's model; atomic. `about`: further entries of the file's metadata."""
    fresh = rebuilt(task, run, registry())
    initial = fresh.module.state_dict()
    names = {name: users_name(fresh.module, name) for name in weights}
    tensors = {
        names[name]: tensor.contiguous().clone()
        for name, tensor in weights.items()
        if name not in fresh.settings
        and (names[name] in fresh.users or name not in initial or not torch.equal(tensor, initial[name]))
    }
    note = {
        "task": task.source or task.name,
        "source_sha256": task.source_sha256,
        "name": task.name,
        "recipe": run.recipe.to_dict(),
        "seed": run.seed,
        "epochs": run.epochs,
        **(about or {}),
    }
    weights_file.write(path, tensors, note)


@known_arguments()
def load(path: str | Path, task: Task | str | None = None) -> nn.Module:
    """The trained model that `ablate train` wrote to `path`, in evaluation mode.

    task: the task it was trained on, or its name as on the command line ("my_task.py:task"), whose source must be unchanged;
    only a built-in one need not be given, because a name in a file imports no code. Raises InputError: no such file, not
    written by ablate, damaged, another model, or a task that must be given.
    """
    tensors, note = weights_file.read(Path(path))
    if task is None:
        named_task = _task_of(note, str(path))
    else:
        named_task = _named(task, note, str(path)) if isinstance(task, str) else task
    try:
        recipe = Recipe.of(registry(), note.recipe)
    except InputError as error:
        raise InputError(
            f"{path} has a recipe that cannot be used: {error.message}", hint=error.hint
        ) from error
    try:
        fresh = rebuilt(named_task, Run(named_task.name, recipe, note.seed, note.epochs), registry())
    except NotApplicable as error:
        raise InputError(f"{path} is of another model: {error.message}") from error
    late = {name for name in tensors if _is_empty_buffer(fresh.module, name)}
    strangers = sorted((fresh.users - set(tensors)) | (set(tensors) - set(fresh.names.values()) - late))
    if strangers:
        raise InputError(f"{path} is of another model: only one of them has '{strangers[0]}'")
    initial = fresh.module.state_dict()
    state = {name: tensors.get(fresh.names[name], value) for name, value in initial.items()}
    try:
        fresh.module.load_state_dict(state)
        for name in late:
            owner, _, buffer = name.rpartition(".")
            fresh.module.get_submodule(owner).register_buffer(buffer, tensors[name])
    except RuntimeError as error:
        raise InputError(f"{path} is of another model: {' '.join(str(error).split())[:200]}") from error
    return users_own(fresh.module).eval()


def _is_empty_buffer(module: nn.Module, name: str) -> bool:
    """Whether `name` is a buffer that a fresh model has as None, and that its `forward` assigns."""
    owner, _, buffer = name.rpartition(".")
    layer = dict(module.named_modules()).get(owner)
    return layer is not None and buffer in layer._buffers and layer._buffers[buffer] is None


def _task_of(note: Note, path: str) -> Task:
    """The built-in task that a file names. A task of the user's own is code, or reads a path: only the caller may name it."""
    name = note.task
    if name not in CARDS or note.source_sha256:
        raise InputError(
            f"{path} was trained on {name}, which is not built in, and ablate imports no task that a file names",
            hint='name it: ablate.load(path, task="my_task.py:task"), or give the Task',
        )
    return builtin(name)


def _named(reference: str, note: Note, path: str) -> Task:
    """The task that the caller names. Its source must be unchanged since training, because the file does not contain it."""
    task = load_task(reference)
    if task.source_sha256 != note.source_sha256:
        raise InputError(
            f"{reference} has changed since {path} was written, or is another task",
            hint="undo the change, or give the Task itself: ablate.load(path, task=task)",
        )
    return task
