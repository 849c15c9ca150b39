"""An optimizer's lanes and parameters in parts that are updated together, as torch.optim does parameter by parameter.

A parameter without a gradient in a step (frozen, or not reached by the loss) is skipped by its optimizer: no update, no
decay, and its state, step counts included, is unchanged. As long as every parameter has a gradient in every step there is
one part per kind of optimizer. The first step in which only some parameters have a gradient divides it and its state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ablate.seams.tensors import ALIGN, LaneTensors, Layout

State = dict[str, Tensor]


@dataclass
class Part:
    """One kind of optimizer, the lanes that use it (int64 `[k]`), and its state (`[k, …]` tensors).

    `columns`: the parameters that it updates; None: all. `missed` int64 `[k]`: the steps in which they had no gradient;
    None: none.
    """

    name: str
    lanes: Tensor
    state: State
    columns: tuple[str, ...] | None = None
    missed: Tensor | None = None

    def take(self, rows: Tensor, lanes: Tensor) -> Part:
        """The rows `rows` (int64) of this part, renumbered as the lanes `lanes`."""
        missed = None if self.missed is None else self.missed[rows]
        return Part(self.name, lanes, {name: t[rows] for name, t in self.state.items()}, self.columns, missed)

    def joined(self, other: Part, offset: int) -> Part:
        """This part joined with one of the same kind and parameters, whose lanes are numbered from `offset`."""
        state = {name: torch.cat([tensor, other.state[name]]) for name, tensor in self.state.items()}
        missed = None
        if self.missed is not None or other.missed is not None:
            counts = [
                part.lanes.new_zeros(len(part.lanes)) if part.missed is None else part.missed
                for part in (self, other)
            ]
            missed = torch.cat(counts)
        lanes = torch.cat([self.lanes, other.lanes + offset])
        return Part(self.name, lanes, state, self.columns, missed)

    def of(self, columns: Sequence[str], layout: Layout) -> Part:
        """A copy for the parameters `columns` only."""
        present = self.columns or tuple(layout.specs)
        index = column_index(layout_of(layout, present), tuple(columns)).to(self.lanes.device)
        width = layout_of(layout, present).width
        dropped = set(present) - set(columns)
        state = {
            name: tensor[:, index] if tensor.ndim == 2 and tensor.shape[1] == width else tensor.clone()
            for name, tensor in self.state.items()
            if not any(
                name == missing or name.startswith(f"{missing}/") or name.endswith(f"/{missing}")
                for missing in dropped
            )
        }
        missed = torch.zeros_like(self.lanes) if self.missed is None else self.missed.clone()
        return Part(self.name, self.lanes, state, tuple(columns), missed)

    def miss(self, moved: Tensor) -> None:
        """Count a step without a gradient in the lanes that took it, bool `[K]`."""
        assert self.missed is not None
        self.missed += moved[self.lanes]


def divided(parts: Sequence[Part], absent: Sequence[frozenset[str]], layout: Layout) -> list[Part]:
    """`parts` divided so that in each, either all parameters of all lanes have a gradient or none has. `absent`: per lane, those without."""
    result: list[Part] = []
    for part in parts:
        columns = part.columns or tuple(layout.specs)
        rows: dict[frozenset[str], list[int]] = {}
        for row, lane in enumerate(part.lanes.tolist()):
            rows.setdefault(absent[lane].intersection(columns), []).append(row)
        for missing, rows_of_set in rows.items():
            some = part
            if len(rows) > 1:
                picked = torch.tensor(rows_of_set, device=part.lanes.device)
                some = part.take(picked, part.lanes[picked])
            if missing and len(missing) < len(columns):
                result.append(some.of([name for name in columns if name not in missing], layout))
                result.append(some.of([name for name in columns if name in missing], layout))
            elif missing and some.columns is None:
                result.append(some.of(columns, layout))
            else:
                result.append(some)
    return result


def is_absent(part: Part, absent: Sequence[frozenset[str]] | None, layout: Layout) -> bool:
    """Whether a part of `divided` has no gradient in this step."""
    if absent is None:
        return False
    first = next(iter(part.columns or layout.specs))
    return first in absent[int(part.lanes[0])]


def layout_of(layout: Layout, columns: tuple[str, ...] | None) -> Layout:
    """The layout of some of the parameters."""
    return layout if columns is None or len(columns) == len(layout.specs) else _layout_of(layout, columns)


@lru_cache(maxsize=256)
def _layout_of(layout: Layout, columns: tuple[str, ...]) -> Layout:
    return Layout([layout.specs[name] for name in columns])


@lru_cache(maxsize=256)
def column_index(layout: Layout, columns: tuple[str, ...]) -> Tensor:
    """Column indices of the parameters `columns`, with their padding, in the flat matrix of `layout`: int64 `[P]`."""
    return torch.cat(
        [
            torch.arange(
                layout.offsets[name], layout.offsets[name] + -(-layout.specs[name].size // ALIGN) * ALIGN
            )
            for name in columns
        ]
    )


def columns_of(tensors: LaneTensors, part: Part) -> LaneTensors:
    """The lanes and parameters of `part`, a copy."""
    rows = tensors.flat.index_select(0, part.lanes)
    if part.columns is None:
        return tensors.like(rows)
    index = column_index(tensors.layout, part.columns).to(rows.device)
    return LaneTensors(layout_of(tensors.layout, part.columns), rows.index_select(1, index))


def saved(parts: Sequence[Part], layout: Layout) -> dict[str, Tensor]:
    """The parts' tensors by name, for a checkpoint."""
    numbers = {name: number for number, name in enumerate(layout.specs)}
    tensors: dict[str, Tensor] = {}
    for label, part in labelled(parts).items():
        tensors[f"lanes/{label}"] = part.lanes
        tensors |= {f"optimizer/{label}/{name}": tensor for name, tensor in part.state.items()}
        if part.columns is not None:
            tensors[f"columns/{label}"] = torch.tensor([numbers[name] for name in part.columns])
        if part.missed is not None:
            tensors[f"missed/{label}"] = part.missed
    return tensors


def labelled(parts: Sequence[Part]) -> dict[str, Part]:
    """The parts by name: the optimizer's, numbered if it has several parts."""
    parts_by_label: dict[str, Part] = {}
    for part in parts:
        number = sum(other.name == part.name for other in parts_by_label.values())
        parts_by_label[part.name if not number else f"{part.name}#{number}"] = part
    return parts_by_label


def loaded(state: Mapping[str, Tensor], layout: Layout) -> list[Part]:
    """The inverse of `saved`; copies the tensors."""
    names = list(layout.specs)
    parts = []
    for label in (key.removeprefix("lanes/") for key in state if key.startswith("lanes/")):
        prefix, columns, missed = (
            f"optimizer/{label}/",
            state.get(f"columns/{label}"),
            state.get(f"missed/{label}"),
        )
        parts.append(
            Part(
                label.partition("#")[0],
                state[f"lanes/{label}"].clone(),
                {key.removeprefix(prefix): t.clone() for key, t in state.items() if key.startswith(prefix)},
                None if columns is None else tuple(names[number] for number in columns.tolist()),
                None if missed is None else missed.clone(),
            )
        )
    return parts
