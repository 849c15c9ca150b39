"""The leaves of the gradients: the weights, stacked `[K, …]` or as each lane's own parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ablate.seams.tensors import ALIGN, LaneTensors

Weights = Mapping[str, Tensor]
Absent = Sequence[frozenset[str]] | None
"""Per lane, the parameters without a gradient (`grad is None` in torch); None if every parameter has one."""


class LaneParameters(Mapping[str, Tensor]):
    """Name -> `[K, *shape]`, views of the flat matrix that follow its changes.

    `per_lane`: for a kernel that runs one lane after another, each lane's own `nn.Parameter`s by common name, views of its
    row, which avoids unstacking in the forward pass and stacking in the backward pass.
    `frozen`: parameters that do not require a gradient; the lanes' own parameters have `requires_grad` themselves.
    `accumulate`: take gradients by `backward()` and `.grad`, as a plain loop does. Hooks on accumulation and reentrant
    checkpointing run only there; it costs a little more than `torch.autograd.grad`.
    """

    def __init__(
        self,
        weights: LaneTensors,
        per_lane: Sequence[Mapping[str, Tensor]] = (),
        frozen: frozenset[str] = frozenset(),
        *,
        accumulate: bool = False,
    ) -> None:
        self.weights = weights
        self.frozen = frozen
        self._stacked = {
            name: tensor.detach().requires_grad_(name not in frozen) for name, tensor in weights.items()
        }
        self.per_lane = list(per_lane)
        self.accumulate = accumulate
        self._zeros = torch.zeros(weights.layout.width, device=weights.flat.device)

    def __getitem__(self, name: str) -> Tensor:
        return self._stacked[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stacked)

    def __len__(self) -> int:
        return len(self._stacked)

    def gradients(self, total: Tensor, *, stacked: bool = True) -> tuple[LaneTensors, Absent]:
        """(d total / d weights, with zeros for absent gradients; which gradients are absent).

        `stacked`: gradients may also come through the stacked leaves (a penalty on the weights, an objective that calls the model
        with them). Raises RuntimeError if the total depends on no parameter, as `backward` does.
        """
        weights = self.weights
        leaves = [tensor for lane in self.per_lane for tensor in lane.values() if tensor.requires_grad]
        named = {name: tensor for name, tensor in self._stacked.items() if tensor.requires_grad}
        inputs = [*leaves, *named.values()] if stacked or not self.per_lane else leaves
        gradients = (
            accumulated(total, inputs)
            if self.accumulate
            else torch.autograd.grad(total, inputs, allow_unused=True)
        )
        with torch.no_grad():
            rest = {n: g for n, g in zip(named, gradients[len(leaves) :], strict=False) if g is not None}
            flat = self._rows(gradients[: len(leaves)]) if self.per_lane else None
            if rest or flat is None:
                more = weights.layout.pack(rest, weights.lanes) if rest else torch.zeros_like(weights.flat)
                flat = more if flat is None else flat.add_(more)
            return weights.like(flat), self._absent(gradients[: len(leaves)], rest)

    def _absent(self, per_lane: Sequence[Tensor | None], stacked: Weights) -> Absent:
        if not self.per_lane:
            missing = frozenset(self._stacked.keys() - stacked.keys())
            return [missing] * self.weights.lanes if missing else None
        gradients = iter(per_lane)
        by_lane = [
            frozenset(
                name
                for name, tensor in lane.items()
                if (not tensor.requires_grad or next(gradients) is None) and name not in stacked
            )
            for lane in self.per_lane
        ]
        return by_lane if any(by_lane) else None

    def _rows(self, per_lane: Sequence[Tensor | None]) -> Tensor:
        """Gradients of the lanes' own leaves as a flat `[K, P]`."""
        parts: list[Tensor] = []
        gradients = iter(per_lane)
        layout = self.weights.layout
        for lane in self.per_lane:
            given = {name: next(gradients) for name, tensor in lane.items() if tensor.requires_grad}
            missing = 0  # zeros to insert before the next gradient
            for name, spec in layout.specs.items():
                gradient = given.get(name)
                if gradient is None:
                    missing += -(-spec.size // ALIGN) * ALIGN
                    continue
                if missing:
                    parts.append(self._zeros[:missing])
                dense = gradient.to_dense() if gradient.is_sparse else gradient
                parts.append(dense.reshape(-1))
                missing = -spec.size % ALIGN
            if missing:
                parts.append(self._zeros[:missing])
        return torch.cat(parts).view(len(self.per_lane), layout.width)


def accumulated(total: Tensor, leaves: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradients that `total.backward()` leaves in `.grad`, which is reset."""
    torch.autograd.backward(total)
    gradients = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    return gradients
