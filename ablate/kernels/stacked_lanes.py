"""The kernels "compiled", "batched" and "vmap": one module for all lanes, on their stacked tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ablate.kernels.compiled import unavailable_reason, use_compiled
from ablate.kernels.lane_switches import LaneSwitches, switches_by_path, use_switches
from ablate.kernels.memory_format import to_channels_last
from ablate.kernels.module_state import copied, fused_paths, set_mode, tie, tied
from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.protocol import Forward, Names, Reseed, Weights
from ablate.kernels.random_keys import drawn_keys, random_layers
from ablate.kernels.rules.switch import branch_key
from ablate.kernels.stacked import stacked
from ablate.kernels.support import why_not_vmap
from ablate.kernels.tracing import never_trace
from ablate.kernels.vmapped import vmapped
from ablate.seams.draws import count_calls
from ablate.surgery.net import Net


@dataclass(frozen=True)
class StackedKernel:
    """Runs layer by layer, all lanes at once, by torch alone ("batched") or with compiled code ("compiled"); or in one vmapped call ("vmap")."""

    name: str

    def unavailable(self, device: torch.device) -> str:
        if self.name != "compiled":
            return ""
        return "it is for CPUs" if device.type != "cpu" else unavailable_reason()

    def unsupported(self, model: nn.Module, x: Tensor) -> str:
        return why_not_vmap(model, x)

    def lower(
        self,
        nets: Sequence[Net],
        names: Names,
        *,
        channels_last: bool,
        reseed: Reseed | None,
        traceable: bool,
    ) -> Forward:
        if reseed is not None:
            raise ValueError(f"the {self.name} kernel cannot run a model that draws from a global generator")
        if not traceable:
            never_trace(nets[0].module)
        return Stacked(nets, names, self.name, channels_last=channels_last)


class Stacked:
    """One module that contains everything that a lane of the group uses."""

    def __init__(
        self,
        nets: Sequence[Net],
        names: Names,
        kernel: str,
        *,
        channels_last: bool,
    ) -> None:
        self.kernel = kernel
        self.channels_last = channels_last
        self.module = nets[0].module
        self.names = names[0]
        self.switches = switches_by_path([net.module for net in nets])
        self.random = random_layers(self.module)
        self._reset_caches()
        stacks = [dict(net.module.named_buffers()) for net in nets]
        self._buffers = {
            name: torch.stack([stack[name] for stack in stacks])
            for name in stacks[0]
            if name not in self.random
        }

    def __call__(self, weights: Weights, x: Tensor, keys: Tensor, training: bool) -> Tensor:
        self._set_mode(training)
        drawn = drawn_keys(self.random.values(), keys)
        state = {local: weights[common] for common, local in self.names.items()}
        state |= self._buffers | {name: drawn[stream] for name, stream in self.random.items()}
        calls = count_calls({})
        try:
            with binding_of(self.module).bound(state), use_switches(self._served), fused_paths(training):
                if self.kernel == "vmap":
                    return vmapped(self.module, x, channels_last=self.channels_last)
                with use_compiled(self.op_caches[training] if self.kernel == "compiled" else None):
                    return stacked(self.module, to_channels_last(x) if self.channels_last else x)
        finally:
            count_calls(calls)

    def _reset_caches(self) -> None:
        """Clear the values derived from the present lanes."""
        self._mode: bool | None = None
        self._served = LaneSwitches.of(self.module, self.switches)
        self.op_caches: dict[bool, dict[Any, Any]] = {True: {}, False: {}}
        """The caches of compiled ops for these lanes, by mode (training or evaluation)."""

    def _set_mode(self, training: bool) -> None:
        """Set the shared module's mode by its `train` method, and copy it to the lanes' Switches layer by layer."""
        if self._mode is training and self.module.__dict__.get("_ablate_mode") is training:
            return
        set_mode(self.module, training)
        for path, switches in self.switches.items():
            modes = [layer.training for layer in self.module.get_submodule(path).modules()]
            for switch in switches:
                for layer, mode in zip(switch.modules(), modes, strict=True):
                    layer.training = mode
        self._mode = training

    def buffers(self) -> dict[str, Tensor]:
        return self._buffers

    def load_buffers(self, buffers: Mapping[str, Tensor]) -> None:
        for name, value in buffers.items():
            self._buffers[name].copy_(value)

    def take(self, lanes: Tensor) -> None:
        self._buffers = {name: buffer[lanes] for name, buffer in self._buffers.items()}
        kept = lanes.tolist()
        self.switches = {path: [switches[i] for i in kept] for path, switches in self.switches.items()}
        self._reset_caches()

    def some(self, lanes: Tensor) -> Forward:
        chosen = copy(self)
        chosen.take(lanes)
        return chosen

    def extend(self, other: Forward) -> None:
        assert isinstance(other, Stacked)
        self._buffers = {
            name: torch.cat([buffer, other._buffers[name]]) for name, buffer in self._buffers.items()
        }
        self.switches = {path: switches + other.switches[path] for path, switches in self.switches.items()}
        self._reset_caches()

    def branch_keys(self, lane: int) -> tuple[str, ...]:
        if self.kernel == "compiled":  # it runs lane by lane
            return ()
        return tuple(branch_key(switches[lane]) for switches in self.switches.values())

    def own_names(self, lane: int) -> dict[str, str]:
        return {name: common for common, name in self.names.items()}

    def attach(self, weights: Weights) -> list[dict[str, Tensor]]:
        return []

    def collect(self, weights: Weights) -> None:
        return

    def frozen(self) -> frozenset[str]:
        return frozenset(
            common for common, name in self.names.items() if not self.module.get_parameter(name).requires_grad
        )

    def module_of(self, lane: int) -> nn.Module:
        module = copied(self.module)
        for path, switches in self.switches.items():
            replacement = copied(switches[lane])
            shared = module.get_submodule(path)
            for parent in list(module.modules()):
                for name, child in parent._modules.items():
                    if child is shared:
                        parent._modules[name] = replacement
        tie(module, tied(self.module))
        for name, buffer in self._buffers.items():
            module.get_buffer(name).copy_(buffer[lane])
        return module
