"""Reference implementations of one run: a plain loop, a loop with the data on the device, the whole step as one CUDA graph.

Each returns milliseconds a step. SGD with momentum, the task's own batch size; `bf16`: under `torch.autocast`, weights in
float32, as torch's documentation has it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ablate.lanes.device import wait
from ablate.tasks.task import Task

STEPS, WARM = {"cpu": 40, "cuda": 200}, 5
"""Steps that are timed, and before them."""


def steps_on(device: torch.device) -> int:
    return STEPS.get(device.type, STEPS["cpu"])


def timed(step: Callable[[], Any], device: torch.device, runs: int, steps: int = 0) -> float:
    """Milliseconds a step and run, `step` being one step of `runs` of them. `steps` 0: as many as the device asks for."""
    steps = steps or steps_on(device)
    for _ in range(WARM):
        step()
    wait(device)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    wait(device)
    return 1e3 * (time.perf_counter() - started) / steps / runs


def loss_of(task: Task, outputs: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(outputs, y) if task.criterion == "classification" else F.mse_loss(outputs, y)


def precision(device: torch.device, *, bf16: bool) -> AbstractContextManager[Any]:
    """For a forward pass and its loss. Without autocast's cache, which a CUDA graph must not use: each weight is used once."""
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False) if bf16 else nullcontext()


def plain(task: Task, device: torch.device, *, bf16: bool = False) -> float:
    """The usual training loop."""
    model = task.model().to(device)
    data = TensorDataset(task.train.x, task.train.y)
    loader = DataLoader(
        data, batch_size=task.batch_size, shuffle=True, drop_last=True, pin_memory=device.type == "cuda"
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def batches() -> Any:
        while True:
            yield from loader

    source = batches()

    def step() -> None:
        x, y = (tensor.to(device, non_blocking=True) for tensor in next(source))
        optimizer.zero_grad(set_to_none=True)
        with precision(device, bf16=bf16):
            loss = loss_of(task, model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return timed(step, device, 1)


def resident(task: Task, device: torch.device, *, graph: bool = False, bf16: bool = False) -> float:
    """The data on the device, indexed; the optimizer fused; on a GPU, if asked, the whole step one CUDA graph."""
    model = task.model().to(device)
    x, y = task.train.x.to(device), task.train.y.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    index = torch.randint(len(y), (task.batch_size,), device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with precision(device, bf16=bf16):
            loss = loss_of(task, model(x[index]), y[index])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    go = captured(step) if graph else step

    def drawn() -> None:
        index.copy_(torch.randint(len(y), (task.batch_size,), device=device))
        go()

    return timed(drawn, device, 1)


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """Replays `step`, warmed up on a side stream and captured. Needs a CUDA device."""
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay
