"""A GPU that is not there: every tensor says that it is on `cuda`, torch.cuda answers, and the numbers are computed on the CPU.

What asks a tensor or a device for its type takes the branch for CUDA. A graph notes the operations of its capture and refuses those
that wait for the device, as CUDA does; a replay runs the noted operations again on the same tensors, with the host's values of the
capture. Kernels, streams and memory are not imitated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CPU = torch.device("cpu")
WAITS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero")
FREE = 3 << 30
"""Bytes of memory that the GPU says are free."""
PEAK = 12_345


class OnCuda(TorchFunctionMode):
    """`.device` is `cuda:0`; what is asked for on a GPU is made on the CPU. `pinned`: how many tensors were."""

    pinned = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return torch.device("cuda", 0)
        if func == Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
            return True
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        if name == "pin_memory":
            self.pinned += 1
            return args[0]
        return func(*tree_map(here, args), **tree_map(here, kwargs or {}))


def here(value: Any) -> Any:
    """`value`, or the CPU if it names a GPU."""
    if isinstance(value, torch.device) and value.type == "cuda":
        return CPU
    return CPU if isinstance(value, str) and value.partition(":")[0] == "cuda" else value


def on_cpu(autocast: Any, device_type: str, *args: Any, **kwargs: Any) -> Any:
    return autocast("cpu" if device_type == "cuda" else device_type, *args, **kwargs)


class Graph(TorchDispatchMode):
    """Stands in for `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name.removeprefix("aten::") in WAITS:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, out in self.calls:
            again = func(*args, **kwargs)
            old_places = {place(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if (
                    isinstance(old, Tensor) and place(old) not in old_places
                ):  # else a view, or changed in place
                    old.copy_(new)


def place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Gpu:
    """What torch.cuda was asked for. `generator`: the state of the device's random numbers."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.graphs: list[Graph] = []
        self.generator = torch.zeros(16, dtype=torch.uint8)
        self.mode = OnCuda()

    def note(self, name: str, answer: Any = None) -> Any:
        def asked(*args: Any, **kwargs: Any) -> Any:
            self.asked[name] += 1
            return answer

        return asked

    def graph(self) -> Graph:
        self.graphs.append(Graph())
        return self.graphs[-1]

    def set_generator(self, state: Tensor, device: Any = None) -> None:
        self.generator = state.clone()


class Stream:
    def wait_stream(self, other: Any) -> None: ...


@contextmanager
def stand_in(monkeypatch: pytest.MonkeyPatch, count: int = 1) -> Iterator[Gpu]:
    """Context in which there are `count` GPUs."""
    gpu = Gpu()
    answers = {
        "is_available": True, "device_count": count, "synchronize": None, "mem_get_info": (FREE, 4 * FREE),
        "reset_peak_memory_stats": None, "max_memory_allocated": PEAK, "get_device_name": "Stand-in",
        "current_stream": Stream(), "Stream": Stream(), "current_device": 0, "_is_in_bad_fork": False,
    }  # fmt: skip
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, gpu.note(name, answer))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", gpu.graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: graph)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device=None: gpu.generator.clone())
    monkeypatch.setattr(torch.cuda, "set_rng_state", gpu.set_generator)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", gpu.note("manual_seed_all"))
    monkeypatch.setattr(torch, "autocast", partial(on_cpu, torch.autocast))
    with gpu.mode:
        yield gpu
