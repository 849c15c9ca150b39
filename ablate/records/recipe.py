"""A recipe: an immutable mapping from trick to settings, with a canonical form and a hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ablate.records.errors import Conflict, InputError, unknown
from ablate.records.trick import Trick, Value

Settings = Mapping[str, Value]
Catalogue = Mapping[str, Trick]

TORCH = "torch"
"""The key under which settings name an optimizer class by its dotted path."""


def torch_name(path: str) -> str:
    """The name of an optimizer class as a trick: `torch.optim.NAdam` → `torch_nadam`."""
    return f"{path.split('.')[0]}_{path.rpartition('.')[2].lower()}"


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


class Recipe(Mapping[str, Settings]):
    """Trick name -> its settings. Complete (every parameter has a value) and hashable.

    Construct with `Recipe.of(catalogue, {...})`, which fills in defaults and validates.
    The canonical form is JSON with sorted keys; equal recipes have equal hashes on every machine.
    """

    __slots__ = ("_canonical", "_hash", "_tricks")

    def __init__(self, tricks: Mapping[str, Settings]) -> None:
        plain = {name: dict(sorted(tricks[name].items())) for name in sorted(tricks)}
        self._set(plain, _ENCODER.encode(plain))

    def _set(self, plain: dict[str, dict[str, Value]], canonical: str) -> None:
        self._tricks = MappingProxyType({name: MappingProxyType(plain[name]) for name in plain})
        self._canonical = canonical
        self._hash = hashlib.sha256(canonical.encode()).hexdigest()[:12]

    @classmethod
    def from_canonical(cls, canonical: str, tricks: dict[str, dict[str, Value]]) -> Recipe:
        """The recipe whose `canonical()` is known, and `tricks` what that text says: a ledger of a hundred thousand recipes need not
        write each of them anew. Where keys are not sorted, the text is not the canonical one and is not used."""
        if list(tricks) != sorted(tricks) or any(list(each) != sorted(each) for each in tricks.values()):
            return cls(tricks)
        recipe = cls.__new__(cls)
        recipe._set(tricks, canonical)
        return recipe

    @classmethod
    def of(cls, catalogue: Catalogue, tricks: Mapping[str, Any]) -> Recipe:
        """Validate `tricks` against the catalogue and fill in defaults.

        A value is a table of settings, `true` for the defaults or `false` for off. A key may be a slot if the
        settings name the trick: `optimizer = {name = "adam", lr = 0.001}`, or an optimizer class that the catalogue
        has been given: `optimizer = {torch = "torch.optim.NAdam", lr = 0.001}`. Raises InputError, Conflict.
        """
        checked: dict[str, dict[str, Value]] = {}
        slots = {trick.slot for trick in catalogue.values() if trick.slot}
        for key, value in tricks.items():
            settings = {} if value is True else value
            if value is False:
                continue
            if isinstance(settings, Mapping) and TORCH in settings:
                settings = dict(settings)
                settings["name"] = torch_name(str(settings.pop(TORCH)))
            if isinstance(value, str) and key in slots:
                settings = {"name": value}
            if not isinstance(settings, Mapping):
                raise InputError(f"'{key}' must be a table of settings or true, not {value!r}")
            name = key
            if (key in slots and key not in catalogue) or ("name" in settings and key in slots):
                if "name" not in settings:
                    raise InputError(f"the slot '{key}' needs a name", hint=f'{key} = {{ name = "…" }}')
                settings = dict(settings)
                name = str(settings.pop("name"))
                if name in ("none", "baseline"):
                    continue
                members = [t.name for t in catalogue.values() if t.slot == key]
                if name not in members:
                    raise unknown(f"{key}", name, members)
            if name not in catalogue:
                raise unknown("trick", name, [*catalogue, *slots])
            if name in checked:
                raise InputError(f"'{name}' is set twice")
            trick = catalogue[name]
            for parameter in settings:
                trick.parameter(parameter)
            checked[name] = {
                parameter.name: parameter.check(
                    settings.get(parameter.name, parameter.default), f"{name}.{parameter.name}"
                )
                for parameter in trick.parameters
            }
        recipe = cls(checked)
        recipe.check(catalogue)
        return recipe

    def check(self, catalogue: Catalogue) -> None:
        """Raise Conflict if two tricks share a slot or are declared to conflict."""
        names = list(self)
        for i, name in enumerate(names):
            for other in names[i + 1 :]:
                if clash := conflict(catalogue[name], catalogue[other]):
                    raise Conflict(clash, hint="turn one of them off")

    def missing(self, catalogue: Catalogue) -> list[str]:
        """The tricks that `catalogue` lacks: a study's own ones that have been taken out of it."""
        return [name for name in self if name not in catalogue]

    def canonical(self) -> str:
        """The canonical JSON."""
        return self._canonical

    @property
    def tricks(self) -> Mapping[str, Settings]:
        """The mapping itself: looking up a trick in it calls no Python function, which counts with 100,000 recipes."""
        return self._tricks

    def to_dict(self) -> dict[str, dict[str, Value]]:
        """Trick -> its settings; a copy."""
        return {name: dict(settings) for name, settings in self._tricks.items()}

    @property
    def hash(self) -> str:
        """Hash of the canonical JSON."""
        return self._hash

    def slot(self, catalogue: Catalogue, slot: str) -> str | None:
        """The trick in `slot`, or None."""
        return next((name for name in self if catalogue[name].slot == slot), None)

    def with_trick(
        self, catalogue: Catalogue, name: str, settings: Mapping[str, Any] | None = None
    ) -> Recipe:
        """This recipe with the trick `name` (default settings unless given), which replaces any other trick of its slot."""
        trick = catalogue[name]
        others = {
            other: dict(self[other])
            for other in self
            if other != name and not (trick.slot and catalogue[other].slot == trick.slot)
        }
        return Recipe.of(catalogue, {**others, name: dict(settings or {})})

    def without(self, *names: str) -> Recipe:
        """This recipe without the tricks `names`."""
        return Recipe({name: settings for name, settings in self._tricks.items() if name not in names})

    def map(self, change: Callable[[str, dict[str, Value]], dict[str, Value]]) -> Recipe:
        """A recipe in which each trick's settings are `change(name, settings)`. Not validated."""
        return Recipe({name: change(name, dict(settings)) for name, settings in self._tricks.items()})

    def __getitem__(self, name: str) -> Settings:
        return self._tricks[name]

    def __contains__(self, name: object) -> bool:
        return name in self._tricks  # Mapping's own raises and catches a KeyError, which is slow

    def __iter__(self) -> Iterator[str]:
        return iter(self._tricks)

    def __len__(self) -> int:
        return len(self._tricks)

    def __hash__(self) -> int:
        return hash(self._hash)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.canonical() == other.canonical()

    def __repr__(self) -> str:
        return f"Recipe({self.canonical()})"

    def __reduce__(self) -> tuple[type[Recipe], tuple[dict[str, dict[str, Value]]]]:
        return Recipe, (self.to_dict(),)


def conflict(one: Trick, other: Trick) -> str:
    """Why the two tricks cannot be combined, or an empty string."""
    if one.slot and one.slot == other.slot:
        return f"'{one.name}' and '{other.name}' both fill the slot '{one.slot}'"
    for a, b in ((one, other), (other, one)):
        if b.name in a.conflicts or (b.slot and b.slot in a.conflicts):
            return f"'{a.name}' cannot be combined with '{b.name}'"
    return ""
