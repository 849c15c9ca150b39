"""What a saved state depends on: the task's data, its model and the training settings. A state is only used with equal ones."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ablate.lanes.build import build_module
from ablate.lanes.context import TaskContext
from ablate.tasks.task import Task
from ablate.tasks.user_code import repeatable

PROBED = 8
"""Training examples whose outputs and gradients are part of a model's fingerprint."""
TOLERANCE = 1e-3
"""Machines round differently; models that differ by less count as the same."""


def fingerprint(context: TaskContext) -> dict[str, Any]:
    """Plain values, ready for JSON: `data` and `tensors` (SHA-256), `outputs` of the fresh model, `training` settings.

    The outputs are those of the model made under seed 0, in evaluation and in training, and the magnitudes of its gradients, so a
    change in `forward`, in dropout, in frozen parameters or in a user-defined backward pass shows too.
    """
    task = context.task
    module = build_module(task.model, 0, task.train.x[:2])
    return {
        "data": task.data_sha256,
        "tensors": tensors_sha256(module),
        "outputs": _outputs(module, task),
        "training": {"criterion": task.criterion, "batch_size": task.batch_size}
        | ({"loss": True} if task.loss else {}),
    }


def tensors_sha256(module: nn.Module) -> str:
    """Hash of names, shapes and types of a module's parameters and buffers."""
    lines = [
        f"{name} {list(tensor.shape)} {tensor.dtype}"
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _outputs(module: nn.Module, task: Task) -> list[float]:
    """Outputs in evaluation and in training, and for each parameter the sum of the absolute values of its gradient (−1: no gradient)."""
    x = task.train.x[:PROBED]
    with repeatable():
        with torch.no_grad():
            evaluated = _tensors(module.eval()(x.clone()))
        trained = _tensors(module.train()(x.clone()))
        graph = [output for output in trained if output.requires_grad]
        if graph:
            torch.autograd.backward([output.square().sum() for output in graph])
    numbers = [value for output in (*evaluated, *trained) for value in output.detach().double().flatten().tolist()]  # fmt: skip
    sizes = [-1.0 if p.grad is None else p.grad.double().abs().sum().item() for p in module.parameters()]
    return numbers + sizes


def _tensors(outputs: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def difference(saved: dict[str, Any], present: dict[str, Any]) -> str:
    """What differs between two fingerprints, for a message; empty if nothing does."""
    if saved["data"] != present["data"]:
        return "data"
    same_outputs = len(saved["outputs"]) == len(present["outputs"]) and np.allclose(
        saved["outputs"], present["outputs"], rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True
    )
    if saved["tensors"] != present["tensors"] or not same_outputs:
        return "model"
    if saved["training"] != present["training"]:
        return "criterion or batch size"
    return ""
