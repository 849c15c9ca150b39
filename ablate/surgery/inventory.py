"""The parts of a model that tricks add, change or remove: norms, activations, dropout, residual additions, weight norms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ablate.surgery.attention_dropout import attention_dropouts
from ablate.surgery.functional_activations import hidden_functions
from ablate.surgery.layer_types import slot_of
from ablate.surgery.observe import Observed
from ablate.surgery.weight_norms import weight_norms

SLOTS = ("norm", "dropout", "activation")
ATTENTION = "attention dropout"
"""What the dropout of attention weights is called, which is no layer of its own."""


@dataclass(frozen=True)
class Inventory:
    """`layers`, `out_of_reach`: slot -> what -> how many; the latter run, but surgery cannot change them (`Observed`).

    `residual`: residual additions; `weight_norms`: "weight_norm" or "spectral_norm" -> how many weights have one.
    """

    layers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    out_of_reach: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    residual: int = 0
    weight_norms: Mapping[str, int] = field(default_factory=dict)

    def text(self) -> str:
        """ "9 BatchNorm2d, 1 Dropout, 7 ReLU, 3 residual additions; out of reach: 2 F.relu in Block"."""
        parts = [_listed(self.layers.get(slot, {})) for slot in SLOTS]
        if self.residual:
            parts.append(f"{self.residual} residual addition{'s' if self.residual > 1 else ''}")
        parts.append(_listed(self.weight_norms))
        missed = ", ".join(filter(None, (_listed(self.out_of_reach.get(slot, {})) for slot in SLOTS)))
        text = ", ".join(filter(None, parts)) or "no norm, dropout, activation or residual addition"
        return text + (f"; out of reach: {missed}" if missed else "")

    def to_json(self) -> dict[str, Any]:
        return {
            "layers": {slot: dict(kinds) for slot, kinds in self.layers.items()},
            "out_of_reach": {slot: dict(kinds) for slot, kinds in self.out_of_reach.items()},
            "residual_additions": self.residual,
            "weight_norms": dict(self.weight_norms),
            "text": self.text(),
        }


def inventory(module: nn.Module, observed: Observed) -> Inventory:
    """The inventory of a module before any surgery. `observed`: of one forward pass."""
    layers = Counter((slot_of(info.kind), info.kind.__name__) for info in observed.layer_infos)
    if attention := len(attention_dropouts(module)):
        layers["dropout", ATTENTION] = attention
    functions = hidden_functions(module, observed, observed.heads)
    called = Counter({("activation", what): number for what, number in functions.items()})
    return Inventory(
        _by_slot(layers + called),
        _by_slot(Counter(observed.out_of_reach) - called),
        len(observed.additions),
        Counter(kind for kind, _ in weight_norms(module)),
    )


def _by_slot(counts: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    by_slot: dict[str, dict[str, int]] = {}
    for (slot, what), number in counts.items():
        if slot:
            by_slot.setdefault(slot, {})[what] = number
    return by_slot


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in counts.items())
