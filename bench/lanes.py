"""`python -m bench.lanes`: one step of one run, in lanes, alone and in reference loops; share of the roofline.

For each task the same recipe (SGD with momentum, as many learning rates as lanes) is trained for a number of steps:

- plain: one run, `DataLoader`, `torch.optim`, eager, torch's own number of threads
- resident: one run, the data on the device and indexed, fused optimizer, eager
- resident, CUDA graph (GPU): the same, the whole step one graph; alone, and in each of several processes on the one GPU
- one lane, K lanes: ablate's trainer in this process, one thread on a CPU, one CUDA graph a step on a GPU; K by a short
  measurement and by memory
- processes (CPU): K lanes in each of as many processes as there are cores

With `--bf16` (asked for on a GPU unless `--no-bf16`) a second table has products in bfloat16 on both sides: `torch.autocast`
there, the trick `amp` here. Milliseconds are wall time per step of one run, medians of `--repeats`, the sides taken in turn.
The roofline is the run's floating-point operations (counted by torch) over the fastest matrix product measured on all
cores or the GPU (there with TF32, torch's default for convolutions).
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Iterator
from functools import partial
from statistics import median

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.device import wait
from ablate.study.kernel import choose
from ablate.tasks.load import load
from ablate.tasks.task import Task
from bench import common
from bench.group import lanes_alone, recipe_of
from bench.solo import loss_of, plain, resident
from bench.together import Side, in_processes, lanes_side, solo_side

LEFT_OUT = "left out: evaluation, start-up, and tricks, which cost both sides something"
GRAPHED = "resident, CUDA graph"
SHARING = 4
"""Processes that share one GPU."""
SIZES = {"cpu": 2048, "cuda": 8192}
"""Rows of the matrices whose product is timed; a quarter for bfloat16 on a CPU, which may not support it in hardware."""


def operations(task: Task) -> int:
    """Floating-point operations of one training step of one run, as torch counts them."""
    model: nn.Module = task.model()
    x, y = task.train.x[: task.batch_size], task.train.y[: task.batch_size]
    with FlopCounterMode(display=False) as counter:
        loss_of(task, model(x), y).backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops())


def peak(device: torch.device, *, bf16: bool) -> float:
    """Operations a second of a square matrix product, the fastest of ten; float32 on a GPU with TF32: the higher roof."""
    size = SIZES.get(device.type, SIZES["cpu"]) // (4 if bf16 and device.type == "cpu" else 1)
    kept = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    a, b = (
        torch.randn(size, size, device=device).to(torch.bfloat16 if bf16 else torch.float32) for _ in range(2)
    )
    best = math.inf
    for _ in range(10):
        wait(device)
        started = time.perf_counter()
        a @ b
        wait(device)
        best = min(best, time.perf_counter() - started)
    torch.set_float32_matmul_precision(kept)
    return 2 * size**3 / best


def sides(reference: str, device: torch.device, *, bf16: bool = False) -> tuple[TaskContext, dict[str, Side]]:
    """The timed sides by name: the reference loops, then ablate."""
    task, cores = load(reference), os.cpu_count() or 1
    context, choice = choose(
        TaskContext.of(task, registry(), device),
        recipe_of(0.01, bf16=bf16),
        workers=cores if device.type == "cpu" else 1,
    )
    sides: dict[str, Side] = {
        "plain": partial(plain, task, device, bf16=bf16),
        "resident": partial(resident, task, device, bf16=bf16),
    }
    if device.type == "cuda":
        sides[GRAPHED] = partial(resident, task, device, graph=True, bf16=bf16)
        if not bf16:
            alone = partial(solo_side, reference, str(device), graph=True)
            sides[f"{GRAPHED}, in each of {SHARING} processes"] = partial(in_processes, alone, SHARING)
    sides["one lane"] = partial(lanes_alone, context, 1, bf16=bf16)
    sides[f"{choice.lanes} lanes"] = partial(lanes_alone, context, choice.lanes, bf16=bf16)
    if device.type == "cpu" and cores > 1 and not bf16:
        group = partial(lanes_side, reference, context.kernel, choice.lanes)
        sides[f"{choice.lanes} lanes in each of {cores} processes"] = partial(in_processes, group, cores)
    return context, sides


def lines(times: dict[str, list[float]], least: float, kind: str) -> Iterator[str]:
    """A line per side of its milliseconds `times`, the last of which are ours; `least`: milliseconds by the roofline. Where a
    solo loop was graphed, a line with the speed-up over that."""
    base = median(times["plain"])
    for name, row in times.items():
        milliseconds = median(row)
        yield (
            f"  {name}: {common.spread(row, '.4f', ' ms a step and run')}, {base / milliseconds:.2f} × plain, {least / milliseconds:.1%} of the roofline"
        )
    if GRAPHED in times:
        name = list(times)[-1]
        factor = median(times[GRAPHED]) / median(times[name])
        yield f"  {name}: {factor:.2f} × CUDA-graphed solo loop ({common.target(common.targets(kind).graphed)})"


def report(reference: str, device: torch.device, repeats: int, *, bf16: bool = False) -> Iterator[str]:
    context, side_of = sides(reference, device, bf16=bf16)
    times: dict[str, list[float]] = {name: [] for name in side_of}
    for _ in range(repeats):
        for name, side in side_of.items():
            times[name].append(side())
    most, flops = peak(device, bf16=bf16), operations(context.task)
    products = "bfloat16" if bf16 else "float32 or TF32" if device.type == "cuda" else "float32"
    yield (
        f"{reference}: batch {context.task.batch_size}, {flops / 1e6:.1f} MFLOP a step, {products}, kernel {context.kernel}; "
        f"roofline {1e3 * flops / most:.4f} ms at {most / 1e9:.0f} GFLOP/s"
    )
    yield from lines(times, 1e3 * flops / most, device.type)
    for remark in sorted(context.clock.slow):
        yield f"  {remark}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.lanes", description=__doc__)
    parser.add_argument("--tasks", nargs="*", help="built-in tasks, or file.py:name")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--bf16", action=argparse.BooleanOptionalAction, help="products in bfloat16 too (default: on a GPU)"
    )
    common.add_device(parser)
    args = parser.parse_args(argv)
    device = common.device_of_option(args.device)
    print(common.hardware(device))
    print(f"median [least, most] of n = {args.repeats}, taken in turn")
    print(LEFT_OUT)
    if device.type == "cuda":
        print(common.ANCHOR)
    if args.tasks is None and (missing := common.left_out("lanes", device.type)):
        print(missing)
    both = device.type == "cuda" if args.bf16 is None else args.bf16
    for reference in common.default_tasks("lanes", device.type) if args.tasks is None else args.tasks:
        for bf16 in (False, True) if both else (False,):
            for line in report(reference, device, args.repeats, bf16=bf16):
                print(line, flush=True)


if __name__ == "__main__":
    main()
