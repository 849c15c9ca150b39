"""Race the tuned arms against their references on fresh paired seeds, and note a row for each in the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from ablate.ledger.entry import Entry
from ablate.ranking.designs.racing import Racing
from ablate.ranking.verdicts.racing import Race, RaceRow, automatic_margin, more_pairs, replay
from ablate.records.recipe import Recipe
from ablate.study.ranking.arms import Estimand, described, rate_of, reference_of
from ablate.study.ranking.budget import LEAN_PAIRS, RankBudget, Spent, fits
from ablate.study.ranking.scores import failed
from ablate.study.ranking.tune_arms import tune_undecided
from ablate.study.ranking.tuned import Tuned, TunedStage
from ablate.study.ranking.tuning import FURTHER_ROUNDS, FURTHER_TIMES
from ablate.study.ranking.tuning_points import chosen_of
from ablate.tasks.metric_table import is_share

RACING, PLACEBO_RACING = 0x4ACE, 0x71B
TUNED_AFTER, TUNED_TO = 18, 0.12
"""From the look of so many pairs on, undecided arms that may lose more than this share of the margin, and whose tuning is more of
their effect's variance than pairs are, are tuned further."""
Key = tuple[Estimand, bool]
"""A race: its reference, and whether runs count for what is scored at their end (else for their last evaluations)."""


