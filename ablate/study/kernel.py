"""The kernel and the number of lanes of a study: as given, from its ledger, from the cache, or measured now.

Measurements are cached per (machine, structure) in `kernels.json` of the user's cache folder (`records.files.cache_folder`). Without a writable folder they are repeated.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ablate.kernels import lower
from ablate.lanes.autotune import SLACK, Choice, best_of, counts, measured
from ablate.lanes.context import TaskContext
from ablate.lanes.device import one_thread
from ablate.records.errors import InputError, unknown
from ablate.records.files import cache_folder, write_text
from ablate.records.forms import mismatch
from ablate.records.recipe import Recipe
from ablate.study.environment import cpu_name

KERNELS = ("auto", *lower.KERNELS)
CHOICE = {
    "kernel": str,
    "lanes": int,
    "timings": [{"kernel": str, "lanes": int, "seconds": float, "bytes": float}],
}
"""A cached choice."""
GIB = 1 << 30
SHARE = 0.6
"""Share of the free memory that is used if no budget is given."""


def check_kernel(name: str) -> None:
    """Raise InputError for an unknown kernel."""
    if name not in KERNELS:
        raise unknown("kernel", name, KERNELS)


def budget(memory: float, device: torch.device, workers: int) -> float:
    """Bytes that one worker's group may take. `memory`: GiB for the whole study; 0: a share of what is free."""
    if memory > 0:
        return memory * GIB / workers
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free * SHARE
    pages = os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in os.sysconf_names else 2 * GIB // 4096
    return pages * os.sysconf("SC_PAGE_SIZE") * SHARE / workers


def choose(
    context: TaskContext,
    recipe: Recipe,
    *,
    kernel: str = "auto",
    lanes: int = 0,
    memory: float = 0.0,
    workers: int = 1,
    begun: dict[str, Any] | None = None,
) -> tuple[TaskContext, Choice]:
    """The context to train in and the maximum number of lanes in a group.

    `begun`: the choice with which the study began, from its ledger. Given values are kept: a number of
    lanes that does not fit shows when memory runs out, and the group is then halved. Raises InputError for a kernel
    that is unavailable, and for a budget in which not even one run fits.
    """
    check_kernel(kernel)
    before = Choice.of_json(begun, "ledger") if begun else None
    fixed = kernel if kernel != "auto" else before.kernel if before else None
    if reason := lower.kernel_unavailable(fixed or "", context.device):
        begun_with = "" if kernel != "auto" else "the study was begun with it, and a study keeps its kernel"
        raise InputError(
            f"the kernel '{fixed}' is unavailable on this machine: {reason}",
            hint=begun_with or "leave --kernel out",
        )
    if before and before.kernel != fixed:
        raise InputError(
            f"the study was begun with the kernel '{before.kernel}', whose results differ from those of '{kernel}' in rounding",
            hint="leave --kernel out, or name another folder with --studies",
        )
    if context.solo:
        if kernel in ("compiled", "batched", "vmap"):
            raise InputError(f"the model cannot be vmapped: {context.solo}", hint="leave --kernel out")
        return context, Choice(context.kernel, 1, "alone")
    if before and not lanes and not memory:
        return context.with_kernel(before.kernel), before
    if fixed is not None and lanes:
        return context.with_kernel(fixed), Choice(fixed, lanes, "given")
    room = budget(memory, context.device, workers)
    timed = context if fixed in (None, context.kernel, context.probe.other) else context.with_kernel(fixed)
    key = key_of(timed, recipe, room if memory else 0.0)
    choice = remembered(key)
    if choice is None:
        with one_thread():
            choice = measured(timed, recipe, room)
        remember(key, choice)
    if memory and (least := min(row.bytes for row in choice.timings) * SLACK) > room:
        raise InputError(
            f"--memory {memory:g} is too little: one run takes about {least * workers / GIB:.2g} GiB with "
            f"{workers} worker{'s' * (workers != 1)}",
            hint="give more, or fewer --workers",
        )
    if fixed is not None and choice.kernel != fixed:
        _, most = best_of([row for row in choice.timings if row.kernel == fixed], fixed, room)
        choice = replace(choice, kernel=fixed, lanes=most)
    if lanes:
        choice = replace(choice, lanes=lanes)
    return context.with_kernel(choice.kernel), choice


def why_not_compiled() -> str:
    """Why layers cannot be compiled on this machine; empty if they can."""
    return lower.kernel_unavailable("compiled", torch.device("cpu"))


def slower_because(context: TaskContext) -> str:
    """Why the batched kernel replaces the compiled one; empty if it does not."""
    return why_not_compiled() if context.kernel == "batched" and context.device.type == "cpu" else ""


def left_alone_note(paths: Sequence[str]) -> str:
    """The note on layers that tricks leave alone."""
    shown = ", ".join(f"'{path}'" for path in paths[:3]) + (
        f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    )
    return f"tricks do not change these layers, which have their own forward or whose weights other code reads: {shown}"


def key_of(context: TaskContext, recipe: Recipe, room: float) -> str:
    """The cache key of a measurement: the machine, the model's layers and shapes, the batch, the budget."""
    gpu = torch.cuda.get_device_name(context.device) if context.device.type == "cuda" else ""
    layers = [(info.kind.__name__, info.input[1:], info.output[1:]) for info in context.layer_infos]
    about = [
        cpu_name(), os.cpu_count(), gpu, str(context.device), torch.__version__, context.parameters, layers,
        context.task.batch_size, str(context.splits["train"].x.dtype), recipe.to_dict(), room, context.kernel, context.probe.other,
        counts(context),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(about, default=str).encode()).hexdigest()[:32]


def cache_file() -> Path:
    """The file of cached measurements."""
    return cache_folder() / "kernels.json"


def remembered(key: str) -> Choice | None:
    """A cached measurement, or None. An unreadable file counts as missing, and so does one of another form."""
    document = _all().get(key)
    if (
        document is None
        or mismatch(document, CHOICE)
        or document["kernel"] not in KERNELS
        or document["lanes"] < 1
    ):
        return None
    return Choice.of_json(document, "cached")


def remember(key: str, choice: Choice) -> None:
    """Cache a choice; ignored if the folder cannot be written to."""
    try:
        write_text(cache_file(), json.dumps({**_all(), key: choice.to_json()}, indent=1))
    except InputError:
        return  # without a cache the next study takes a second longer, no more


def _all() -> dict[str, Any]:
    try:
        choices = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return choices if isinstance(choices, dict) else {}
