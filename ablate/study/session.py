"""An open study: its file, task, ledger and executor. Every stage trains its runs through a session.

The remaining work is what is planned and not finished in the ledger. A group's results are recorded in one transaction when its job
is done; a run in progress when the process was killed is trained again; a recorded run never is.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import SimpleQueue

from ablate.catalogue.own_tricks import NONE, OwnTricks
from ablate.executors.executor import Executor
from ablate.executors.job import Job, JobResult, Pruning
from ablate.executors.job_error import JobError
from ablate.executors.remote import WorkerLost
from ablate.executors.shared_task import SharedTask
from ablate.lanes import robust_accuracy
from ablate.lanes.context import TaskContext
from ablate.lanes.group import lanes_at_a_time
from ablate.ledger.entry import Entry
from ablate.ledger.store import Ledger
from ablate.records.errors import AblateError
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run, distinct_runs
from ablate.records.study import StudyFile
from ablate.study.culprits import Culprits
from ablate.study.failures import RETRIES, Failures, lost_worker, worker_lost
from ablate.study.job_groups import alone, continued, longest_first, to_group
from ablate.study.planned import Planned as Planned  # the public name
from ablate.study.progress import Progress

DESIGNED = ("rank", "confirm", "compare", "claim")
"""Stages whose runs are compared with the claims, including metrics that cost extra time to measure."""

MOST_AT_ONCE, COMMIT_SECONDS = 64, 0.1
"""Most jobs whose results are recorded in one transaction, and how often jobs are that end while others are submitted: a commit waits for
the disk, whatever its size."""


@dataclass
class Session:
    """The state that the stages share.

    `lanes`: maximum number of runs that train together. `overlap`: called once, as soon as a worker is idle and a core
    therefore free; must return at once. `shared`: the task, where workers cannot load it by name. `tricks`: the study's own.
    """

    name: str
    study: StudyFile
    context: TaskContext
    ledger: Ledger
    executor: Executor
    workers: int
    lanes: int
    progress: Progress
    profile: bool = False
    overlap: Callable[[], None] | None = None
    shared: SharedTask | None = None
    tricks: OwnTricks = NONE

    def __post_init__(self) -> None:
        self._pending: dict[Future[JobResult], tuple[list[Planned], Job]] = {}
        self._training: set[str] = set()  # identities of the runs in `_pending` and `_suspects`
        self._done: SimpleQueue[Future[JobResult]] = SimpleQueue()
        self._recorded = -COMMIT_SECONDS  # when, by `time.monotonic`
        self._suspects: list[tuple[list[Planned], Job]] = []  # lost twice, perhaps because of another run
        self._missing: set[str] = set()  # identities that `collect` waits for
        self._culprits = Culprits()
        trace = self.ledger.path.with_suffix(".traceback.txt")
        self._failures = Failures(trace, lambda: self.ledger.fact("study", {}))
        self._lost: AblateError | None = None
        self._warned: set[str] = set()
        self.spent: Counter[str] = Counter()

    @property
    def most(self) -> int:
        """Maximum number of runs in a group."""
        return 1 if self.context.solo else self.lanes

    @property
    def epochs(self) -> int:
        """Epochs of a full run."""
        return self.study.epochs or self.context.task.epochs

    @property
    def metric(self) -> str:
        """The study's metric, `validation/NAME`."""
        return self.study.metric or self.context.task.metric

    @property
    def higher(self) -> bool:
        """Whether higher values of the metric are better."""
        return self.context.task.direction == "higher"

    def run(self, recipe: Recipe, seed: int, epochs: int | None = None) -> Run:
        """A run of this task at the full budget."""
        return Run(self.context.task.name, recipe, seed, epochs or self.epochs)

    def score(self, entry: Entry) -> float:
        """The metric of an entry, signed so that higher is better; NaN if it has none."""
        value = entry.result.metrics.get(self.metric, float("nan"))
        return value if self.higher else -value

    def train(self, planned: Sequence[Planned], splits: Sequence[str] = ("validation",)) -> list[Entry]:
        """Train those of `planned` that are not finished. Returns the entries of all of them, in the order of `planned`."""
        self.submit(planned, splits)
        return self.collect(planned)

    def submit(
        self,
        planned: Iterable[Planned],
        splits: Sequence[str] = ("validation",),
        prune: Pruning | None = None,
    ) -> None:
        """Submit the runs that are neither finished nor pending, in groups, the longest first."""
        try:
            for part, job in self._jobs(list(planned), splits, prune):
                self._dispatch(part, job)
        except BaseException as error:
            if not isinstance(error, Exception):  # a signal
                self._record_done()
            raise
        self._record_done()

    def _jobs(
        self, planned: list[Planned], splits: Sequence[str], prune: Pruning | None
    ) -> Iterator[tuple[list[Planned], Job]]:
        if any(one.stage in DESIGNED for one in planned):
            splits = (*splits, *robust_accuracy.asked(self.context, (one.run.recipe for one in planned)))
        wanted, runs = to_group(planned, self.missing(planned))
        # groups small enough that every worker has one
        most = min(self.most, -(-len(runs) // self.workers)) if runs else self.most
        if prune is not None:
            # Pruning must not depend on the number of workers or on which runs are finished. A stacked group may
            # have more runs than lanes: later runs take the lanes of pruned ones (refill).
            runs = distinct_runs(one.run for one in planned)
            most = max(1, len(runs)) if self.context.kernel != "loop" and self.most > 1 else self.most
        catalogue, task = self.context.catalogue, self.context.task
        for group in longest_first(runs, most, catalogue, task.batch_size):
            new = tuple(run for run in group if run.identity in wanted)
            if not new:
                continue
            finished = [self.ledger.get(run.identity) for run in group if run.identity not in wanted]
            job = Job(
                self.shared.reference if self.shared else task.source or task.name, new, tuple(splits), str(self.context.device), self.context.kernel,
                task.source_sha256, None if prune is None or prune.never else prune.with_finished([e.result for e in finished if e]),
                lanes_at_a_time(len(new), self.most), self.profile, metric=self.metric,
                shared=self.shared, tricks=self.tricks, probe=self.context.probe,
            )  # fmt: skip
            yield [wanted[run.identity] for run in new], job

    def missing(self, planned: Iterable[Planned]) -> set[str]:
        """Identities of the runs that are neither finished nor pending."""
        unfinished = self.ledger.unfinished(one.run.identity for one in planned)
        return unfinished.difference(self._training, self._culprits.waiting)

    def _dispatch(self, planned: list[Planned], job: Job) -> None:
        self.progress.trained(0)  # the start of a stage; not reached if all of its runs are in the ledger
        try:
            future = self.executor.submit(job)
        except BrokenExecutor as error:
            raise worker_lost(error) from error
        self._pending[future] = (planned, job)
        self._training.update(run.identity for run in job.runs)
        future.add_done_callback(self._done.put)  # at once if the executor has run the job
        if not self._done.empty() and time.monotonic() - self._recorded >= COMMIT_SECONDS:
            self._on_done(*self._take())

    def _record_done(self) -> None:
        """Record the jobs that are done, without waiting for others."""
        while not self._done.empty():
            self._on_done(*self._take())

    def _take(self) -> list[Future[JobResult]]:
        """The jobs that are done, MOST_AT_ONCE at most; waits for the first."""
        done = [self._done.get()]
        while len(done) < MOST_AT_ONCE and not self._done.empty():
            done.append(self._done.get())
        return done

    def collect(self, planned: Sequence[Planned]) -> list[Entry]:
        """Wait until every run of `planned` is in the ledger, and record every other job that finishes until then.

        Stage, wave, trial and arm of the entries are those of `planned`: another stage may have recorded the run first.
        """
        self._missing = self.ledger.unfinished(one.run.identity for one in planned)
        while self._missing:
            if not self._pending and self._suspects:
                self._dispatch(*self._suspects.pop())  # alone: if it is lost too, it is the cause
                continue
            if not self._pending and self._lost is not None:
                raise self._lost
            assert self._pending, "a planned run was never submitted"
            self.executor.set_idle_workers(self.workers - len(self._pending))
            if self.overlap is not None and len(self._pending) < self.workers:
                overlap, self.overlap = self.overlap, None
                overlap()
            with self.timing("waiting"):
                done = self._take()
            self._on_done(*done)
        entries = self.ledger.get_all(one.run.identity for one in planned)
        return [
            replace(entry, stage=one.stage, wave=one.wave, trial=one.trial, arm=one.arm)
            for one in planned
            if (entry := entries.get(one.run.identity)) is not None
        ]

    @contextmanager
    def timing(self, what: str) -> Iterator[None]:
        """Add the time of the block to `spent[what]`, in seconds. `spent` has this process's "search", "ledger" and "waiting",
        and the workers' training phases."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.spent[what] += time.perf_counter() - started  # type: ignore[assignment]

    def _on_done(self, *futures: Future[JobResult]) -> None:
        """Record the results of all `futures` in one transaction: a commit waits for the disk, whatever its size."""
        entries: list[Entry] = []
        try:
            for future in futures:
                entries += self._entries_of(future)
        finally:
            with self.timing("ledger"):
                self.ledger.record(entries)
            self._recorded = time.monotonic()
            self._missing -= {entry.identity for entry in entries if entry.result.outcome.finished}
            for entry in entries:
                self.progress.result(entry)

    def _entries_of(self, future: Future[JobResult]) -> list[Entry]:
        """What a job has to record. Raises the error that ends the study; submits what is to be trained again."""
        planned, job = self._pending.pop(future)
        self._training.difference_update(run.identity for run in job.runs)
        error = future.exception()
        if isinstance(error, AblateError) or (error is not None and not isinstance(error, Exception)):
            raise error
        if isinstance(error, JobError):
            if len(planned) > 1 and not error.is_internal:
                for part in self._culprits.parts(planned, job):  # one run of the group may be the cause
                    self._dispatch(*part)
                return []
            done = JobResult([self._failures.result(error)])
        elif error is not None:
            if not isinstance(error, WorkerLost) and self._retry(planned, job, error):
                return []
            self._lost = worker_lost(error)
            done = JobResult([Result(Outcome.INTERRUPTED, note=str(self._lost)) for _ in planned])
        else:
            done = future.result()
        if done.checkpoint:
            planned = self._split(planned, job, done)
        self.spent.update(done.seconds)
        for line in sorted(done.warnings - self._warned):
            self.progress.say(line)
        self._warned |= done.warnings
        results = [result for result in done.results if result is not None]
        examined = error is None and self._culprits.is_examined(planned)
        for together, group in self._culprits.judge(planned, raised=error is not None):
            self._dispatch(together, replace(group, lanes=lanes_at_a_time(len(together), self.most)))
        return [
            Entry(one.run, result, one.stage, one.wave, one.trial, one.arm)
            for one, result in zip(planned, results, strict=True)
            if not examined
        ]

    def _retry(self, planned: list[Planned], job: Job, error: Exception) -> bool:
        """Submit the runs of a lost job again; false if they were lost too often.

        The last attempt finds the run that is the cause: each is trained alone (except where pruning compares the runs of the group). A
        `BrokenExecutor` breaks the jobs of all workers: the suspects then wait until nothing else runs.
        """
        lost = self._failures.attempts_lost(job)
        if lost > RETRIES:
            return False
        self.progress.say(f"{lost_worker(error)}: its runs are submitted again")
        parts = [(planned, job)]
        if lost == RETRIES and job.prune is None:
            parts = alone(planned, job)
        if lost == RETRIES and isinstance(error, BrokenExecutor):
            self._suspects += parts
            self._training.update(run.identity for run in job.runs)
        else:
            for part in parts:
                self._dispatch(*part)
        return True

    def _split(self, planned: list[Planned], job: Job, done: JobResult) -> list[Planned]:
        """Continue the unfinished runs of a paused group in one part per idle worker; returns the finished ones."""
        finished, parts = continued(planned, job, done, self.workers - len(self._pending))
        for part in parts:
            self._dispatch(*part)
        return finished
