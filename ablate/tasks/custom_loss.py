"""A custom loss: a function `(outputs, targets)`, called like torch's losses, or `(outputs, batch)` with the pair (inputs, targets).

It gets one lane's batch in the form that the model returns and the data have, and returns a number for each example, `[B]`,
or the batch's mean. Lanes run together under `torch.vmap` if that gives the same bits as one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ablate.records.errors import InputError, unknown
from ablate.records.words import joined
from ablate.tasks.batch_loss import BatchForm, positional
from ablate.tasks.metric_table import CRITERIA, Criterion
from ablate.tasks.model_outputs import OutputForm, Outputs
from ablate.tasks.packing import Packing, Path
from ablate.tasks.split import Split
from ablate.tasks.user_code import UserCode

PROBED = 3
"""Number of lanes with which vmap is tested."""
FAILURES = (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError, LookupError, InputError)


def checked_loss(loss: Any) -> Callable[[Any, Any], Any] | None:
    """`loss`, checked. Raises InputError for a class, for parameters that nothing would train, for anything but a function."""
    if loss is None:
        return None
    if isinstance(loss, type):
        raise InputError(f"loss is the class {loss.__name__}", hint=f"give an object: loss={loss.__name__}()")
    if not callable(loss):
        raise InputError(
            f"loss must be a function (outputs, targets), not {loss!r}", hint="loss=torch.nn.HuberLoss()"
        )
    if isinstance(loss, nn.Module) and any(p.requires_grad for p in loss.parameters()):
        raise InputError(
            f"loss is a {type(loss).__name__} with trainable parameters, which nothing would train",
            hint="make it a part of the model, which then returns what it computes",
        )
    if (wanted := _arguments(loss)) > 2:
        raise InputError(
            f"loss takes {wanted} arguments, and is called with (outputs, targets)",
            hint="to get the inputs too, write it as loss(outputs, batch) with x, y = batch; give anything else as a part of y",
        )
    return loss  # type: ignore[no-any-return]


def _arguments(function: Any) -> int:
    """Number of arguments that a call must give by position; 0 where Python does not know."""
    return sum(one.default is one.empty for one in positional(function))


def criterion_of(given: str | None, loss: Callable[[Any, Any], Any] | None) -> Criterion:
    """The criterion: `given`, or by default classification, or "custom" with a loss. Raises InputError."""
    if given is None:
        return "classification" if loss is None else "custom"
    if given not in CRITERIA:
        raise unknown("criterion", str(given), CRITERIA)
    if given == "custom" and loss is None:
        raise InputError(
            'criterion="custom" needs a loss', hint="give loss=FUNCTION, called as loss(outputs, targets)"
        )
    return given


@dataclass(frozen=True)
class CustomLoss:
    """A user's loss on packed tensors.

    shape: of one example's outputs as the model returns them. outputs, targets: how they are packed; None if they are
    one tensor. others: the model's outputs beside the prediction, which the function does not get. prediction: the path of that one among
    `outputs`, from which the criterion's metrics are computed; None: from all. batch: how targets stand beside inputs, for
    a function that takes both; a `target` is then what `BatchForm.joined` returns.
    """

    function: Callable[[Any, Any], Any]
    shape: tuple[int, ...]
    outputs: Packing | None = None
    targets: Packing | None = None
    others: tuple[str, ...] = ()
    batch: BatchForm | None = None
    prediction: Path | None = None

    @classmethod
    def of(cls, function: Callable[[Any, Any], Any], form: OutputForm, train: Split) -> CustomLoss:
        """The loss of outputs of that form and of examples like those of `train`."""
        batch = BatchForm.of(function, train)
        return cls(
            function, form.shape, form.packing, train.target_packing, form.others, batch, form.prediction
        )

    def __call__(self, outputs: Tensor, target: Tensor) -> Tensor:
        """One lane: outputs `[B, …]`, target `[B, …]` -> `[B]`, or the mean `[]`. Raises InputError."""
        given, wanted = self.unpacked(outputs, target)
        if self.batch is not None:
            wanted = self.batch.unpack(target)[0], wanted
        with UserCode("the loss", hint=self._hint(given, wanted)):
            losses = self.function(given, wanted)
        if not isinstance(losses, Tensor):
            raise InputError(
                f"the loss returned a {type(losses).__name__}, which has no gradient",
                hint="return a tensor: a number for each example, [batch], or their mean",
            )
        if losses.ndim and tuple(losses.shape) != (len(outputs),):
            batch = f"{len(outputs)} examples"
            raise InputError(
                f"the loss returned shape {list(losses.shape)} for {batch}",
                hint="return a number for each example, [batch], or their mean; for instance end with .flatten(1).mean(1)",
            )
        return losses

    def mean(self, outputs: Tensor, target: Tensor) -> Tensor:
        """One lane's loss of a batch, `[]`."""
        return self(outputs, target).mean()

    def unpacked(self, outputs: Tensor, target: Tensor) -> tuple[Any, Any]:
        """One lane's (outputs, targets) in the user's form."""
        target = self.plain(target)
        shaped = (
            outputs.reshape(len(outputs), *self.shape)
            if self.outputs is None
            else _named(self.outputs.unpack(outputs))
        )
        return shaped, target if self.targets is None else self.targets.unpack(target)

    def predicted(self, outputs: Tensor) -> Tensor:
        """The prediction among packed outputs, `[…, *shape]`; `outputs` itself where it is all of them."""
        if self.prediction is None or self.outputs is None:
            return outputs
        return self.outputs.part(self.prediction, outputs)

    def plain(self, target: Tensor) -> Tensor:
        """The targets alone, `[…, *shape]`."""
        return target if self.batch is None else self.batch.targets(target)

    def of_lanes(self, outputs: Tensor, target: Tensor, *, together: bool) -> Tensor:
        """`[K, B, …]`, `[K, B, …]` -> `[K, B]` or `[K]`. `together`: by vmap."""
        if together:
            return torch.vmap(self)(outputs, target)
        return torch.stack([self(*lane) for lane in zip(outputs, target, strict=True)])

    def vmaps(self, target: Tensor) -> bool:
        """Whether vmap gives the same bits as lanes one after the other. `target`: of a batch `[B, …]`."""
        generator = torch.Generator().manual_seed(0)
        width = self.shape if self.outputs is None else (self.outputs.width,)
        outputs = torch.randn(PROBED, len(target), *width, generator=generator)
        targets = torch.stack([target.roll(lane, 0) for lane in range(PROBED)])
        try:
            results = [self._with_gradient(outputs, targets, together=together) for together in (True, False)]
        except FAILURES:
            return False
        return all(torch.equal(a, b) for a, b in zip(*results, strict=True))

    def _with_gradient(self, outputs: Tensor, targets: Tensor, *, together: bool) -> tuple[Tensor, Tensor]:
        leaf = outputs.clone().requires_grad_()
        with torch.enable_grad():
            losses = self.of_lanes(leaf, targets, together=together)
        (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        return losses.detach(), gradient

    def _hint(self, outputs: Any, target: Any) -> str:
        second = f"targets {described(target)}"
        if self.batch is not None:
            second = f"the batch of inputs {described(target[0])} and targets {described(target[1])}"
        called = f"it was called with outputs {described(outputs)} and {second}"
        if not self.others:
            return called
        return (
            f"{called}: the model's prediction alone, without {joined([repr(name) for name in self.others])}"
        )


def _named(values: Any) -> Any:
    """A dict of outputs with its entries as attributes too."""
    return Outputs(values) if isinstance(values, dict) else values


def described(values: Any) -> str:
    """Types and shapes of a tensor or of nested ones."""
    if isinstance(values, Tensor):
        return f"{str(values.dtype).removeprefix('torch.')} {list(values.shape)}"
    if isinstance(values, dict):
        return ", ".join(f"{key!r} {described(value)}" for key, value in values.items())
    return ", ".join(described(value) for value in values)
