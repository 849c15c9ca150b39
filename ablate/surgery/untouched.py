"""What tricks leave unchanged in a model, in words: how many layers of which kind, why, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ablate.surgery.layer_types import ACTIVATIONS, DROPOUTS, NORMS

ALREADY, OUT_OF_REACH = "already", "out of reach"
"""Why a trick leaves a layer unchanged: it is already of the trick's kind, or surgery cannot reach it."""
NOUNS = ("residual addition", "norm place", "layer")
"""What is counted besides layers, which go by the name of their class."""


def listed(left: Mapping[tuple[str, str], int]) -> str:
    """ "9 BatchNorm2d already, 1 residual addition in Block out of reach": (what, why) -> how many."""
    return ", ".join(f"{number} {_plural(what, number)} {why}" for (what, why), number in left.items())


def advised(left: Mapping[tuple[str, str], int]) -> str:
    """`listed`, and the modules to write in place of functions: "1 F.dropout in Net out of reach: use nn.Dropout instead"."""
    modules = modules_for(what for what, why in left if why == OUT_OF_REACH)
    return listed(left) + (f": use {modules} instead of a function" if modules else "")


def modules_for(calls: Iterable[str]) -> str:
    """The torch modules that do what functions do: "F.dropout in Net" -> "nn.Dropout". Empty where there are none."""
    names = dict.fromkeys(
        f"nn.{kind.__name__}"
        for call in calls
        if call.startswith("F.")
        for kind in (*ACTIVATIONS, *NORMS, *DROPOUTS)
        if _does(kind.__name__, call.removeprefix("F.").partition(" ")[0])
    )
    return " or ".join(names)


def _does(module: str, function: str) -> bool:
    """Whether a module's name is that of a function: LeakyReLU and leaky_relu, BatchNorm2d and batch_norm."""
    name, wanted = module.lower(), function.replace("_", "")
    return name == wanted or (wanted.endswith("norm") and name[:-2] == wanted)


def _plural(what: str, number: int) -> str:
    noun = next((noun for noun in NOUNS if what == noun or what.startswith(f"{noun} ")), "")
    return f"{noun}s{what.removeprefix(noun)}" if noun and number != 1 else what
