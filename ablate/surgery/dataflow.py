"""Which tensors of a forward pass were computed from which: finds residual additions in any style of code.

Every torch function that a forward pass calls is a numbered operation; the history of a tensor is the set of operations
that it was computed by, as the bits of an integer. An addition y = F(x) + x is residual where x is in the history of
F(x) and F holds a layer with weights. Where the shortcut is a projection (one linear layer or convolution of size 1, and
perhaps a norm), both operands have a common history, and F has two such layers or more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ablate.surgery.layer_calls import LayerCallMode
from ablate.surgery.layer_types import ACTIVATIONS, AFFINE, CONVOLUTIONS, DROPOUTS, NORMS
from ablate.surgery.readers import COMPUTING, tensors_of

ADDITIONS = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})
WEIGHTED = COMPUTING - {"layer_norm", "batch_norm", "group_norm", "instance_norm", "rms_norm"} | {
    "lstm",
    "gru",
}
"""Functions that a layer with a weight matrix or kernel calls."""
PRODUCTS = frozenset({"matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "einsum"})
"""Functions that multiply two activations as well, which no layer does."""
FUNCTIONS = {
    **dict.fromkeys(
        ("relu", "relu_", "gelu", "silu", "elu", "leaky_relu", "selu", "mish", "hardswish", "relu6", "softplus", "celu"),
        "activation",
    ),
    **dict.fromkeys(("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"), "norm"),
    **dict.fromkeys(
        ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"), "dropout"
    ),
}  # fmt: skip
"""Function -> the slot of the layer that does the same."""
LAYERS = (*ACTIVATIONS, *NORMS, *DROPOUTS)


@dataclass(frozen=True, slots=True)
class Addition:
    """A residual addition in the `forward` of the module `block`: its `index`-th of `of` additions of two tensors.

    `shortcut`: which operand is the block's input or its projection. `in_place`: the first operand is written to.
    """

    block: str
    index: int
    of: int
    shortcut: int
    in_place: bool


@dataclass
class _Call:
    """A module that is being called: how many tensors it has added so far, and which of these additions are residual."""

    path: str
    layer: nn.Module
    added: int = 0
    residual: list[tuple[int, int, bool]] = field(default_factory=list)


class Dataflow(LayerCallMode):
    """Records, during a forward pass of `module`, what each tensor was computed from. `ran`: path -> module that ran."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self._running: list[_Call] = []
        self._constants = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
        self._kept: list[Tensor] = []  # keeps the tensors alive, so that no id is used twice
        self._history: dict[int, int] = {}
        self._owners: list[tuple[str, ...]] = []
        self._weighted = 0
        self._narrow = 0
        self._inside = 0
        self._read = 0
        self._additions: dict[Addition, None] = {}
        self._functional: Counter[tuple[str, str]] = Counter()
        self.ran: dict[str, nn.Module] = {}
        self._by_hand: dict[str, str] = {}

    def additions(self) -> tuple[Addition, ...]:
        """The residual additions, in the order of their first execution."""
        return tuple(self._additions)

    def in_residual(self) -> frozenset[str]:
        """Paths of the modules that ran in a residual branch (or its projection), and of the modules that contain them there."""
        bits = self._inside
        return frozenset(
            path for number, paths in enumerate(self._owners) if bits >> number & 1 for path in paths
        )

    def ends(self, outputs: Any) -> frozenset[str]:
        """Paths of the affine and activation layers on the way to the model's `outputs` whose results no layer with weights reads."""
        bits = 0
        for tensor in tensors_of(outputs):
            bits |= self._history_of(tensor)
        bits &= ~self._read
        return frozenset(
            paths[-1]
            for number, paths in enumerate(self._owners)
            if bits >> number & 1 and paths and isinstance(self.ran[paths[-1]], (*AFFINE, *ACTIVATIONS))
        )

    def functional(self) -> Counter[tuple[str, str]]:
        """(slot, what) -> how often: functional norms, activations and dropouts, and hand-written norm modules."""
        return self._functional + Counter(("norm", kind) for kind in self._by_hand.values())

    def on_call(self, path: str, layer: nn.Module) -> None:
        self._running.append(_Call(path, layer))
        self.ran[path] = layer
        if "norm" in type(layer).__name__.lower() and _is_by_hand(layer):
            self._by_hand[path] = type(layer).__name__

    def on_return(self) -> None:
        call = self._running.pop()
        for index, shortcut, in_place in call.residual:
            self._additions[Addition(call.path, index, call.added, shortcut, in_place)] = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        inputs = list(tensors_of([args, kwargs or {}]))
        if name in ADDITIONS and self._running:
            self._add(name, inputs)
        result = func(*args, **(kwargs or {}))
        self._note(name, inputs, list(tensors_of(result)))
        return result

    def _history_of(self, tensor: Tensor) -> int:
        """The history of a tensor: none for the model's parameters and buffers, a new operation for an input seen for the first time."""
        if id(tensor) in self._constants:
            return 0
        if id(tensor) not in self._history:
            self._kept.append(tensor)
            self._history[id(tensor)] = 1 << len(self._owners)
            self._owners.append(())
        return self._history[id(tensor)]

    def _note(self, name: str, inputs: list[Tensor], results: list[Tensor]) -> None:
        history = 0
        for tensor in inputs:
            history |= self._history_of(tensor)
        number = len(self._owners)
        history |= 1 << number
        self._owners.append(tuple(call.path for call in self._running))
        if name in WEIGHTED:
            self._weighted |= 1 << number
            if name not in PRODUCTS or any(id(tensor) in self._constants for tensor in inputs):
                self._read |= history ^ 1 << number
            layer = self._running[-1].layer if self._running else None
            if isinstance(layer, nn.Linear) or (
                isinstance(layer, CONVOLUTIONS) and set(layer.kernel_size) == {1}
            ):
                self._narrow |= 1 << number
        if name in FUNCTIONS and self._running and not isinstance(self._running[-1].layer, LAYERS):
            call = self._running[-1]
            class_name = type(call.layer).__name__
            by_hand = self._by_hand.pop(call.path, None) if FUNCTIONS[name] == "norm" else None
            what = class_name if by_hand else f"F.{name.removesuffix('_')} in {class_name}"
            self._functional[FUNCTIONS[name], what] += 1
        for tensor in results or inputs[: name == "__setitem__"]:
            self._kept.append(tensor)
            self._history[id(tensor)] = history

    def _add(self, name: str, inputs: list[Tensor]) -> None:
        if len(inputs) != 2:
            return
        call = self._running[-1]
        # All sums of two tensors count, broadcast ones too: the trace of `forward`, in which they are found again, knows no shapes.
        index, call.added = call.added, call.added + 1
        if inputs[0].shape != inputs[1].shape or not inputs[0].is_floating_point():
            return
        histories = [self._history_of(tensor) for tensor in inputs]
        shortcut = self._shortcut(histories)
        if shortcut is None:
            return
        call.residual.append((index, shortcut, name in ("add_", "__iadd__")))
        self._inside |= histories[0] ^ histories[1]

    def _shortcut(self, histories: list[int]) -> int | None:
        """Which operand of an addition is the shortcut; None where the addition is not residual."""
        for index, other in ((0, 1), (1, 0)):
            mine, theirs = histories[index], histories[other]
            if mine and mine & ~theirs == 0 and theirs & ~mine & self._weighted:
                # Everything that one operand was computed by is in the history of the other: x + F(x), not F(x) + G(x).
                return index
        common = histories[0] & histories[1]
        for index, other in ((0, 1), (1, 0)):
            mine = histories[index] & ~common & self._weighted
            theirs = histories[other] & ~common & self._weighted
            if mine and mine & (mine - 1) == 0 and mine & self._narrow and theirs & (theirs - 1):
                return index
        return None


def _is_by_hand(layer: nn.Module) -> bool:
    from_torch = type(layer).__module__.startswith("torch.")  # a parametrization, perhaps
    return not from_torch and not isinstance(layer, NORMS) and not any(True for _ in layer.children())
