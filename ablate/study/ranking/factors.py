"""From a recipe, the search's candidates and what the study file asks for to the factors of a ranking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ablate.ranking.designs.design import Factor, Role, with_placebo
from ablate.ranking.designs.registry import array_design
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.study_rank import NONE, OPTIMIZER, RankSection
from ablate.records.trick import PLACEBO, Trick, Value
from ablate.study.ranking.candidates import ASK, Seen, clash, doubt
from ablate.study.ranking.design_matrix import OFF, ON, FactorMapping, Level

ONLY_ONE = f"nothing was searched, so another trick of its slot stands for the slot; {ASK}"


@dataclass(frozen=True)
class Sources:
    """The sources of the settings of a factor's levels."""

    catalogue: Mapping[str, Trick]
    winner: Recipe
    baseline: Recipe
    asked: RankSection
    seen: Seen

    def settings(self, name: str) -> dict[str, Value]:
        """The settings of the winner, else of the best trial that had the trick, else the baseline, else its defaults.

        A rate that nobody tuned is the default's, scaled as the baseline's optimizer was."""
        for settings in (self.winner, {n: s for n, (_, s) in self.seen.items()}, self.baseline):
            if name in settings:
                return dict(settings[name])
        defaults = self.catalogue[name].defaults
        own = self.baseline.slot(self.catalogue, OPTIMIZER)
        if self.catalogue[name].slot == OPTIMIZER and own and "lr" in defaults and "lr" in self.baseline[own]:
            scale = float(self.baseline[own]["lr"]) / float(self.catalogue[own].parameter("lr").default)
            defaults["lr"] = float(defaults["lr"]) * scale
        return defaults

    def level(self, name: str) -> Level:
        """The settings of a level; none for the empty slot."""
        return {} if name == NONE else {name: self.settings(name)}


def array(
    catalogue: Mapping[str, Trick],
    winner: Recipe,
    baseline: Recipe,
    candidates: Sequence[str],
    asked: RankSection,
    seen: Seen,
) -> FactorMapping:
    """What is varied: the winner's tricks and those that the search's best trials often had (`seen`; every candidate where
    nothing was searched). Tricks that the search found hopeless stay out: in a recipe that half of them ruin,
    nothing else shows.

    A slot is one factor: what the baseline has there (its reference), what the winner has, and the slot's
    others. A factor of two levels is called by its trick and is off or on; one of more is called by
    the slot, its levels by their tricks. A trick that conflicts with one that is in already is left out, with
    the reason. Raises InputError if `asked` names tricks that are unavailable.
    """
    sources = Sources(catalogue, winner, baseline, asked, seen)
    _check(sources, candidates)
    rest = sorted((n for n in candidates if n not in winner), key=lambda n: seen.get(n, (len(seen), {}))[0])
    wanted = [n for names in asked.levels.values() for n in names if n != NONE]
    homes: dict[str, list[str]] = {}
    for name in dict.fromkeys([*winner, *asked.must_have, *wanted, *rest]):
        if name != PLACEBO:
            homes.setdefault(catalogue[name].slot or name, []).append(name)
    chosen = [name for name in winner if name != PLACEBO]
    left_out: dict[str, str] = {}
    meaning: dict[str, dict[str, Level]] = {}
    shipped: dict[str, str] = {}
    factors: list[Factor] = []
    for home, members in homes.items():
        levels, reasons = _levels(sources, home, members)
        for name, what in list(levels.items())[1:]:
            if why := clash(what, chosen, catalogue):
                reasons[name] = why
                del levels[name]
        if len(levels) > 1 and (why := clash(next(iter(levels.values())), chosen, catalogue)):
            reasons |= dict.fromkeys([n for n in levels if n not in (NONE, OFF)], why)
            levels = {}
        left_out |= reasons
        if len(levels) < 2:
            continue
        factor, shipped_as = _factor(sources, home, levels)
        factors.append(factor)
        meaning[factor.name] = dict(zip(factor.levels, levels.values(), strict=True))
        shipped[factor.name] = shipped_as
        chosen += [n for what in levels.values() for n in what if n not in chosen]
    factors, orphans = _with_roles(sources, factors, meaning)
    left_out |= orphans
    factors = [factor for factor in factors if factor.name not in orphans]
    meaning = {f.name: meaning[f.name] for f in factors} | {PLACEBO: {OFF: {}, ON: {PLACEBO: {}}}}
    varied = {trick for levels in meaning.values() for level in levels.values() for trick in level}
    return FactorMapping(
        with_placebo(factors), meaning, winner.without(*varied),
        {**{f.name: shipped[f.name] for f in factors}, PLACEBO: OFF},
        tuple(f.name for f in factors if _shifts(meaning[f.name].values(), catalogue)), left_out,
    )  # fmt: skip


