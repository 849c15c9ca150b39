"""Which runs train in one job: groups of a stage's runs, and the parts of a job that goes on or is tried again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ablate.catalogue.registry import Registry
from ablate.executors.job import MIN_LANES, Job, JobResult
from ablate.lanes.group import grouped, training_cost
from ablate.records.run import Run, distinct_runs
from ablate.study.planned import Planned

Part = tuple[list[Planned], Job]
"""Some runs and the job that trains them."""


def longest_first(runs: Sequence[Run], most: int, catalogue: Registry, batch_size: int) -> list[list[Run]]:
    """Groups of at most `most` runs that can train together, the longest first."""
    return sorted(
        grouped(runs, catalogue, most), key=lambda group: -training_cost(group, catalogue, batch_size)
    )


def to_group(planned: Sequence[Planned], missing: set[str]) -> tuple[dict[str, Planned], list[Run]]:
    """The runs of `planned` that are `missing`: by identity (the first of equal ones), and in order."""
    wanted = {one.run.identity: one for one in reversed(planned) if one.run.identity in missing}
    return wanted, distinct_runs(one.run for one in reversed(wanted.values()))


def alone(planned: Sequence[Planned], job: Job) -> list[Part]:
    """A job for each run."""
    return [([one], replace(job, runs=(one.run,))) for one in planned]


def continued(
    planned: Sequence[Planned], job: Job, done: JobResult, idle: int
) -> tuple[list[Planned], list[Part]]:
    """The finished runs of a paused group, and its unfinished ones in one part for each of `idle` workers, at most
    (a part has MIN_LANES runs or more)."""
    finished = [one for one, result in zip(planned, done.results, strict=True) if result is not None]
    unfinished = [one for one, result in zip(planned, done.results, strict=True) if result is None]
    count = max(1, min(idle, len(unfinished) // MIN_LANES))
    parts = [
        unfinished[len(unfinished) * i // count : len(unfinished) * (i + 1) // count] for i in range(count)
    ]
    return finished, [
        (part, replace(job, runs=tuple(one.run for one in part), lanes=None, checkpoint=done.checkpoint))
        for part in parts
    ]
