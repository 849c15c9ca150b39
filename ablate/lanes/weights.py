"""Trained models as files: safetensors under the user's parameter names, and how to load them.

A tensor of the user's model keeps its name, whatever surgery put around its layer. A weight that tricks compute from others is stored as
computed (`surgery/folding.py`). Tensors that tricks added follow under separate names, unless recipe and seed determine them. If tricks added
nothing, `model.load_state_dict(load_file(path), strict=True)` loads the file directly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from ablate.catalogue.registry import Registry, registry
from ablate.kernels.support import FAILURES
from ablate.lanes.build import build_module, build_net
from ablate.records.arguments import known_arguments
from ablate.records.errors import InputError, NotApplicable
from ablate.records.files import write_bytes
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.surgery.folding import folded
from ablate.surgery.layer_proxy import LayerProxy
from ablate.surgery.layer_types import CHANNEL_DROPOUTS
from ablate.surgery.layers import Dropout
from ablate.tasks.load import load as load_task
from ablate.tasks.packing import users_own
from ablate.tasks.task import Task

FORMAT = 2


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
        "format": FORMAT,
        "task": task.source or task.name,
        "source_sha256": task.source_sha256,
        "name": task.name,
        "recipe": run.recipe.to_dict(),
        "seed": run.seed,
        "epochs": run.epochs,
        **(about or {}),
    }
    write_bytes(path, to_safetensors(tensors, {"format": "pt", "ablate": json.dumps(note, sort_keys=True)}))


@known_arguments()
def load(path: str | Path, task: Task | None = None) -> nn.Module:
    """The trained model that `ablate train` wrote to `path`, in evaluation mode.

    task: the task it was trained on; by default the one that the file names, if its source is unchanged. Raises
    InputError: no such file, not written by ablate, or another model.
    """
    tensors, note = _read(Path(path))
    named_task = task or _task_of(note, str(path))
    run = Run(named_task.name, Recipe(note["recipe"]), note["seed"], note["epochs"])
    try:
        fresh = rebuilt(named_task, run, registry())
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


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read as safetensors ({error})") from error
    try:
        note = json.loads(metadata["ablate"])
        if note["format"] != FORMAT:
            raise InputError(f"{path} is of format {note['format']}, this is {FORMAT}")
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} does not say what it is of", hint="give a file that `ablate train` wrote") from error  # fmt: skip
    return tensors, note


def _task_of(note: Mapping[str, Any], path: str) -> Task:
    """The task that a file names. Its source code must be unchanged since training, because the file does not contain it."""
    hint = "give it: ablate.load(path, task=task)"
    name = str(note["task"])
    file = Path(name.rpartition(":")[0])
    if note["source_sha256"]:
        if not file.is_file():
            raise InputError(f"{path} was trained on {name}, which is not here", hint=hint)
        if sha256(file.read_bytes()).hexdigest() != note["source_sha256"]:
            raise InputError(f"{file} has changed since {path} was written", hint=hint)
    return load_task(name)
