"""Tuning by one rule for all: every arm and placebo gets the same first runs to find its rate and settings, then rounds until
it is settled, at most as many as the budget has; on seeds that the race does not use.

References are tuned first, and more thoroughly than the arms: an error there would be in every effect. First tries go over rates
around a recipe's own rate; an arm's over rates around its reference's best one, at which its other settings are tried too. A
curve through all runs (`rate_curve`) tells where the top may be; the points there are run on fresh seeds, and so on, until
the best of the points that were tried loses too little to matter to the unknown best one. Rates beyond those that
were tried are candidates too, and where the best rate is still the last that was tried, up to two more are (`widened`).
An arm is run at its reference's rate unless the curve says that another is clearly better: arms that differ from
the reference in nothing are then compared with it at one rate, and a placebo is not called harmful because tuning gave it
another. Most arms are decided by the first pairs of the race, whatever their tuning leaves open; those that are not get further
rounds then (`continue_tuning`).
The learning rate is a nuisance parameter (Google's tuning playbook); equal budgets: Choi et al. 2019 (1910.05446). What is
equal here is the rule to stop, not the number of runs: an arm whose runs leave its best rate open gets more of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ablate.records.recipe import Catalogue
from ablate.study.ranking.arms import Arm, rate_of, with_rate
from ablate.study.ranking.rounds import Rounds, Rows, in_turn
from ablate.study.ranking.tuning_choice import (
    SETTLED,
    Anchor,
    Equal,
    at_all_rates,
    chosen_among,
    is_settled,
    next_points,
    other_functions,
)
from ablate.study.ranking.tuning_points import (
    LEAST_REFERENCE,
    MOST_REFERENCE,
    Point,
    TuningBudget,
    chosen_of,
    even,
    outwards,
    points_of,
    reference_tuning,
    repeats_of,
)

FIRST = 21
"""Seeds kept for first tries; rounds are run on those after them."""
FURTHER_ROUNDS, FURTHER_TIMES = 3, 12
"""Rounds that an arm gets at most each time that it is tuned further, and how often that may be."""
LEAST_ROUNDS = 2
"""Rounds that a reference gets at least: they tell the scatter of runs and of seeds."""
STEPS_OUTWARDS = 2
"""Further rates that are tried where the best one is the lowest or the highest that was tried, at most."""
Tuned = dict[str, list[Point]]
"""Arm -> its points."""


def tune(
    arms: Sequence[Arm],
    references: Mapping[str, str],
    catalogue: Catalogue,
    budget: TuningBudget,
    seeds: Mapping[str, Sequence[int]],
    scores: Callable[[Rows], list[float]],
    margin: float | None = None,
    submit: Callable[[Rows], object] = lambda rows: None,
    equal: Equal = lambda recipe, other, seed: True,
) -> dict[str, list[Point]]:
    """Points of every arm, one of them chosen. `references`: names, arm -> its reference (itself for a reference).

    `seeds`: arm -> at least `seeds_of(budget)` tuning seeds (common ones; a placebo's are its own). `scores`: of runs, more is
    better; a failed run has the score of a collapsed one. `margin`: the smallest effect worth having, in scores, if that is known.
    Each reference with its arms is a part of its own; `submit` starts a part's runs while another part is evaluated (`rounds`). `equal`: whether two
    recipes whose scores are equal had equal runs on a seed; by default scores alone say so.
    """
    tuner = _Tuner(catalogue, seeds, margin, equal=equal)
    members = {name: [arm for arm in arms if references[arm.name] == name] for name in references.values()}
    parts = [tuner.tuned(name, arms_of_it, budget) for name, arms_of_it in members.items()]
    return {name: points for part in in_turn(parts, scores, submit) for name, points in part.items()}


def continue_tuning(
    arms: Sequence[Arm],
    references: Mapping[str, Arm],
    points: Mapping[str, Sequence[Point]],
    catalogue: Catalogue,
    budget: TuningBudget,
    seeds: Mapping[str, Sequence[int]],
    scores: Callable[[Rows], list[float]],
    margin: float,
    share: float,
    times: int = 0,
    submit: Callable[[Rows], object] = lambda rows: None,
) -> dict[str, list[Point]]:
    """The points of `arms` after up to FURTHER_ROUNDS more, until an arm loses no more than `share` margins. `points`: of all arms
    and references, as `tune` left them; `references`: arm -> its reference. `times`: how often these arms have been tuned further, less
    than FURTHER_TIMES: each time is on fresh seeds."""
    tuner = _Tuner(catalogue, seeds, margin, share)
    more = replace(budget, rounds=FURTHER_ROUNDS)
    place = FIRST + sum(budget.repeats_by_round) + times * FURTHER_ROUNDS * budget.repeats
    parts = []
    for reference in {arm.name: arm for arm in references.values()}.values():
        anchor = Anchor.of(reference, points[reference.name], catalogue)
        members = {arm.name: arm for arm in arms if references[arm.name].name == reference.name}
        seen = {name: anchor.for_arm(arm, catalogue) for name, arm in members.items()}
        tried = {name: list(points[name]) for name in members}
        parts.append(tuner.settle(members, tried, more, seen, first_place=place))
    return {name: tuned for part in in_turn(parts, scores, submit) for name, tuned in part.items()}


def seeds_of(budget: TuningBudget) -> int:
    """Tuning seeds that an arm or reference needs."""
    fresh = sum(budget.repeats_by_round) + FURTHER_TIMES * FURTHER_ROUNDS * budget.repeats
    most = replace(LEAST_REFERENCE, rounds=MOST_REFERENCE)
    return FIRST + max(fresh, sum(most.repeats_by_round))


@dataclass(frozen=True)
class _Tuner:
    """Asks for the runs of points and notes their scores: first tries on the first FIRST seeds, rounds on those after them."""

    catalogue: Catalogue
    seeds: Mapping[str, Sequence[int]]
    margin: float | None
    share: float = SETTLED
    equal: Equal = lambda recipe, other, seed: True

    def tuned(self, reference: str, members: Sequence[Arm], budget: TuningBudget) -> Rounds[Tuned]:
        """The points of a reference and of its arms; `members`: both, or arms whose reference is not tuned here."""
        itself = {arm.name: arm for arm in members if arm.name == reference}
        rest = {arm.name: arm for arm in members if arm.name != reference}
        tuned: Tuned = {}
        anchor, scale = Anchor(), 1.0
        if itself:
            before = rate_of(itself[reference].recipes[0], self.catalogue)
            thorough = reference_tuning(budget, len(rest))
            tuned = yield from self.reference(
                itself, _ratio(even(before) if before else None, before), thorough
            )
            anchor = Anchor.of(itself[reference], tuned[reference], self.catalogue)
            scale = _ratio(anchor.rate, before)
        tried = yield from self.first(rest, scale, budget)
        if tuned:
            real = {name: tried[name] for name, arm in rest.items() if not arm.is_placebo}
            tried |= yield from self.without_copies(real, tuned[reference], anchor.rate)
        seen = {name: anchor.for_arm(arm, self.catalogue) for name, arm in rest.items()}
        settled = yield from self.settle(rest, tried, budget, seen)
        return {**tuned, **(yield from self.widened(settled, seen))}

    def reference(self, reference: Mapping[str, Arm], scale: float, budget: TuningBudget) -> Rounds[Tuned]:
        """The points of a reference, tuned more thoroughly than arms are."""
        tried = yield from self.first(reference, scale, budget)
        tuned = yield from self.settle(reference, tried, budget, {}, LEAST_ROUNDS)
        tuned = yield from self.widened(tuned, {})
        return (yield from self.leading(tuned))

    def first(self, arms: Mapping[str, Arm], scale: float, budget: TuningBudget) -> Rounds[Tuned]:
        """Each arm's first tries, around its own rate times `scale`."""
        points = {name: points_of(arm, self.catalogue, budget, scale) for name, arm in arms.items()}
        return (yield from self._tried(points, {name: repeats_of(points[name], budget) for name in arms}))

    def without_copies(self, tried: Tuned, reference: Sequence[Point], rate: float | None) -> Rounds[Tuned]:
        """First tries without settings that compute what the reference does. What is left may have been tried at one rate alone, and is tried
        at all rates of the arm; where nothing is, the arm runs at the reference's `rate`: what computes the same has no rate of its own."""
        kept = {
            name: other_functions(points, reference, self.seeds[name], self.equal)
            for name, points in tried.items()
        }
        missing = {
            name: at_all_rates(points, tried[name], self.catalogue)
            for name, points in kept.items()
            if 0 < len(points) < len(tried[name])
        }
        repeats = {name: max(len(point.scores) for point in kept[name]) for name in missing}
        tried_now = yield from self._tried(missing, repeats)
        kept = {name: [*points, *tried_now.get(name, ())] for name, points in kept.items()}
        copies = {name: points[0] for name, points in tried.items() if not kept[name]}
        return kept | {
            name: [replace(point, recipe=with_rate(point.recipe, self.catalogue, rate), rate=rate)]
            for name, point in copies.items()
        }

    def leading(self, tuned: Tuned) -> Rounds[Tuned]:
        """References' points with first tries of the chosen one too: arms, whose first tries are around it, are compared with it."""
        missing = {
            name: [chosen_of(points)] for name, points in tuned.items() if not chosen_of(points).scores
        }
        repeats = {name: max(len(point.scores) for point in tuned[name]) for name in missing}
        tried = yield from self._tried(missing, repeats)
        return {
            name: [tried[name][0] if point.chosen and name in missing else point for point in points]
            for name, points in tuned.items()
        }

    def settle(
        self,
        arms: Mapping[str, Arm],
        tried: Tuned,
        budget: TuningBudget,
        anchors: Mapping[str, Anchor],
        least: int = 0,
        first_place: int = FIRST,
    ) -> Rounds[Tuned]:
        """All points, one of them chosen, after at least `least` rounds and then until the arm is settled; an arm without a curve gets a round. `first_place`:
        that of the first round's first seed."""
        anchors = {name: anchors.get(name, Anchor()) for name in arms}
        curves = {name: anchors[name].curve_of(own) for name, own in tried.items()}
        points = {name: chosen_among(own, anchors[name], curves[name]) for name, own in tried.items()}
        unsettled = [
            name
            for name in arms
            if least
            or curves[name] is None
            or not is_settled(points[name], anchors[name], curves[name], self.margin, self.share)
        ]
        start = first_place
        for number, repeats in enumerate(budget.repeats_by_round):
            if not unsettled:
                break
            places, start = range(start, start + repeats), start + repeats
            asked = {
                name: next_points(points[name], anchors[name], curves[name], self.catalogue, budget)
                for name in unsettled
            }
            runs = yield from self._run(
                asked, {name: [self.seeds[name][place] for place in places] for name in asked}
            )
            for name, own in asked.items():
                known = {point.recipe: point for point in points[name]}
                new = [p.further(places, scores) for p, scores in zip(own, runs[name], strict=True)]
                merged = list((known | {point.recipe: point for point in new}).values())
                curves[name] = anchors[name].curve_of(merged)
                points[name] = chosen_among(merged, anchors[name], curves[name])
            if number + 1 >= least:
                unsettled = [
                    name
                    for name in unsettled
                    if not is_settled(points[name], anchors[name], curves[name], self.margin, self.share)
                ]
        return {name: sorted(own, key=lambda point: not point.final) for name, own in points.items()}

    def widened(self, tuned: Tuned, anchors: Mapping[str, Anchor]) -> Rounds[Tuned]:
        """All points, with those of the next rates outwards where the chosen rate is the last that was tried: each on the seeds of the
        chosen point, so that the two are compared in pairs. (Rounds look beyond the rates that were tried; small budgets have few or none.)"""
        for _ in range(STEPS_OUTWARDS):
            last = {name: chosen_of(points) for name, points in tuned.items()}
            asked: dict[str, list[Point]] = {}
            for name, chosen in last.items():
                rate = outwards(tuned[name], chosen)
                if rate is not None and chosen.runs:
                    asked[name] = [Point(with_rate(chosen.recipe, self.catalogue, rate), rate)]
            if not asked:
                break
            places = {name: (*range(len(last[name].scores)), *last[name].seeds) for name in asked}
            runs = yield from self._run(
                asked, {name: [self.seeds[name][place] for place in places[name]] for name in asked}
            )
            for name, (point,) in asked.items():
                ((*scores,),) = runs[name]
                first, seeds = len(last[name].scores), last[name].seeds
                new = replace(point, scores=tuple(scores[:first]), final=tuple(scores[first:]), seeds=seeds)
                points, anchor = [*tuned[name], new], anchors.get(name, Anchor())
                tuned = {**tuned, name: chosen_among(points, anchor, anchor.curve_of(points))}
        return tuned

    def _tried(
        self, points: Mapping[str, Sequence[Point]], repeats: Mapping[str, int]
    ) -> Rounds[dict[str, list[Point]]]:
        """First tries: each arm's points with their scores on the first `repeats` of its seeds."""
        runs = yield from self._run(points, {name: self.seeds[name][: repeats[name]] for name in points})
        return {
            name: [
                replace(point, scores=scores) for point, scores in zip(points_of_arm, runs[name], strict=True)
            ]
            for name, points_of_arm in points.items()
        }

    def _run(
        self, points: Mapping[str, Sequence[Point]], seeds: Mapping[str, Sequence[int]]
    ) -> Rounds[dict[str, list[tuple[float, ...]]]]:
        """Scores of each arm's points on its seeds."""
        asked = [
            (name, point.recipe, seed)
            for name, own in points.items()
            for point in own
            for seed in seeds[name]
        ]
        values = iter((yield asked) if asked else ())
        return {name: [tuple(next(values) for _ in seeds[name]) for _ in own] for name, own in points.items()}


def _ratio(rate: float | None, before: float | None) -> float:
    return rate / before if rate and before else 1.0
