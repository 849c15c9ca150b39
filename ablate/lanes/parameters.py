"""What gradients are taken with respect to: the weights, stacked `[K, …]` or each lane's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ablate.seams.tensors import ALIGN, LaneTensors

Weights = Mapping[str, Tensor]


class LaneParameters(Mapping[str, Tensor]):
    """Name -> `[K, *shape]`, views of the flat matrix that follow its changes.

    `per_lane`: for a kernel that runs one lane after another, each lane's own tensors as leaves of their own,
    which spares taking the stack apart in the forward pass and putting it together in the backward pass. `own` says
    which names each lane has.
    """

    def __init__(self, weights: LaneTensors, own: Sequence[Sequence[str]] | None = None) -> None:
        self.weights = weights
        self._stacked = {name: leaf(tensor) for name, tensor in weights.items()}
        self.per_lane: list[dict[str, Tensor]] = []
        for lane, names in enumerate(own or ()):
            self.per_lane.append({name: leaf(weights[name][lane]) for name in names})
        self._zeros = torch.zeros(weights.layout.width, device=weights.flat.device)

    def __getitem__(self, name: str) -> Tensor:
        return self._stacked[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stacked)

    def __len__(self) -> int:
        return len(self._stacked)

    def gradients(self, total: Tensor, *, stacked: bool = True) -> LaneTensors:
        """d total / d weights, zero where the total does not reach. `stacked`: some may come by the stacked
        leaves too (a penalty on the weights, an objective that calls the model with them)."""
        weights = self.weights
        own = [tensor for lane in self.per_lane for tensor in lane.values()]
        asked = [*own, *self._stacked.values()] if stacked or not own else own
        found = torch.autograd.grad(total, asked, allow_unused=True)
        with torch.no_grad():
            flat = self._rows(found[: len(own)]) if own else None
            rest = found[len(own) :]
            if any(gradient is not None for gradient in rest) or flat is None:
                named = {n: g for n, g in zip(self._stacked, rest, strict=True) if g is not None}
                more = weights.layout.pack(named, weights.lanes) if named else torch.zeros_like(weights.flat)
                flat = more if flat is None else flat.add_(more)
            return weights.like(flat)

    def _rows(self, found: Sequence[Tensor | None]) -> Tensor:
        """Gradients of the lanes' own leaves as a flat `[K, P]`."""
        parts: list[Tensor] = []
        gradients = iter(found)
        layout = self.weights.layout
        for lane in self.per_lane:
            given = dict(zip(lane, gradients, strict=False))
            missing = 0  # so many zeros come before the next gradient
            for name, spec in layout.specs.items():
                gradient = given.get(name)
                if gradient is None:
                    missing += -(-spec.size // ALIGN) * ALIGN
                    continue
                if missing:
                    parts.append(self._zeros[:missing])
                parts.append(gradient.reshape(-1))
                missing = -spec.size % ALIGN
            if missing:
                parts.append(self._zeros[:missing])
        return torch.cat(parts).view(len(self.per_lane), layout.width)


def leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()
