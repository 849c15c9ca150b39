"""Which tricks apply to a task and its model, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterable

from ablate.lanes.build import build_net
from ablate.lanes.context import TaskContext
from ablate.records.errors import NotApplicable
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.records.trick import Trick
from ablate.surgery.net import provides
from ablate.tasks.requirements import lacking

WORDS = {
    "convolution": "the model has no convolution",
    "normalisable": "the model has no hidden layer to normalise after",
    "activation": "the model has no activation modules (functional activations cannot be swapped)",
    "embedding": "the model has no embedding layer",
    "shape-preserving block": "no hidden layer keeps the shape of its input",
    "spatial model": "the model has no feature maps",
    "classification": "the task is no classification",
    "regression": "the task is no regression",
    "image": "the inputs are no images",
    "tabular": "the inputs are no table",
    "text": "the inputs are no text",
    "mixable": "the targets have no means",
    "continuous": "the inputs are no real numbers (token ids cannot be mixed or perturbed)",
}


def applicable(context: TaskContext, tricks: Iterable[str] | None = None) -> dict[str, str]:
    """Trick -> "" where it applies, else the reason why it does not.

    A model trick is tried on a fresh model: what matches nothing is not applicable.
    """
    catalogue = context.catalogue
    example = context.task.train.x[:2]
    net = build_net(context.task.model, Run("", Recipe({}), 0, 1), catalogue, example, (), context.places)
    words = context.task.provides | provides(net)
    return {name: reason(context, catalogue[name], words) for name in tricks or catalogue}


def reason(context: TaskContext, trick: Trick, words: frozenset[str]) -> str:
    """Why `trick` does not apply where the task and model provide `words`; empty where it does."""
    missing = [need for need in trick.applies_to if need not in words]
    if missing:
        return lacking(context.task).get(missing[0], WORDS[missing[0]])
    if trick.seam not in ("model", "precision"):
        return ""
    run = Run("", Recipe({trick.name: trick.defaults}), 0, 1)
    try:
        build_net(
            context.task.model,
            run,
            context.catalogue,
            context.task.train.x[:2],
            (trick.name,),
            context.places,
        )
    except NotApplicable as error:
        return error.message
    return ""
