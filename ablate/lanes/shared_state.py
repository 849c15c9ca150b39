"""What runs share: two models of one factory, and the loss. A run would begin where another has ended."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ablate.lanes.python_state import Snapshot, changed, outside
from ablate.lanes.side_effects import SideEffects, run_both_modes, snapshot
from ablate.records.errors import InputError
from ablate.tasks.user_code import repeatable


def check_nothing_shared(one: nn.Module, other: nn.Module, x: Tensor, effects: SideEffects) -> None:
    """Run `one`, not for the first time, on `x` `[B, …]`. `effects`: those of `one`. Raises InputError if the models share what training changes: a
    parameter to train, or a buffer, an object or a global variable that is another in `other` afterwards.

    Frozen layers (a large pretrained body) may be shared.
    """
    parameters = {id(parameter) for parameter in one.parameters()}
    names = [name for name, own in other.named_parameters() if own.requires_grad and id(own) in parameters]
    before, around = _state(other), outside(other, logs=False) if effects.outside else {}
    with repeatable():
        run_both_modes(one, x)
    names += changed(before, _state(other), possibly=False)
    if names:
        raise InputError(
            f"the models that the task makes share '{names[0]}', so state would leak from one run to the next",
            hint="make all of the model anew at each call of the factory; frozen layers may be shared",
        )
    if effects.outside and (names := changed(around, outside(other, logs=False), possibly=False)):
        raise InputError(
            f"the model's code changes {names[0]}, outside of the model, so state would leak from one run to the next",
            hint="keep it in a buffer or an attribute of the model",
        )


def check_loss(loss: object, evaluate: Callable[[], object]) -> None:
    """Raise InputError if a user's `loss` keeps state, as a schedule or a running centre: all runs would share it.

    `evaluate` calls it.
    """
    holder = nn.Module()
    setattr(holder, "loss", loss)  # noqa: B010 - it may be a module, or a function
    with repeatable():
        evaluate()  # which may fill a cache
        before = _state(holder) | outside(holder, logs=False)
        evaluate()
    if names := changed(before, _state(holder) | outside(holder, logs=False), possibly=False):
        raise InputError(
            f"the loss changes {names[0]} at each call, which all runs would share",
            hint="compute it from outputs and targets alone, and keep what changes in the model",
        )


def _state(module: nn.Module) -> Snapshot:
    return snapshot(module) | {name: (own, own._version) for name, own in module.named_buffers()}
