"""The search space of a study: all applicable tricks at once; conversion between recipes and trial parameters.

A slot is one categorical over its tricks (plus "none", except for the optimizer);
every other trick is an on/off categorical with the trick's name; `trick.parameter` exists if its trick
is on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log10

from ablate.records.errors import InputError
from ablate.records.recipe import Catalogue, Recipe, conflict
from ablate.records.study import StudyFile
from ablate.records.study_space import Override
from ablate.records.trick import LR, Trick, Value
from ablate.search.dimension import Dimension, dimension, lr_range, widen_to

NONE = "none"
EXCLUDED, BY_RECORD = "excluded by the study file", "excluded from the search by its record"
TOO_SLOW = "a run with it takes many times as long; --include '*,{name}' tries it"
NAMED = 3
"""Reasons in an error, and tricks for each, at most."""
OPTIMIZER = "optimizer"
Params = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Size:
    """`dimensions`: all varied dimensions; `log10_combinations`: of slots and switches only."""

    dimensions: int
    log10_combinations: float


@dataclass(frozen=True)
class Space:
    """The search space. Construct with `Space.of`.

    `switches`: slots and on/off tricks, structural ones first, in the order in which they are suggested.
    `settings`: searched trick -> its parameters.
    `always`: tricks that are on in every recipe; those without `settings` keep the baseline's.
    `left_out`: trick -> why it is not searched.
    """

    catalogue: Catalogue
    baseline: Recipe
    switches: tuple[Dimension, ...]
    settings: Mapping[str, tuple[Dimension, ...]]
    always: tuple[str, ...]
    left_out: Mapping[str, str]

    @classmethod
    def of(
        cls,
        catalogue: Catalogue,
        study: StudyFile,
        applicable: Mapping[str, str],
        baseline: Recipe,
        lr_center: float | None = None,
    ) -> Space:
        """The space of `study` around `baseline`.

        `applicable`: trick -> why it does not apply to the model or the task; "" or missing if it does.
        `lr_center`: the rate that lr-find found for the baseline's optimizer; None for the baseline's rate.
        Raises InputError if nothing is left to search or the baseline lies outside a range set by the user.
        """
        left_out = left_out_of(catalogue, study, applicable, baseline)
        searched = [trick for name, trick in catalogue.items() if name not in left_out]
        switches = [_toggle(trick) for trick in searched if not trick.slot]
        for slot in dict.fromkeys(trick.slot for trick in searched if trick.slot):
            switches.append(_slot(slot, catalogue, left_out, baseline))
        switches = [switch for switch in switches if switch.constant is None]
        switches.sort(key=lambda switch: not switch.structural)
        settings = {
            trick.name: _settings(
                trick, study.space.overrides.get(trick.name, {}), catalogue, baseline, lr_center
            )
            for trick in searched
        }
        names = {trick.name for trick in searched if not trick.slot}
        names.update(str(choice) for switch in switches for choice in switch.choices)
        always = tuple(name for name in baseline if name not in names)
        space = cls(catalogue, baseline, tuple(switches), settings, always, left_out)
        if space.size().dimensions == 0:
            raise _nothing_left(left_out)
        return space

    def dimensions(self) -> Iterator[Dimension]:
        """All varied dimensions: the switches, then the parameters."""
        yield from self.switches
        for settings in self.settings.values():
            yield from (dim for dim in settings if dim.constant is None)

    def size(self) -> Size:
        """The number of dimensions and of combinations."""
        return Size(
            sum(1 for _ in self.dimensions()), sum(log10(len(switch.choices)) for switch in self.switches)
        )

    def on(self, params: Params) -> list[str]:
        """The tricks that are on in `params`: those that always are, then the switched ones, structural ones first."""
        switched = [_trick_of(switch, params[switch.name]) for switch in self.switches]
        return [*self.always, *(name for name in switched if name != NONE)]

    def from_params(self, params: Params) -> Recipe:
        """The complete recipe. Raises Conflict if `params` turn on two tricks that conflict, KeyError if one is missing."""
        tricks: dict[str, Mapping[str, Value]] = {}
        for name in self.on(params):
            if name in self.settings:
                tricks[name] = {
                    dim.name.removeprefix(f"{name}."): params[dim.name]
                    if dim.constant is None
                    else dim.constant
                    for dim in self.settings[name]
                }
            else:
                tricks[name] = self.baseline[name]
        return Recipe.of(self.catalogue, tricks)

    def to_params(self, recipe: Recipe) -> dict[str, Value]:
        """The parameters of `recipe`: switches, then `trick.parameter` of the tricks that are on.

        A trick at neutral settings outside its range (weight decay 0 on a log scale) counts as off.
        Raises InputError if the recipe lies outside the space.
        """
        on = {name for name in recipe if name in self.always or not self._is_neutral(name, recipe[name])}
        params: dict[str, Value] = {}
        for switch in self.switches:
            if switch.choices[0] is False:
                params[switch.name] = switch.name in on
            else:
                params[switch.name] = next((c for c in switch.choices if c in on), NONE)
            if not switch.contains(params[switch.name]):
                raise InputError(f"the slot '{switch.name}' cannot be empty in this space")
        if beyond := on - set(self.on(params)):
            raise InputError(f"the recipe has {', '.join(sorted(beyond))}, outside the space")
        for name in self.on(params):
            if name not in recipe:
                raise InputError(f"the recipe lacks '{name}', which is always on in this space")
            for dim in self.settings.get(name, ()):
                value = recipe[name][dim.name.removeprefix(f"{name}.")]
                if not dim.contains(value):
                    raise InputError(f"{dim.name} = {value} lies outside the space")
                if dim.constant is None:
                    params[dim.name] = value
        return params

    def without_conflicts(self, params: Params, order: Sequence[str]) -> dict[str, Value]:
        """`params` without conflicts. Of two conflicting tricks the one that is always on is kept, else the optimizer,
        else the structural one (lanes of a group must agree in it), else the first in `order`.
        """
        rank = {name: i for i, name in enumerate(order)}
        accepted = [self.catalogue[name] for name in self.always]
        resolved = dict(params)
        for switch in sorted(
            self.switches, key=lambda s: (s.name != OPTIMIZER, not s.structural, rank.get(s.name, len(rank)))
        ):
            name = _trick_of(switch, params[switch.name])
            if name == NONE:
                continue
            if not any(conflict(self.catalogue[name], other) for other in accepted):
                accepted.append(self.catalogue[name])
                continue
            resolved[switch.name] = False if switch.choices[0] is False else switch.choices[0]
            for dim in self.settings[name]:
                resolved.pop(dim.name, None)
        return resolved

    def _is_neutral(self, name: str, settings: Mapping[str, Value]) -> bool:
        """Whether the trick has no effect at `settings`, which lie outside the space: equivalent to turning it off."""
        dimensions = {dim.name: dim for dim in self.settings.get(name, ())}
        return _neutral(self.catalogue[name], settings) and not all(
            dimensions[f"{name}.{key}"].contains(value)
            for key, value in settings.items()
            if f"{name}.{key}" in dimensions
        )


def _neutral(trick: Trick, settings: Mapping[str, Value]) -> bool:
    current = [parameter for parameter in trick.parameters if parameter.neutral is not None]
    return bool(current) and all(settings[parameter.name] == parameter.neutral for parameter in current)


def _trick_of(switch: Dimension, chosen: Value) -> str:
    """The trick that `switch` turns on at `chosen`, or "none"."""
    if switch.choices[0] is False:
        return switch.name if chosen else NONE
    return str(chosen)


def left_out_of(
    catalogue: Catalogue, study: StudyFile, applicable: Mapping[str, str], baseline: Recipe
) -> dict[str, str]:
    """Trick -> why it is not searched. `applicable`, `baseline`: as in `Space.of`."""
    left_out = {}
    for name, trick in catalogue.items():
        if study.space.waits_for_its_name(trick):
            left_out[name] = applicable.get(name, "") or TOO_SLOW.format(name=name)
        elif not study.space.includes(trick):
            left_out[name] = EXCLUDED
        elif not trick.searched:
            left_out[name] = BY_RECORD
        elif reason := applicable.get(name, ""):
            left_out[name] = reason
    fixed = [name for name in baseline if name in left_out]
    for name, trick in catalogue.items():
        others = (
            catalogue[other] for other in fixed if catalogue[other].slot != trick.slot or not trick.slot
        )
        if name not in left_out and (clash := next(filter(None, (conflict(trick, o) for o in others)), "")):
            left_out[name] = f"{clash}, which the baseline has"
    return left_out


def missed(study: StudyFile, left_out: Mapping[str, str]) -> dict[str, str]:
    """The tricks that the study includes by their names and that are not searched all the same, and those that wait for their name -> why."""
    reasons = {name: left_out.get(name, EXCLUDED) for name in study.space.include}
    slow = {name: why for name, why in left_out.items() if why == TOO_SLOW.format(name=name)}
    return {name: why for name, why in reasons.items() if why not in (EXCLUDED, BY_RECORD)} | slow


def _nothing_left(left_out: Mapping[str, str]) -> InputError:
    """The error for an empty space: the tricks that the study includes, and why they are left out."""
    names: dict[str, list[str]] = {}
    for name, why in left_out.items():
        if why != EXCLUDED:
            names.setdefault(why, []).append(name)
    reasons = [
        f"{', '.join(some[:NAMED])}{', …' if len(some) > NAMED else ''}: {why}" for why, some in names.items()
    ]
    detail = f" ({'; '.join(reasons[:NAMED])})" if reasons else ""
    hint = "include other tricks (--include, or include in [space]), or exclude less"
    return InputError(f"nothing is left to search{detail}", hint=hint)


def _structural(trick: Trick) -> bool:
    """Whether turning `trick` on or off changes the structure of a group (`lanes.group.structure`)."""
    return not trick.lane or any(not parameter.lane for parameter in trick.parameters)


def _toggle(trick: Trick) -> Dimension:
    return Dimension(trick.name, (False, True), structural=_structural(trick))


def _slot(slot: str, catalogue: Catalogue, left_out: Mapping[str, str], baseline: Recipe) -> Dimension:
    """The baseline's trick is a choice even if it is not searched; the slot is then never empty.

    The first choice replaces a trick that conflicts with others.
    """
    members = [t for t in catalogue.values() if t.slot == slot and t.name not in left_out]
    choices = [trick.name for trick in members]
    current = baseline.slot(catalogue, slot)
    if current and (slot == OPTIMIZER or current in left_out):
        choices = [current, *(name for name in choices if name != current)]
    else:
        choices = [NONE, *choices]
    return Dimension(slot, tuple(choices), structural=any(_structural(trick) for trick in members))


def _settings(
    trick: Trick,
    overrides: Mapping[str, Override],
    catalogue: Catalogue,
    baseline: Recipe,
    lr_center: float | None,
) -> tuple[Dimension, ...]:
    at_neutral = trick.name in baseline and trick.slot != OPTIMIZER and _neutral(trick, baseline[trick.name])
    dim = []
    for parameter in trick.parameters:
        override = overrides.get(parameter.name)
        one = dimension(trick, parameter, override)
        if parameter.name == LR and trick.slot == OPTIMIZER and override is None:
            one = lr_range(one, _centers(trick, catalogue, baseline, lr_center))
        if trick.name in baseline and not (at_neutral and parameter.neutral is not None):
            one = widen_to(one, baseline[trick.name][parameter.name], fixed=override is not None)
        dim.append(one)
    return tuple(dim)


def _centers(trick: Trick, catalogue: Catalogue, baseline: Recipe, lr_center: float | None) -> list[float]:
    default = float(trick.parameter(LR).default)
    current = baseline.slot(catalogue, OPTIMIZER)
    if current is None or LR not in baseline[current]:
        return [default]
    center = float(baseline[current][LR]) if lr_center is None else lr_center
    if current == trick.name:
        return [center]
    return [default, default * center / float(catalogue[current].parameter(LR).default)]
