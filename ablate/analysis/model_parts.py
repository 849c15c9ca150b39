"""What a model already holds is the reference of the tricks that change it: the level "as it is"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablate.records.designs import TUNED
from ablate.records.document import Document
from ablate.records.study_rank import NONE
from ablate.records.trick import Trick

AS_IT_IS = "as it is"
WITHOUT_IT = "without it"
"""What the arm of a trick is compared with where nothing takes the trick's place."""
OWN = {
    "activation": "activation",
    "dropout": "dropout",
    "dropout layer": "dropout",
    "norm": "norm",
    "norm layer": "norm",
    "residual addition": "residual",
    "weight normalisation": "weight norm",
}
"""A trick's name, slot or requirement -> the part of the model that it changes."""


def held_parts(surgery: Mapping[str, Any]) -> frozenset[str]:
    """The parts (values of OWN) that the model holds. `surgery`: the ledger's fact of that name."""
    inventory = surgery.get("held") or {}
    parts = {slot for slot, layers in (inventory.get("layers") or {}).items() if layers}
    parts |= {"residual"} if inventory.get("residual_additions") else set()
    parts |= {"weight norm"} if inventory.get("weight_norms") else set()
    return frozenset(parts)


def acts_on_own(trick: Trick | None, parts: frozenset[str]) -> bool:
    """Whether a trick replaces or removes what the model holds."""
    if trick is None:
        return False
    return any(OWN.get(word) in parts for word in (trick.name, trick.slot or "", *trick.applies_to))


def with_references(
    declared: Mapping[str, Any], surgery: Mapping[str, Any], records: Mapping[str, Trick]
) -> Document:
    """The fact of a rank stage with its reference levels called "as it is" where the model holds something of the kind.

    Of tuned arms: what the arm is compared with. Of arrays: the empty level of a slot.
    """
    parts = held_parts(surgery)
    fact = dict(declared)
    if fact.get("kind") == TUNED and fact.get("rows"):  # the first effects exist after a look
        fact["rows"] = [
            {**row, "against": f"the model {AS_IT_IS}"}
            if row["against"] in ("", WITHOUT_IT) and acts_on_own(records.get(row["trick"]), parts)
            else row
            for row in fact["rows"]
        ]
    return fact


def level_name(home: str, level: str, surgery: Mapping[str, Any]) -> str:
    """The name of a slot's level: "as it is" for the empty slot of a model that has layers of its own there."""
    return AS_IT_IS if level == NONE and home in held_parts(surgery) else level


def surgery_facts(surgery: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the model holds and which of it each trick touches, as (name, text)."""
    text = (surgery.get("held") or {}).get("text", "")
    touched = [
        f"{name} {scope['text']}" for name, scope in (surgery.get("tricks") or {}).items() if scope["text"]
    ]
    return [(f"The model {AS_IT_IS}", text), ("Layers that tricks touch", "; ".join(touched))]


def surgery_line(surgery: Mapping[str, Any]) -> str:
    """The same for the terminal, with the tricks that leave some layers out: "the model has 1 BatchNorm2d; activation touches 1 of 7"."""
    partly = [
        f"{name} touches {scope['text'].partition(' (')[0]}"
        for name, scope in (surgery.get("tricks") or {}).items()
        if scope["left"]
    ]
    return f"the model has {(surgery.get('held') or {}).get('text', '')}" + "".join(
        f"; {text}" for text in partly
    )
