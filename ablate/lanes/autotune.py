"""The kernel and the number of lanes K, from a short measurement.

Lanes of one group share the overhead of every call, until their activations exceed the processor's cache or the memory, which
depends on the machine and the model. Neither K nor the order of groups changes a result. The fastest kernel is chosen, or the default
one if two are indistinguishable. Kernels agree only up to rounding, so a study keeps the kernel that it began with.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from ablate.lanes.context import TaskContext
from ablate.lanes.cuda_graph import prepare
from ablate.lanes.device import wait
from ablate.lanes.memory import is_out_of_memory, kept_bytes, peak_bytes_of
from ablate.lanes.trainer import Trainer
from ablate.records.recipe import Recipe
from ablate.records.run import Run

LANES = {"cpu": (4, 20, 48), "cuda": (8, 32, 128, 512)}
"""Numbers of lanes to measure, increasing. Few on a CPU, because a study of a few seconds should not wait for them; the second is at least a
short search's group (`search.generation_size`), because splitting a group that is one lane too large costs more than it saves."""

LARGE = {"cpu": (1, 4, 16), "cuda": LANES["cuda"]}
"""The same for models of which one lane fills a core's cache: more lanes are tried as long as each gets cheaper."""

ROUNDS = 2
NEARLY = 1.1
"""Two timings whose ratio is below this are taken to be equal."""
STATE = 8
"""Maximum number of copies of the parameters: weights, gradients, two optimizer states, an average, three temporaries."""
SLACK = 1.5
"""Memory to budget per measured byte: tricks that the measurement lacks keep tensors too."""

Source = Literal["measured", "cached", "ledger", "given", "alone"]


@dataclass(frozen=True, slots=True)
class Timing:
    """`seconds` per step and lane (the fastest of a few), `bytes` per lane, for `lanes` lanes under `kernel`."""

    kernel: str
    lanes: int
    seconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen kernel and number of lanes, the source of the choice, and its measurements."""

    kernel: str
    lanes: int
    source: Source
    timings: tuple[Timing, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, document: dict[str, Any], source: Source) -> Choice:
        """The inverse of `to_json`, of a document in that form."""
        rows = (
            Timing(row["kernel"], row["lanes"], row["seconds"], row["bytes"]) for row in document["timings"]
        )
        return cls(document["kernel"], document["lanes"], source, tuple(rows))


def measured(context: TaskContext, recipe: Recipe, budget: float) -> Choice:
    """Time `recipe` under the default kernel and the other candidate, with every number of lanes that fits into `budget` bytes.

    Each is timed twice and the faster time counts, which limits the influence of other processes.
    """
    usual = context.kernel
    best: dict[tuple[str, int], Timing] = {}
    for _ in range(ROUNDS):
        for kernel in dict.fromkeys((usual, context.probe.other)):
            for row in rising(context.with_kernel(kernel), recipe, budget):
                before = best.get((row.kernel, row.lanes), row)
                best[row.kernel, row.lanes] = min(row, before, key=lambda timing: timing.seconds)
    rows = tuple(best.values())
    kernel, lanes = best_of(rows, usual, budget, fewest=context.probe.large)
    return Choice(kernel, lanes, "measured", rows)


def counts(context: TaskContext) -> tuple[int, ...]:
    """The numbers of lanes to measure, increasing."""
    return (LARGE if context.probe.large else LANES)[context.device.type]


def rising(context: TaskContext, recipe: Recipe, budget: float) -> list[Timing]:
    """Timings of one kernel for increasing K, as far as memory allows; with large lanes as long as each gets cheaper."""
    rows: list[Timing] = []
    for lanes in counts(context):
        if rows and rows[-1].bytes * SLACK * lanes > budget:
            break
        if context.probe.large and len(rows) > 1 and rows[-1].seconds * NEARLY > rows[-2].seconds:
            break
        try:
            rows.append(timed(context, recipe, lanes))
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not (rows and is_out_of_memory(error)):
                raise
            break
    return rows


def best_of(rows: Iterable[Timing], usual: str, budget: float, *, fewest: bool = False) -> tuple[str, int]:
    """(kernel, K): the fastest kernel, or `usual` if nearly as fast; the largest K that is nearly as fast per lane as the best one within
    `budget` bytes.

    The largest, because tricks add per-call overhead, shared by lanes, that the measurement lacks. `fewest`: the smallest instead, for long
    steps with little overhead, since the runs of a group wait for the last of them.
    """
    rows = list(rows)
    fastest = {
        kernel: min(row.seconds for row in rows if row.kernel == kernel)
        for kernel in {row.kernel for row in rows}
    }
    kernel = min(fastest, key=lambda name: fastest[name] * (NEARLY if name != usual else 1.0))
    of_kernel = [row for row in rows if row.kernel == kernel]
    fast = [row.lanes for row in of_kernel if row.seconds <= fastest[kernel] * NEARLY]
    lanes = min(fast) if fewest else max(fast)
    heaviest = max(row.bytes for row in of_kernel)
    return kernel, max(1, min(lanes, int(budget / (heaviest * SLACK))))


def timed(context: TaskContext, recipe: Recipe, lanes: int, steps: int = 2) -> Timing:
    """One warm-up step whose memory is measured, then the fastest of `steps`.

    On a CPU this is CPU time of the process, so other processes do not count.
    """
    now = time.process_time if context.device.type == "cpu" else time.perf_counter
    trainer = Trainer(context, [Run(context.task.name, recipe, seed, 1) for seed in range(lanes)])
    nbytes = peak_bytes(trainer)
    prepare(trainer)
    times = []
    for _ in range(steps):
        wait(context.device)
        started = now()
        trainer.step()
        wait(context.device)
        times.append(now() - started)
    return Timing(context.kernel, lanes, min(times) / lanes, -(-nbytes // lanes))


def peak_bytes(trainer: Trainer) -> int:
    """Peak bytes of one step: what the forward pass saves for the backward pass (all that the step holds, where torch.func forbids to
    watch what is saved), the batch and the parameters."""
    kept = kept_bytes(trainer.step)
    flat = trainer.weights.flat
    batch = trainer.context.splits["train"].x[:1].nbytes * trainer.order.batch_size * trainer.lanes
    return (
        (peak_bytes_of(trainer.step) if kept is None else kept)
        + batch
        + STATE * flat.numel() * flat.element_size()
    )
