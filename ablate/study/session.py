"""An open study: its file, task, ledger and executor, and the one way in which runs get trained.

Work is computed as planned − finished. A group's results are recorded in one transaction when it is done;
what was in flight at a kill is trained again, what was recorded never is.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from ablate.executors.inline import Inline
from ablate.executors.job import FEWEST, Done, Job, work
from ablate.executors.processes import Processes
from ablate.lanes import robust_accuracy
from ablate.lanes.context import TaskContext
from ablate.lanes.group import batch_size, grouped
from ablate.lanes.training import Report
from ablate.ledger.entry import Entry
from ablate.ledger.plan import distinct
from ablate.ledger.store import Ledger
from ablate.records.errors import AblateError
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run
from ablate.records.study import StudyFile
from ablate.study.progress import Progress

DESIGNED = ("rank", "confirm", "compare")
"""Stages whose runs are held against claims, also in metrics that cost something to measure."""
ENOUGH = 6
"""So many failed runs and not one that trained: the model or the task is broken, not a recipe."""


class Pruning(Protocol):
    """Which lanes of a group to end after an epoch."""

    def __call__(self, report: Report) -> Sequence[bool]: ...
    @property
    def never(self) -> bool:
        """Whether no lane is ever ended: then a group may be divided while it trains."""
        ...

    def beside(self, results: Sequence[Result]) -> Pruning:
        """The same for a group some of whose runs have their results already."""
        ...


@dataclass(frozen=True, slots=True)
class Planned:
    """A run that a stage wants, and what the ledger is to note beside it."""

    run: Run
    stage: str
    wave: int = 0
    trial: int = -1
    arm: str = ""


@dataclass
class Session:
    """Everything that the stages share. `lanes`: the most runs that train together."""

    name: str
    study: StudyFile
    context: TaskContext
    ledger: Ledger
    executor: Inline | Processes
    workers: int
    lanes: int
    progress: Progress
    profile: bool = False
    meanwhile: Callable[[], None] | None = None
    """Called once, as soon as a worker has nothing to do and so a core is free; returns at once."""

    def __post_init__(self) -> None:
        self._flying: dict[Future[Done], tuple[list[Planned], Job]] = {}
        self._trained = self._failed = 0
        self._told: set[str] = set()
        self.spent: Counter[str] = Counter()

    @property
    def most(self) -> int:
        """The most runs of a group."""
        return 1 if self.context.solo else self.lanes

    @property
    def epochs(self) -> int:
        return self.study.epochs or self.context.task.epochs

    @property
    def metric(self) -> str:
        return self.study.metric or self.context.task.metric

    @property
    def higher(self) -> bool:
        return self.context.task.direction == "higher"

    def run(self, recipe: Recipe, seed: int, epochs: int | None = None) -> Run:
        return Run(self.context.task.name, recipe, seed, epochs or self.epochs)

    def score(self, entry: Entry) -> float:
        """The metric of an entry, signed so that higher is better; NaN where it has none."""
        value = entry.result.metrics.get(self.metric, float("nan"))
        return value if self.higher else -value

    def train(self, planned: Sequence[Planned], splits: Sequence[str] = ("validation",)) -> list[Entry]:
        """Train what of `planned` is not finished; the entries of all, in the order of the plan."""
        self.submit(planned, splits)
        return self.collect(planned)

    def submit(
        self,
        planned: Iterable[Planned],
        splits: Sequence[str] = ("validation",),
        prune: Pruning | None = None,
    ) -> None:
        """Send what is neither finished nor under way to the executor, in groups, longest first."""
        planned = list(planned)
        if any(one.stage in DESIGNED for one in planned):
            splits = (*splits, *robust_accuracy.asked(self.context, (one.run.recipe for one in planned)))
        known = self.ledger.finished() | {
            one.run.identity for several, _ in self._flying.values() for one in several
        }
        wanted = {one.run.identity: one for one in reversed(planned) if one.run.identity not in known}
        runs = distinct(one.run for one in reversed(wanted.values()))
        # No more lanes a group than leave every worker something to do.
        most = min(self.most, -(-len(runs) // self.workers)) if runs else self.most
        if prune is not None:
            # Who is pruned must not hang on the number of workers, nor on what is known already. A stacked group may
            # have more runs than lanes: the later ones take the places of those that are pruned (refill).
            runs = distinct(one.run for one in planned)
            most = max(1, len(runs)) if self.context.kernel != "loop" and self.most > 1 else self.most
        groups = grouped(runs, self.context.catalogue, most)
        task = self.context.task
        for group in sorted(groups, key=lambda group: -cost(group, self.context)):
            new = tuple(run for run in group if run.identity in wanted)
            if not new:
                continue
            beside = [self.ledger.get(run.identity) for run in group if run.identity not in wanted]
            rounds = -(-len(new) // self.most)  # as even as can be: the last of many lanes would train alone
            job = Job(
                task.source or task.name, new, tuple(splits), str(self.context.device), self.context.kernel,
                task.source_sha256, None if prune is None or prune.never else prune.beside([e.result for e in beside if e]),
                -(-len(new) // rounds), self.profile,
            )  # fmt: skip
            self._fly([wanted[run.identity] for run in new], job)

    def _fly(self, planned: list[Planned], job: Job) -> None:
        self.progress.trained(0)  # something begins: of a stage that is in the ledger, nothing does
        try:
            future = self.executor.submit(work, job)
        except BrokenExecutor as error:
            raise worker_died() from error
        self._flying[future] = (planned, job)
        if future.done():  # inline: recorded at once, so that an interruption costs one group and no more
            self._land(future)

    def collect(self, planned: Sequence[Planned]) -> list[Entry]:
        """Wait until every run of `planned` is in the ledger, recording whatever finishes meanwhile.

        The entries bear the plan's names: the ledger may have a run from another stage that wanted it first.
        """
        identities = {one.run.identity for one in planned}
        while not self.ledger.finished() >= identities:
            assert self._flying, "a planned run was never submitted"
            self.executor.offer(self.workers - len(self._flying))
            if self.meanwhile is not None and len(self._flying) < self.workers:
                begin, self.meanwhile = self.meanwhile, None
                begin()
            with self.timing("waiting"):
                done, _ = wait(self._flying, return_when=FIRST_COMPLETED)
            for future in done:
                self._land(future)
        return [
            replace(entry, stage=one.stage, wave=one.wave, trial=one.trial, arm=one.arm)
            for one in planned
            if (entry := self.ledger.get(one.run.identity)) is not None
        ]

    @contextmanager
    def timing(self, what: str) -> Iterator[None]:
        """Add the time within to `spent`: seconds of this process ("search", "ledger", "waiting") and, by the phases
        of training, of the workers."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.spent[what] += time.perf_counter() - started  # type: ignore[assignment]

    def _land(self, future: Future[Done]) -> None:
        planned, job = self._flying.pop(future)
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            raise worker_died() from error
        if isinstance(error, AblateError) or (error is not None and not isinstance(error, Exception)):
            raise error
        if error is not None and len(planned) > 1:
            # One run of the group may be at fault: each is tried alone.
            for one in planned:
                self._fly([one], replace(job, runs=(one.run,), begun=b""))
            return
        done = future.result() if error is None else Done([self._failure(error)])
        if done.rest:
            planned = self._divide(planned, job, done)
        self.spent.update(done.seconds)
        for line in sorted(done.slow - self._told):
            self.progress.say(line)
        self._told |= done.slow
        results = [result for result in done.results if result is not None]
        self._trained += sum(result.outcome is not Outcome.FAILED for result in results)
        entries = [
            Entry(one.run, result, one.stage, one.wave, one.trial, one.arm)
            for one, result in zip(planned, results, strict=True)
        ]
        with self.timing("ledger"):
            self.ledger.record(entries)
        for entry in entries:
            self.progress.result(entry)

    def _divide(self, planned: list[Planned], job: Job, done: Done) -> list[Planned]:
        """Go on with what a paused group has not ended, in as many parts as workers wait; returns what it has."""
        ended = [one for one, result in zip(planned, done.results, strict=True) if result is not None]
        rest = [one for one, result in zip(planned, done.results, strict=True) if result is None]
        parts = max(1, min(self.workers - len(self._flying), len(rest) // FEWEST))
        for i in range(parts):
            own = rest[len(rest) * i // parts : len(rest) * (i + 1) // parts]
            self._fly(own, replace(job, runs=tuple(one.run for one in own), lanes=None, begun=done.rest))
        return ended

    def _failure(self, error: BaseException) -> Result:
        note = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        self._failed += 1
        if self._failed >= ENOUGH and not self._trained:
            raise AblateError(f"every run failed: {note}", hint="try one with: ablate train TASK")
        return Result(Outcome.FAILED, note=note)


def worker_died() -> AblateError:
    return AblateError(
        "a worker process was killed (often by the system, when memory ran out)",
        hint="what is finished is kept: run the same command again, with fewer --workers or --lanes",
    )


def cost(group: Sequence[Run], context: TaskContext) -> float:
    """A rough measure of a group's time, to send the longest first: small batches mean many steps."""
    run = group[0]
    passes = 1 + sum(context.catalogue[name].seam == "objective" for name in run.recipe)
    return len(group) * run.epochs * passes / batch_size(run, context.catalogue, context.task.batch_size)
