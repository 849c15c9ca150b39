"""The baseline of the benchmarks: a plain Optuna + DataLoader + torch.optim loop, written as good practice suggests.

One trial after another, PyTorch's own modules, optimizers, schedulers and losses; no pruning. It knows the tricks
of `SHARED`, which is the space that both sides search. On a GPU the model is there, and batches are copied from pinned
memory while the host goes on; the data is in memory, where worker processes of a DataLoader cost more than they save.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ablate.tasks.task import Task

SHARED = (
    "momentum", "adam", "rmsprop", "batch_size", "weight_decay", "label_smoothing", "dropout", "batch_norm",
    "group_norm", "activation", "clip_norm", "cosine_restarts",
)  # fmt: skip
SPACE = f"""\
[baseline]
optimizer = {{ name = "momentum", lr = 0.03, momentum = 0.9 }}
[space]
include = [{", ".join(f'"{name}"' for name in SHARED)}]
batch_size.size = {{ low = 32, high = 256 }}
"""
"""The same space as a section of a study file."""
CPU = torch.device("cpu")
SIZES = (32, 64, 128, 256)
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid,
}  # fmt: skip


def suggest(trial: optuna.Trial, task: Task) -> dict[str, Any]:
    """The shared space, in a practitioner's words: each trick on or off, and its setting where it is on."""

    def on(name: str) -> bool:
        return bool(trial.suggest_categorical(f"use {name}", [False, True]))

    def below(name: str, low: float, high: float, *, log: bool, off: float) -> float:
        return trial.suggest_float(name, low, high, log=log) if on(name) else off

    return {
        "optimizer": trial.suggest_categorical("optimizer", ["momentum", "adam", "rmsprop"]),
        "lr": trial.suggest_float("lr", 1e-3, 1e-1, log=True),
        "batch_size": trial.suggest_categorical("batch_size", SIZES) if on("batch") else task.batch_size,
        "weight_decay": below("weight_decay", 1e-6, 1e-2, log=True, off=0.0),
        "label_smoothing": below("label_smoothing", 0.0, 0.3, log=False, off=0.0),
        "dropout": below("dropout", 0.0, 0.6, log=False, off=0.0),
        "norm": trial.suggest_categorical("norm", ["none", "batch", "group"]),
        "activation": trial.suggest_categorical("activation", list(ACTIVATIONS)) if on("act") else "relu",
        "clip": below("clip", 0.1, 10.0, log=True, off=0.0),
        "cosine": on("cosine"),
    }


def norm_of(kind: str, layer: nn.Module) -> list[nn.Module]:
    if kind == "none":
        return []
    width = layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features
    if kind == "group":
        return [nn.GroupNorm(8, width)]
    return [nn.BatchNorm2d(width) if isinstance(layer, nn.Conv2d) else nn.BatchNorm1d(width)]


def model_of(task: Task, settings: dict[str, Any]) -> nn.Module:
    """The task's own nn.Sequential with normalisation, activation and dropout inserted."""
    plain = list(task.model().children())
    last = max(i for i, layer in enumerate(plain) if isinstance(layer, nn.Linear))
    layers: list[nn.Module] = []
    for i, layer in enumerate(plain):
        affine = isinstance(layer, nn.Conv2d | nn.Linear)
        if affine and i and settings["dropout"]:
            layers.append(nn.Dropout(settings["dropout"]))
        layers.append(ACTIVATIONS[settings["activation"]]() if isinstance(layer, nn.ReLU) else layer)
        if affine and i != last:
            layers += norm_of(settings["norm"], layer)
    return nn.Sequential(*layers)


def train(
    task: Task,
    settings: dict[str, Any],
    seed: int,
    watch: Callable[[int, float], None] | None = None,
    device: torch.device = CPU,
) -> float:
    """Validation accuracy after the task's epochs. `watch(epoch, accuracy)` may end it by raising. Nothing is still
    `watch(epoch, accuracy)` may end it by raising. Nothing is still: the accuracy is a number of the host's."""
    torch.manual_seed(seed)
    model = model_of(task, settings).to(device)
    held_out = task.validation.x.to(device), task.validation.y.to(device)
    loader = DataLoader(
        TensorDataset(task.train.x, task.train.y),
        batch_size=settings["batch_size"],
        shuffle=True,
        drop_last=True,
        num_workers=0,
        pin_memory=device.type == "cuda",
    )
    kinds = {
        "momentum": lambda p: torch.optim.SGD(
            p, lr=settings["lr"], momentum=0.9, weight_decay=settings["weight_decay"]
        ),
        "adam": lambda p: torch.optim.Adam(p, lr=settings["lr"] / 10, weight_decay=settings["weight_decay"]),
        "rmsprop": lambda p: torch.optim.RMSprop(
            p, lr=settings["lr"] / 10, weight_decay=settings["weight_decay"]
        ),
    }
    optimizer = kinds[settings["optimizer"]](model.parameters())
    steps = task.epochs * len(loader)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps) if settings["cosine"] else None
    criterion = nn.CrossEntropyLoss(label_smoothing=settings["label_smoothing"])
    accuracy = 0.0
    for epoch in range(task.epochs):
        model.train()
        for x, y in loader:
            x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
            optimizer.zero_grad(set_to_none=True)
            criterion(model(x), y).backward()
            if settings["clip"]:
                nn.utils.clip_grad_norm_(model.parameters(), settings["clip"])
            optimizer.step()
            if schedule is not None:
                schedule.step()
        model.eval()
        with torch.no_grad():
            right = model(held_out[0]).argmax(1) == held_out[1]
        accuracy = right.double().mean().item()
        if watch is not None:
            watch(epoch, accuracy)
    return accuracy


def search(task: Task, trials: int, seed: int = 0, device: torch.device = CPU) -> int:
    """A whole search of `trials`; how many steps of an optimizer it took."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    steps = 0

    def objective(trial: optuna.Trial) -> float:
        nonlocal steps
        settings = suggest(trial, task)
        steps += task.epochs * (len(task.train.x) // settings["batch_size"])
        return train(task, settings, seed * trials + trial.number, device=device)

    study.optimize(objective, n_trials=trials)
    return steps
