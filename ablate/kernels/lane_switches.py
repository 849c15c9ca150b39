"""Each lane's own Switch, while one module serves all lanes.

The stacked kernels hold one model for K lanes. Branches of its Switches may hold plain numbers that differ between lanes, so each
lane runs its own Switch there, with its row of the stacked tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from torch import Tensor, nn

from ablate.kernels.cache import cached
from ablate.kernels.parameter_binding import Binding
from ablate.surgery.switch import Switch


@dataclass(frozen=True)
class LaneSwitches:
    """`by_switch`: a Switch of the module that serves all lanes -> each lane's own. `cache`: what rules derive from them."""

    by_switch: Mapping[Switch, Sequence[Switch]]
    cache: dict[Switch, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, module: nn.Module, by_path: Mapping[str, Sequence[Switch]]) -> LaneSwitches:
        """`module` serves all lanes; `by_path`: as of `switches_by_path`."""
        return cls({cast(Switch, module.get_submodule(path)): lanes for path, lanes in by_path.items()})


class _Active:
    switches: LaneSwitches | None = None


@contextmanager
def use_switches(switches: LaneSwitches | None) -> Iterator[None]:
    """Context: a module serves lanes with these Switches; None: every lane runs the module's own."""
    before, _Active.switches = _Active.switches, switches
    try:
        yield
    finally:
        _Active.switches = before


def active_switches() -> LaneSwitches | None:
    """The lanes' Switches in the present context; None without."""
    return _Active.switches


def lane_switches(switch: Switch) -> Sequence[Switch] | None:
    """The lanes' own Switches for `switch`; None if it serves all lanes itself."""
    return None if _Active.switches is None else _Active.switches.by_switch.get(switch)


def switches_by_path(modules: Sequence[nn.Module]) -> dict[str, list[Switch]]:
    """The Switches of several models of one structure: path -> each model's own."""
    return {
        path: [cast(Switch, module.get_submodule(path)) for module in modules]
        for path, layer in modules[0].named_modules()
        if isinstance(layer, Switch)
    }


class BranchBinding:
    """The tensors of a Switch that belong to the branch that it picked."""

    def __init__(self, switch: Switch) -> None:
        self.binding = Binding(switch)
        self._slots = [slots[0] for slots in self.binding.slots.values()]
        branch = f"branches.{switch.picked}." if switch.picked else "otherwise."
        self.names = {i: name for i, name in enumerate(self.binding.slots) if name.startswith(branch)}
        """Index of a tensor of the branch -> its name."""

    def tensors(self, numbers: Sequence[int] | None = None) -> list[Tensor]:
        """The tensors that the Switch holds now, or those at the indices `numbers`: under a stacked kernel, the lanes' stacked ones."""
        slots = self._slots if numbers is None else [self._slots[number] for number in numbers]
        return [cast(Tensor, table[name]) for table, name in slots]

    @contextmanager
    def bound(self, tensors: Mapping[int, Tensor] | Sequence[Tensor]) -> Iterator[None]:
        """Context: the branch holds its part of `tensors`."""
        before = self.binding.put({name: tensors[number] for number, name in self.names.items()})
        try:
            yield
        finally:
            self.binding.put(before)


def branch_binding(switch: Switch) -> BranchBinding:
    """The Switch's binding, made once."""
    return cached(switch, "branch_binding", BranchBinding)