class Races:
    """The races of a stage: the seeds, the values that are there, and where each stands."""

    def __init__(self, stage: TunedStage, racing: Racing, tuned: Mapping[str, Tuned]) -> None:
        self.stage, self.racing = stage, racing
        most = max(racing.reference_runs(look, len(tuned)) for look in range(len(racing.pairs)))
        self.seeds = stage.first_seeds(most, RACING)
        self.own_seeds = {
            name: stage.first_seeds(racing.pairs[-1], PLACEBO_RACING, place)
            for place, (name, one) in enumerate(tuned.items())
            if one.arm.is_placebo
        }
        self.entries: dict[tuple[str, int], Entry] = {}
        self.run(tuned)

    def run(self, tuned: Mapping[str, Tuned]) -> None:
        """Run the arms as `tuned` says. Runs with another recipe, from before further tuning, no longer count."""
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

    def held_up_by_tuning(self, standing: Mapping[Key, Race], margin: float) -> list[str]:
        """The undecided arms that tuning keeps from a verdict, rather than pairs: those with the least left open first.

        What pairs leave open counts as it is for an arm that is still run, and as it would be at the last look for one that is not.
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
        name = reference_of("add-one")
        values = list(self.values(name, final=False).values())
        finite = np.array([value for value in values if np.isfinite(value)])
        sigma = float(finite.std(ddof=1)) if len(finite) > 1 else float("nan")
        share = is_share(session.metric)
        return automatic_margin(sigma, float(finite.mean()) if len(finite) else float("nan"), share=share)


def race_arms(
    stage: TunedStage, budget: RankBudget, tuned: dict[str, Tuned], fact: dict[str, Any]
) -> dict[str, Tuned]:
    """Look by look until every arm is decided, the looks are used up, or the budget is; rows go into the fact.

    Returns the arms as they were run: those that tuning kept from a verdict have been tuned further.
    """
    races = Races(stage, budget.racing, tuned)
    tuning = Spent(**fact["tuning_spent"])
    later = budget.ladder_runs(pairs=LEAN_PAIRS[0]) if "toggle" in stage.estimands else 0
    margin: float | None = fact["margin"]
    workers = stage.session.workers
    spent, look, reached, tuned_times = tuning, 0, 0, Counter[str]()
    while True:
        standing = races.standing(margin or 1.0)
        decided = races.decided_share(standing)
        if margin and all(race.needed > TUNED_AFTER for race in standing.values() if race.running):
            names = races.held_up_by_tuning(standing, margin)
            times = min((tuned_times[name] for name in names), default=FURTHER_TIMES)
            names = [name for name in names if tuned_times[name] == times < FURTHER_TIMES]
            each = FURTHER_ROUNDS * budget.tuning.finalists * budget.tuning.repeats
            while names and not fits(
                budget, spent, (each + TUNED_AFTER) * len(names) + later, workers, decided
            ):
                names.pop()
            if names and each:
                tuned, more = tune_undecided(
                    stage, budget.tuning, tuned, names, margin, TUNED_TO, times, fact
                )
                tuning, spent = tuning + more, spent + more
                reached = max(len(race.history) for race in standing.values())
                tuned_times.update(names)
                races.run(tuned)
                continue
        new = races.wanted(standing)
        behind = any(race.needed and race.look < max(reached, 1) for race in standing.values())
        if not new or not (behind or fits(budget, spent, len(new) + later, workers, decided)):
            break
        look += 1
        entries = stage.train(new, "rank", f"rank, look {look}")
        spent += Spent.of(entries)
        races.entries |= {(name, seed): entry for (name, _, seed), entry in zip(new, entries, strict=True)}
        if margin is None:
            margin = fact["margin"] = races.margin()
    assert margin is not None
    fact["rows"] = [row for key, race in standing.items() for row in _rows(races, key, race, margin)]
    fact["races"] = [
        {
            "estimand": estimand,
            "scored": "at the end" if final else "mean of the last evaluations",
            "family": len(races.members[estimand, final]),
            "sigma": race.comparison.sigma if race.comparison else None,
            "beta": race.comparison.beta if race.comparison else None,
            "prior_df": _finite(race.comparison.prior.df) if race.comparison else None,
            "reference_runs": race.comparison.reference_runs if race.comparison else 0,
            "looks": len(race.history),
            "undecided": list(race.undecided),
        }
        for (estimand, final), race in standing.items()
    ]
    fact["spent"] = {"tuning": tuning.runs, "race": spent.runs - tuning.runs}
    stage.session.ledger.put("rank", fact)
    return tuned


def _rows(races: Races, key: Key, race: Race, margin: float) -> list[dict[str, Any]]:
    """A JSON-ready row of each arm: the effect of *having* the trick, in the metric's units, positive where it helps."""
    estimand, _ = key
    reference = races.tuned[reference_of(estimand)]
    rows = []
    for name, row in race.rows.items():
        one = races.tuned[name]
        seeds = list(races.own_seeds.get(name, races.seeds))[: races.racing.pairs[row.look]]
        entries = [races.entries[name, seed] for seed in seeds]
        with_trick, without = (one, reference) if one.arm.sign > 0 else (reference, one)
        rows.append(
            {
                "arm": name,
                "trick": one.arm.trick,
                "estimand": estimand,
                **_signed(row, one.arm.sign),
                "in_recipe": one.arm.sign < 0,
                "settings": described(with_trick.recipe, one.arm),
                "against": one.arm.against,
                "rate": rate_of(one.recipe, races.stage.catalogue),
                "reference_rate": rate_of(reference.recipe, races.stage.catalogue),
                "pairs": row.pairs,
                "look": row.look + 1,
                "same": row.same,
                "runs": len(seeds),
                "failed": sum(map(failed, entries)),
                "seconds": float(sum(entry.result.seconds for entry in entries)),
                "more_pairs": _more(row, races, key, margin),
                "recipe_with": with_trick.recipe.to_dict(),
                "recipe_without": without.recipe.to_dict(),
                "seeds": seeds,
            }
        )
    return rows


def _more(row: RaceRow, races: Races, key: Key, margin: float) -> int | None:
    if row.verdict != "undecided":
        return None
    return more_pairs(row, races.racing.levels[-1], len(races.members[key]), margin)


def _signed(row: RaceRow, sign: int) -> dict[str, Any]:
    """Effect, interval and verdict of having the trick."""
    swapped = {
        "helps": "hurts",
        "hurts": "helps",
        "helps a little": "hurts a little",
        "hurts a little": "helps a little",
    }
    low, high = sorted((sign * row.low, sign * row.high))
    return {
        "effect": sign * row.effect + 0.0,
        "low": low,
        "high": high,
        "se": row.se,
        "tuning_se": row.tuning_se,
        "df": _finite(row.df),
        "p": row.p,
        "p_adjusted": row.p_adjusted,
        "verdict": row.verdict if sign > 0 else swapped.get(row.verdict, row.verdict),
    }


def _finite(value: float) -> float | None:
    """JSON knows no infinity."""
    return float(value) if np.isfinite(value) else None
