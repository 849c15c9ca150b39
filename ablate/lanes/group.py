"""Which runs may train together, and the tricks of such a group with their settings as `[K]` tensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ablate.catalogue.registry import Registry
from ablate.records.run import Run
from ablate.records.trick import Trick, Value
from ablate.seams.facts import Facts
from ablate.seams.settings import Settings


def structure(run: Run, catalogue: Registry) -> str:
    """The part of a run in which all lanes of a group must agree, as canonical JSON.

    The task, the budget, the tricks that change shapes, dtype, batch size or the number of passes
    (`lane=False`), and the parameters so marked of the tricks that are on.
    """
    fixed: dict[str, dict[str, Value]] = {}
    for name, settings in run.recipe.items():
        trick = catalogue[name]
        shared = {p.name: settings[p.name] for p in trick.parameters if not p.lane}
        if not trick.lane or shared:
            fixed[name] = shared
    return json.dumps([run.task, run.epochs, fixed], sort_keys=True)


def grouped(runs: Iterable[Run], catalogue: Registry, most: int) -> list[list[Run]]:
    """Runs in groups of equal structure, at most `most` lanes each, as even as can be; order is kept."""
    by_structure: dict[str, list[Run]] = {}
    for run in runs:
        by_structure.setdefault(structure(run, catalogue), []).append(run)
    groups = []
    for members in by_structure.values():
        parts = -(-len(members) // most)
        size = -(-len(members) // parts)
        groups += [members[start : start + size] for start in range(0, len(members), size)]
    return groups


def lanes_at_a_time(runs: int, most: int) -> int:
    """How many of a group of `runs` train at a time, at most `most`: in rounds of equal length, otherwise the last run would train alone."""
    rounds = -(-runs // most)
    return -(-runs // rounds)


def batch_size(run: Run, catalogue: Registry, default: int) -> int:
    """Examples in a batch of the run: a trick's, or the task's `default`."""
    for name, settings in run.recipe.items():
        size = getattr(catalogue.code(name), "batch_size", None)
        if size is not None:
            return int(size(Settings.stack(catalogue[name], [settings], torch.device("cpu"))))
    return default


def training_cost(group: Sequence[Run], catalogue: Registry, default_batch: int) -> float:
    """A relative estimate of a group's training time, for scheduling: small batches mean many steps."""
    run = group[0]
    passes = 1 + sum(catalogue[name].seam == "objective" for name in run.recipe)
    return len(group) * run.epochs * passes / batch_size(run, catalogue, default_batch)


@dataclass(frozen=True)
class Active:
    """A trick that some lane of the group has: its record, its code, its settings."""

    trick: Trick
    code: ModuleType
    settings: Settings

    @property
    def name(self) -> str:
        """The trick's name."""
        return self.trick.name

    def port(self, name: str) -> Callable[..., Any] | None:
        """The trick's port of this name, or None."""
        return getattr(self.code, name, None)

    def take(self, lanes: Tensor) -> Active:
        """The trick with the settings of the lanes at the positions `lanes` (int64), in that order."""
        return Active(self.trick, self.code, self.settings.take(lanes))


class Group:
    """The tricks of K runs. Tricks that no lane has are not in it, and so are never built."""

    def __init__(
        self,
        runs: Sequence[Run],
        catalogue: Registry,
        device: torch.device,
        facts: Facts | None = None,
    ) -> None:
        self.runs = tuple(runs)
        self.catalogue = catalogue
        names = sorted({name for run in runs for name in run.recipe})
        self._ports: dict[str, list[tuple[Active, Callable[..., Any]]]] = {}
        self.active = [
            Active(
                catalogue[name],
                catalogue.code(name),
                Settings.stack(catalogue[name], [run.recipe.get(name) for run in runs], device, facts=facts),
            )
            for name in names
        ]

    def ports(self, port: str) -> list[tuple[Active, Callable[..., Any]]]:
        """(trick, adapter) of every active trick that has the adapter `port`, in the order of names."""
        if port not in self._ports:
            calls = [(active, active.port(port)) for active in self.active]
            self._ports[port] = [(active, call) for active, call in calls if call is not None]
        return self._ports[port]

    def of_seam(self, seam: str) -> list[Active]:
        """The active tricks of `seam`."""
        return [active for active in self.active if active.trick.seam == seam]

    def take(self, lanes: Tensor) -> None:
        """Keep the runs at the positions `lanes` (int64), in that order."""
        self.runs = tuple(self.runs[i] for i in lanes.tolist())
        self.active = [active.take(lanes) for active in self.active]
        self._ports = {}

    def extend(self, other: Group) -> None:
        """Append the lanes of another group. Both must have the same active tricks."""
        if [active.name for active in self.active] != [active.name for active in other.active]:
            raise ValueError("the groups' tricks differ")
        self.runs += other.runs
        self.active = [
            Active(mine.trick, mine.code, mine.settings.extend(its.settings))
            for mine, its in zip(self.active, other.active, strict=True)
        ]
        self._ports = {}
