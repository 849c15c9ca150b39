"""The runs of a pruned group whose training raises an exception: they are found by halves, and the others then train together.

Pruning compares the runs of a group with each other. So the runs of a group that failed cannot simply be trained one by one: which of them
are pruned would depend on whether a group failed, and on what was recorded when the study was interrupted. Instead the group is
examined without pruning, half by half, until each run that raises is alone. The results of the others are not used: these runs train
again as one group, which a resumed study would train too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ablate.executors.job import Job
from ablate.study.planned import Planned

Part = tuple[list[Planned], Job]


@dataclass
class _Group:
    """A group under examination. `left`: identities of the runs that have not been examined; `innocent`: the runs that do not raise."""

    planned: list[Planned]
    job: Job
    left: set[str]
    innocent: set[str]


class Culprits:
    """Groups under examination. A group is examined once: if its runs train alone but not together, each is trained alone."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}  # by the identity of each run that takes part
        self._examined: set[str] = set()

    @property
    def waiting(self) -> Iterable[str]:
        """Identities of the runs that are being examined, or will train again afterwards."""
        return self._groups.keys()

    def parts(self, planned: list[Planned], job: Job) -> list[Part]:
        """What to train in place of a job of several runs that raised an exception."""
        identities = [one.run.identity for one in planned]
        examined = identities[0] in self._groups
        if job.prune is not None and self._examined.isdisjoint(identities):
            group = _Group(planned, job, set(identities), set())
            self._groups |= dict.fromkeys(identities, group)
            self._examined.update(identities)
            examined = True
        if not examined:
            return [([one], replace(job, runs=(one.run,), checkpoint=b"")) for one in planned]
        half = len(planned) // 2
        return [
            (part, replace(job, runs=tuple(one.run for one in part), prune=None, checkpoint=b""))
            for part in (planned[:half], planned[half:])
        ]

    def judge(self, planned: Sequence[Planned], raised: bool) -> Iterator[Part]:
        """Note that these runs have trained, or cannot be trained. Yields the groups whose examination this ends, without the runs that raise."""
        for one in planned:
            identity = one.run.identity
            group = self._groups.get(identity)
            if group is None:
                continue
            group.left.discard(identity)
            if not raised:
                group.innocent.add(identity)
            if not group.left:
                for other in group.planned:
                    del self._groups[other.run.identity]
                again = [other for other in group.planned if other.run.identity in group.innocent]
                if again:
                    yield again, replace(group.job, runs=tuple(other.run for other in again))

    def is_examined(self, planned: Sequence[Planned]) -> bool:
        """Whether these runs train to find those that raise."""
        return bool(planned) and planned[0].run.identity in self._groups
