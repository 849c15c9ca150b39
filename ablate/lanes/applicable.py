"""Which tricks apply to a task and its model, what they change in it, and why the others do not apply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ablate.lanes.build import build_net, nothing_to_act_on
from ablate.lanes.context import TaskContext
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.records.trick import Trick, Value
from ablate.surgery.net import Net
from ablate.surgery.provides import provides
from ablate.surgery.untouched import advised, listed

WORDS = {
    "convolution": "the model has no convolution",
    "normalisable": "the model has no hidden layer to normalise after",
    "activation": "the model has no activation modules (functional activations cannot be swapped)",
    "embedding": "the model has no embedding layer",
    "shape-preserving block": "no hidden layer outside residual blocks keeps the shape of its input",
    "block to pass over": "the model has no residual addition, and no hidden layer keeps the shape of its input",
    "spatial model": "the model has no feature maps",
    "norm layer": "the model has no norm layers",
    "dropout layer": "the model has no dropout layers that drop anything",
    "residual addition": "the model has no residual additions",
    "weight normalisation": "the model has no weight_norm or spectral_norm",
    "upsampling": "the model has no nn.Upsample layers",
    "subsampling": "the model has no nn.MaxPool2d layers with a stride",
    "imbalanced classes": "the task has no classes of different sizes",
    "detection": "the task has no boxes",
    "adversarial": "the task has no generator and critic",
    "classification": "the task is not a classification",
    "regression": "the task is not a regression",
    "image": "the inputs are not images",
    "tabular": "the inputs are not a table",
    "text": "the inputs are not text",
    "mixable": "the targets have no means",
    "any order": "the training examples come in an order of their own",
    "continuous": "the inputs are not real numbers (token ids cannot be mixed or perturbed)",
}
SLOTS = {"activation": "activation", "norm layer": "norm", "dropout layer": "dropout"}
"""Word of `REQUIREMENTS` -> the slot of the layers (and functions) that it means."""


@dataclass(frozen=True)
class Scope:
    """What a trick changes in a model. `why_not`: why it does not apply; empty if it does.

    `touched`: number of layers it changes; `left`: (what, why) -> number that it could have changed and does not.
    `redundant`: parameter -> values that leave this model unchanged.
    """

    why_not: str = ""
    touched: int = 0
    left: Mapping[tuple[str, str], int] = field(default_factory=dict)
    redundant: Mapping[str, list[Value]] = field(default_factory=dict)

    def text(self) -> str:
        """ "3 of 7 (left: 4 GELU already)"; empty for a trick that changes no model."""
        if not self.touched:
            return ""
        whole = self.touched + sum(self.left.values())
        return f"{self.touched} of {whole}" + (f" (left: {listed(self.left)})" if self.left else "")

    def to_json(self) -> dict[str, Any]:
        return {
            "touched": self.touched,
            "left": [[what, why, number] for (what, why), number in self.left.items()],
            "text": self.text(),
        }


def scopes(context: TaskContext, tricks: Iterable[str] | None = None) -> dict[str, Scope]:
    """What each trick changes. A model trick is tried on a fresh model; one that matches nothing is not applicable."""
    catalogue = context.catalogue
    net = _built(context, Recipe({}), ())
    words = context.task.provides | provides(net)
    return {name: scope_of(context, catalogue[name], words, net) for name in tricks or catalogue}


def applicable(context: TaskContext, tricks: Iterable[str] | None = None) -> dict[str, str]:
    """Trick -> "" if it applies, else the reason why it does not."""
    return {name: scope.why_not for name, scope in scopes(context, tricks).items()}


def scope_of(context: TaskContext, trick: Trick, words: frozenset[str], net: Net) -> Scope:
    """What `trick` changes where the task and the model `net`, without tricks, provide `words`."""
    missing = [need for need in trick.applies_to if need not in words]
    if missing:
        return Scope(context.task.lacking.get(missing[0], "") or _lacking(net, missing[0]))
    name = trick.name
    if not hasattr(context.catalogue.code(name), "model"):
        return Scope()
    net = _built(context, Recipe({name: trick.defaults}), (name,))
    redundant = net.redundant.get(name, {})
    touched = net.touched.get(name, 0)
    if not touched and redundant:  # the model already has the default; another setting may change it
        settings = trick.without_values(redundant).defaults
        net = _built(context, Recipe({name: settings}), (name,))
        touched = net.touched.get(name, 0)
    return Scope("" if touched else nothing_to_act_on(net, name), touched, net.left.get(name, {}), redundant)


def _lacking(net: Net, word: str) -> str:
    """Why the model does not provide `word` of `REQUIREMENTS`: it has nothing of the kind, or none that surgery reaches."""
    beyond = net.observed.out_of_reach_of(SLOTS.get(word, ""))
    if beyond:
        return f"the model has {advised(beyond)}"
    recurrent = {
        type(layer).__name__
        for layer in net.module.modules()
        if isinstance(layer, nn.RNNBase) and layer.dropout > 0
    }
    if word == "dropout layer" and recurrent:
        return f"the model's dropout is inside {' and '.join(sorted(recurrent))}, where no trick changes it"
    return WORDS[word]


def _built(context: TaskContext, recipe: Recipe, names: tuple[str, ...]) -> Net:
    task = context.task
    run = Run("", recipe, 0, 1)
    return build_net(
        task.model, run, context.catalogue, task.train.x[:2], names, context.observed, strict=False
    )


def touched(scopes: Mapping[str, Scope]) -> dict[str, dict[str, Any]]:
    """What the tricks change in the model, as JSON; without those that change nothing."""
    return {name: scope.to_json() for name, scope in scopes.items() if scope.touched}


def narrowed(context: TaskContext, scopes: Mapping[str, Scope]) -> TaskContext:
    """The context with a catalogue without the settings that leave its model unchanged."""
    return context.with_catalogue(
        context.catalogue.without_values({name: scope.redundant for name, scope in scopes.items()})
    )
