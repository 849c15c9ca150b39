"""The races of the rank stage: seeds, runs that are there, where each arm stands, and which go on."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from math import inf
from statistics import fmean

import numpy as np

from ablate.ledger.entry import Entry
from ablate.ranking.designs.racing import Racing
from ablate.ranking.estimands import reference_of
from ablate.ranking.verdicts.racing import Race, automatic_margin, more_pairs, replay
from ablate.records.designs import ADD_ONE, TunedEstimand
from ablate.records.recipe import Recipe
from ablate.study.ranking.rounds import Rows
from ablate.study.ranking.tuned import Tuned, TunedStage
from ablate.study.ranking.tuning_points import chosen_of
from ablate.tasks.metric_table import is_share

RACING, PLACEBO_RACING = 0x4ACE, 0x71B
TUNED_AFTER, TUNED_TO = 18, 0.12
"""Undecided arms are tuned further from the look of TUNED_AFTER pairs on, if they may lose more than TUNED_TO margins and tuning
contributes more variance to their effect than pairs do."""
Key = tuple[TunedEstimand, bool]
"""A race: its reference, and whether runs count for what is scored at their end (else for their last evaluations)."""


class Races:
    """The races of a stage: the seeds, the values that are there, and where each stands."""

    def __init__(self, stage: TunedStage, racing: Racing, tuned: Mapping[str, Tuned]) -> None:
        self.stage, self.racing, self.tuned = stage, racing, tuned
        most = max(racing.reference_runs(look, len(tuned)) for look in range(len(racing.pairs)))
        self.seeds = stage.first_seeds(most, RACING)
        self.own_seeds = {
            name: stage.first_seeds(racing.pairs[-1], PLACEBO_RACING, place)
            for place, (name, one) in enumerate(tuned.items())
            if one.arm.is_placebo
        }
        self.entries: dict[tuple[str, int], Entry] = {}
        self.stopped: dict[str, int] = {}
        """Arm -> looks after which it is run no further, for lack of time."""
        self.run(tuned)

    def run(self, tuned: Mapping[str, Tuned]) -> None:
        """Run the arms as `tuned` says. Runs with another recipe, from before further tuning, no longer count."""
        self.stopped = {
            name: look for name, look in self.stopped.items() if self.tuned[name].recipe == tuned[name].recipe
        }
        self.tuned = tuned
        self.entries = {
            (name, seed): entry
            for (name, seed), entry in self.entries.items()
            if entry.run.recipe == tuned[name].recipe
        }
        self.members: dict[Key, list[str]] = {}
        for name, one in tuned.items():
            reference = reference_of(one.arm.estimand)
            if name != reference:
                key = one.arm.estimand, self.stage.is_final(one.recipe, tuned[reference].recipe)
                self.members.setdefault(key, []).append(name)

    def values(self, name: str, *, final: bool) -> dict[int, float]:
        """Seed -> score of an arm."""
        return {
            seed: self.stage.score(entry, final=final)
            for (arm, seed), entry in self.entries.items()
            if arm == name
        }

    def standing(self, margin: float) -> dict[Key, Race]:
        """The state of each race, replayed from the recorded runs."""
        return {
            (estimand, final): replay(
                {name: self.values(name, final=final) for name in names},
                self.values(reference_of(estimand), final=final),
                self.seeds,
                {name: self.own_seeds[name] for name in names if name in self.own_seeds},
                self.racing,
                margin,
                tuning_se={name: chosen_of(self.tuned[name].points).loss for name in names},
                stopped=self.stopped,
                copies=[name for name in names if len(self.tuned[name].points) == 1],
            )
            for (estimand, final), names in self.members.items()
        }

    def wanted(self, standing: Mapping[Key, Race]) -> list[tuple[str, Recipe, int]]:
        """The missing runs of the next look: (arm, recipe, seed)."""
        rows: dict[tuple[str, int], Recipe] = {}
        for (estimand, _), race in standing.items():
            reference = reference_of(estimand)
            for seed in self.seeds[: race.reference_needed]:
                rows[reference, seed] = self.tuned[reference].recipe
            for name in race.running if race.needed else ():
                for seed in self.own_seeds.get(name, self.seeds)[: race.needed]:
                    rows[name, seed] = self.tuned[name].recipe
        return [
            (name, recipe, seed) for (name, seed), recipe in rows.items() if (name, seed) not in self.entries
        ]

    def seconds(self, rows: Rows) -> float:
        """What these runs will take workers."""
        each = self._seconds_of_a_run()
        return sum(each[name] for name, _, _ in rows)

    def _seconds_of_a_run(self) -> dict[str, float]:
        """What a run of each arm takes a worker: as long as the arm's runs before, or those of all arms."""
        taken: dict[str, list[float]] = {}
        for (name, _), entry in self.entries.items():
            taken.setdefault(name, []).append(entry.result.seconds)
        every = fmean(seconds for own in taken.values() for seconds in own) if taken else 0.0
        return {name: fmean(taken.get(name, [every])) for name in self.tuned}

    def keep_nearest_to_verdict(self, margin: float, fits: Callable[[Rows], bool]) -> bool:
        """Stop the arms for whose next look there is no time; those that probably need the least time to a verdict go on. Whether any does."""
        standing, each = self.standing(margin), self._seconds_of_a_run()
        nearest = sorted(
            (self._seconds_to_verdict(race, key, name, margin, each[name]), name)
            for key, race in standing.items()
            for name in race.running
        )
        before = self.stopped
        looks = {name: len(race.history) for race in standing.values() for name in race.running}

        def is_too_long(count: int) -> bool:
            """Whether the next look of the first `count` alone takes too long."""
            self.stopped = before | {name: looks[name] for _, name in nearest[count:]}
            new = self.wanted(self.standing(margin))
            return bool(new) and not fits(new)

        count = bisect_left(range(1, len(nearest)), True, key=is_too_long)
        self.stopped = before | {name: looks[name] for _, name in nearest[count:]} if count else before
        return count > 0

    def _seconds_to_verdict(self, race: Race, key: Key, name: str, margin: float, each: float) -> float:
        """What the pairs that would decide an arm take, if its estimate stayed; infinite if none would. `each`: seconds of a run."""
        pairs = more_pairs(race.rows[name], self.racing.levels[-1], len(self.members[key]), margin)
        return inf if pairs is None else pairs * each

    def limited_by_tuning(self, standing: Mapping[Key, Race], margin: float) -> list[str]:
        """The undecided arms that tuning keeps from a verdict, rather than pairs: those with the least left open first.

        The variance from pairs is the current one for running arms, and the one projected to the last look for stopped arms.
        """
        last = self.racing.pairs[-1]
        rows = []
        for race in standing.values():
            for row in (race.rows[name] for name in race.undecided if name in race.rows):
                of_pairs = row.se**2 - row.tuning_se**2
                if row.arm not in race.running:
                    of_pairs *= row.pairs / last
                if row.tuning_se > TUNED_TO * margin and row.tuning_se**2 > of_pairs:
                    rows.append(row)
        return [row.arm for row in sorted(rows, key=lambda row: row.tuning_se)]

    def decided_share(self, standing: Mapping[Key, Race]) -> float:
        """Share of the tricks that have a verdict wherever they are compared."""
        tricks = {
            one.arm.trick for names in self.members.values() for one in map(self.tuned.__getitem__, names)
        }
        undecided = {self.tuned[name].arm.trick for race in standing.values() for name in race.undecided}
        return 1 - len(undecided) / len(tricks) if tricks else 1.0

    def margin(self) -> float:
        """The automatic margin, from the first look's runs of the baseline."""
        session = self.stage.session
        name = reference_of(ADD_ONE)
        values = list(self.values(name, final=False).values())
        finite = np.array([value for value in values if np.isfinite(value)])
        sigma = float(finite.std(ddof=1)) if len(finite) > 1 else float("nan")
        share = is_share(session.metric)
        return automatic_margin(sigma, float(finite.mean()) if len(finite) else float("nan"), share=share)