def _levels(sources: Sources, home: str, members: Sequence[str]) -> tuple[dict[str, Level], dict[str, str]]:
    """The levels of one home, the reference first, and why other members stay out. Fewer than two: no factor."""
    catalogue, winner, baseline, seen = sources.catalogue, sources.winner, sources.baseline, sources.seen
    slotted = catalogue[members[0]].slot is not None
    in_baseline, in_winner = (
        (recipe.slot(catalogue, home) if slotted else (home if home in recipe else None)) or NONE
        for recipe in (baseline, winner)
    )
    must = next((name for name in members if name in sources.asked.must_have), None)
    retuned = sources.asked.retune > 0
    if must is not None:
        reference = in_baseline if in_baseline not in (NONE, must) else NONE
        if home == OPTIMIZER and reference == NONE:
            return {}, {must: "stands in every recipe, so there is nothing to compare it with"}
        if in_winner not in (NONE, must, reference):
            raise InputError(
                f"must_have of [rank] names '{must}', and the recipe that is ranked has '{in_winner}' in its slot",
                hint="name another, or rank --around a recipe that has it",
            )
        return {reference: _reference(sources, reference), must: sources.level(must)}, {}
    if home in sources.asked.levels:
        listed = sources.asked.levels[home]
        reference = in_baseline if in_baseline in listed else listed[0]
        return _named(sources, dict.fromkeys([reference, *listed, in_winner]), in_baseline, in_winner), {}
    reasons = {n: why for n in members if (why := doubt(catalogue[n], winner, seen, retuned=retuned))}
    others = [n for n in members if n not in (in_baseline, in_winner, *reasons)]
    if slotted and not seen:
        keep = [] if in_winner not in (in_baseline, NONE) else others[:1]
        reasons |= {n: ONLY_ONE for n in others if n not in keep}
        others = keep
    reference = NONE if in_winner == NONE else in_baseline
    names = list(
        dict.fromkeys([reference, in_winner, *([in_baseline] if in_baseline not in reasons else []), *others])
    )
    if (
        names == [in_baseline]
        and in_baseline != NONE
        and dict(baseline[in_baseline]) != dict(winner[in_baseline])
    ):
        # one trick, two settings
        levels = {OFF: _reference(sources, in_baseline), in_baseline: sources.level(in_baseline)}
    else:
        levels = _named(sources, names, in_baseline, in_winner)
    return levels, {name: why for name, why in reasons.items() if name not in levels}


def _named(sources: Sources, names: Iterable[str], in_baseline: str, in_winner: str) -> dict[str, Level]:
    """The levels called `names`; what the baseline has and the winner has not is as in the baseline. So is what
    both have where tricks are added to the baseline."""
    own = in_baseline != in_winner or array_design(sources.asked.design).reference == "baseline"
    return {n: _reference(sources, n) if own and n == in_baseline else sources.level(n) for n in names}


def _reference(sources: Sources, name: str) -> Level:
    return {} if name == NONE else {name: dict(sources.baseline[name])}


def _factor(sources: Sources, home: str, levels: Mapping[str, Level]) -> tuple[Factor, str]:
    """The factor of these levels, and its level in the winner."""
    names = list(levels)
    stands = next(
        (
            name
            for name, what in levels.items()
            if what and all(sources.winner.get(n) == s for n, s in what.items())
        ),
        None,
    )
    if stands is None:
        stands = next((name for name, what in levels.items() if set(what) & set(sources.winner)), names[0])
    role: Role = "must_have" if set(names) & set(sources.asked.must_have) else "ordinary"
    if role == "must_have":
        stands = names[1]
    if len(names) == 2:
        return Factor(names[1], (OFF, ON), role), (OFF, ON)[names.index(stands)]
    return Factor(home, tuple(names), role), stands


def _with_roles(
    sources: Sources, factors: Sequence[Factor], meaning: Mapping[str, Mapping[str, Level]]
) -> tuple[list[Factor], dict[str, str]]:
    """The factors with their roles, and the conditional ones whose parent never acts."""
    homes = {n: f.name for f in factors for level in list(meaning[f.name].values())[1:] for n in level}
    homes |= {sources.catalogue[n].slot or n: home for n, home in homes.items()}
    with_roles, orphans = [], {}
    for factor in factors:
        role: Role = factor.role
        parent = _parent(sources, factor, meaning[factor.name].values())
        above = homes.get(parent or "")
        if parent is not None and role != "must_have":
            if above is not None and above != factor.name:
                with_roles.append(Factor(factor.name, factor.levels, "conditional", above))
                continue
            always = parent in sources.winner or sources.winner.slot(sources.catalogue, parent) is not None
            if not always:
                orphans[factor.name] = f"acts only with {parent}, which is not in the array"
                continue
        shifts = _shifts(meaning[factor.name].values(), sources.catalogue)
        if role == "ordinary" and shifts and not sources.asked.retune:
            role = "needs_retune"
        with_roles.append(replace(factor, role=role))
    return with_roles, orphans


def _parent(sources: Sources, factor: Factor, levels: Iterable[Level]) -> str | None:
    """The trick or slot without which this factor does nothing: as the study file or the record says."""
    for name in [n for level in levels for n in level]:
        if name in sources.asked.conditional:
            return sources.asked.conditional[name]
        if parent := sources.catalogue[name].parent:
            return parent
    return None


def _shifts(levels: Iterable[Level], catalogue: Mapping[str, Trick]) -> bool:
    """Whether the levels differ in a trick that shifts the best learning rate. Two settings of one trick do
    not count: re-tuning them would remove their difference."""
    sets: list[set[str]] = [set(level) for level in levels]
    different = {name for one in sets for name in one if not all(name in other for other in sets)}
    return any(catalogue[n].slot == OPTIMIZER or "needs_retune" in catalogue[n].roles for n in different)


def _check(sources: Sources, candidates: Sequence[str]) -> None:
    """Raise InputError where the study file asks for tricks that this study cannot have."""
    asked, there = sources.asked, {*candidates, *sources.winner, *sources.baseline, NONE}
    named = [("must_have", name) for name in asked.must_have]
    named += [(f"levels.{slot}", name) for slot, names in asked.levels.items() for name in names]
    named += [("conditional", name) for name in asked.conditional]
    for key, name in named:
        if name not in there:
            raise InputError(
                f"{key} of [rank] names '{name}', which this study does not have",
                hint="it does not apply to the model, or [space] leaves it out: ablate plan tells",
            )
    for name in asked.must_have:
        slot = sources.catalogue[name].slot
        if slot is not None and slot in asked.levels:
            raise InputError(
                f"'{name}' is a must_have of [rank], and its slot '{slot}' has levels",
                hint="name one of the two",
            )
