"""The parameters of K lanes: one flat `[K, P]` matrix, and named `[K, *shape]` views of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor

Role = Literal["weight", "bias", "norm", "embedding", "other"]
ALIGN = 16
"""The offset of each tensor in the flat matrix is a multiple of this many numbers, so that every element is
processed by the vectorised path of an elementwise kernel for any K: the scalar path for the tail
of an array may round differently."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One parameter of one lane. `head`: belongs to the last affine layer."""

    name: str
    shape: tuple[int, ...]
    role: Role = "other"
    head: bool = False

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


class Layout:
    """The offset of each parameter in the flat matrix."""

    def __init__(self, specs: list[Spec]) -> None:
        self.specs = {spec.name: spec for spec in specs}
        self.offsets: dict[str, int] = {}
        width = 0
        for spec in specs:
            self.offsets[spec.name] = width
            width += -(-spec.size // ALIGN) * ALIGN
        self.width = width
        self._strides = {spec.name: torch.empty(spec.shape, device="meta").stride() for spec in specs}

    def pack(self, tensors: Mapping[str, Tensor], lanes: int) -> Tensor:
        """`[K, *shape]` tensors by name -> flat `[K, P]`; no copy if they already are its columns. A missing name gives zeros."""
        if (whole := self._whole(tensors, lanes)) is not None:
            return whole
        zeros = next(iter(tensors.values())).new_zeros(lanes, ALIGN)
        parts = []
        for name, spec in self.specs.items():
            padding = -spec.size % ALIGN
            tensor = tensors.get(name)
            if tensor is None:
                parts.append(zeros.new_zeros(lanes, spec.size + padding))
                continue
            parts.append(tensor.reshape(lanes, spec.size))
            if padding:
                parts.append(zeros[:, :padding])
        return torch.cat(parts, dim=1)

    def _whole(self, tensors: Mapping[str, Tensor], lanes: int) -> Tensor | None:
        """The matrix whose columns the tensors are, or None if they are not all columns of one at their offsets."""
        if len(tensors) < len(self.specs):
            return None
        first = next(iter(tensors.values()))
        storage = first.untyped_storage()
        if storage.nbytes() != lanes * self.width * first.element_size():
            return None
        for name, tensor in tensors.items():
            inner = tensor.stride()[1:]
            aligned = tensor.storage_offset() == self.offsets[name] and tensor.stride(0) == self.width
            if (
                not aligned
                or inner != self._strides[name]
                or tensor.untyped_storage().data_ptr() != storage.data_ptr()
            ):
                return None
        return first.as_strided((lanes, self.width), (self.width, 1), 0)


class LaneTensors(Mapping[str, Tensor]):
    """Name -> `[K, *shape]` view; `.flat` is the whole matrix `[K, P]`, for elementwise rules.

    Padding between tensors is zero and stays zero under any rule that maps (w=0, g=0) to 0.
    """

    def __init__(self, layout: Layout, flat: Tensor) -> None:
        self.layout = layout
        self.flat = flat

    def __getitem__(self, name: str) -> Tensor:
        spec, start = self.layout.specs[name], self.layout.offsets[name]
        return self.flat[:, start : start + spec.size].view(self.lanes, *spec.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.specs)

    def __len__(self) -> int:
        return len(self.layout.specs)

    @property
    def lanes(self) -> int:
        """K, the number of lanes."""
        return self.flat.shape[0]

    def spec(self, name: str) -> Spec:
        """The spec of a tensor."""
        return self.layout.specs[name]

    def like(self, flat: Tensor) -> LaneTensors:
        """Tensors of this layout on another flat matrix `[K, P]`."""
        return LaneTensors(self.layout, flat)

    def take(self, lanes: Tensor) -> LaneTensors:
        """The lanes at the positions `lanes` (int64), copied."""
        return self.like(self.flat.index_select(0, lanes))

    def to(self, device: torch.device) -> LaneTensors:
        """These tensors on another device."""
        return self.like(self.flat.to(device))

    def map(self, change: Callable[[Spec, Tensor], Tensor]) -> LaneTensors:
        """New tensors, each `change(spec, tensor)`, of the same shapes."""
        changed = {name: change(self.spec(name), tensor) for name, tensor in self.items()}
        return self.like(self.layout.pack(changed, self.lanes))

    def norm(self) -> Tensor:
        """Global L2 norm of each lane, `[K]`.

        Squares are summed in blocks of `ALIGN`, each within one tensor, and the blocks in sequence, so that
        tensors that a lane does not use (zeros) do not change the rounding: the norm of a lane is bit for bit the same
        alone and in any group. On a GPU, where bits may differ, blocks are summed in any order.
        """
        blocks = self.flat.square().reshape(self.lanes, -1, ALIGN).sum(dim=2)
        if blocks.device.type != "cpu":
            return blocks.sum(dim=1).sqrt()
        return blocks.cumsum(dim=1)[:, -1].sqrt()
