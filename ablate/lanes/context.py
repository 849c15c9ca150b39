"""What the groups of one task share: the data on the device and the probe of the model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from ablate.catalogue.registry import Registry
from ablate.lanes.build import build_module
from ablate.lanes.capabilities import ModelProbe
from ablate.lanes.data import DeviceSplit, device_splits
from ablate.lanes.phase_timer import Clock
from ablate.lanes.shared_state import check_loss
from ablate.lanes.side_effects import repeated_in_backward
from ablate.seams.facts import Facts
from ablate.surgery.inventory import Inventory, inventory
from ablate.surgery.net import open_net
from ablate.surgery.observe import LayerInfo, Observed, left_alone, observe
from ablate.tasks.task import Task
from ablate.tasks.user_code import repeatable, without_nested_notice

PROBED = 8
"""Examples on which a model is tried: enough for the gradient of a batch norm to be more than rounding errors."""


@dataclass(frozen=True)
class TaskContext:
    """What the groups of one task share: the data on the device and the probe of the model.

    `parameters`: names of the user's parameters, in order; `left_alone`: layers that tricks do not touch (`observe.left_alone`);
    `held`: what the model already has of the catalogue.
    """

    task: Task
    catalogue: Registry
    device: torch.device
    splits: dict[str, DeviceSplit]
    observed: Observed
    parameters: tuple[str, ...]
    probe: ModelProbe
    left_alone: tuple[str, ...] = ()
    held: Inventory = field(default_factory=Inventory)
    clock: Clock = field(default_factory=Clock, compare=False)

    def facts(self, total_steps: int, steps_per_epoch: int) -> Facts:
        """What the tricks may know of the task, for a training of `total` steps."""
        classes, y = self.task.classes, self.splits["train"].y
        counts = None if classes is None else y.bincount(minlength=classes).to(torch.float32)
        tables = (f"{info.path}.weight" for info in self.layer_infos if issubclass(info.kind, nn.Embedding))
        return Facts(counts, total_steps, steps_per_epoch, tuple(name.removeprefix(".") for name in tables))

    @property
    def kernel(self) -> str:
        """The name of the kernel."""
        return self.probe.kernel

    def with_kernel(self, name: str) -> TaskContext:
        """This context with another kernel."""
        before = self.probe
        other = before.kernel if name == before.other else before.other
        return replace(self, probe=replace(before, kernel=name, other=other))

    @property
    def layer_infos(self) -> tuple[LayerInfo, ...]:
        """The layers that tricks can change, in execution order."""
        return self.observed.layer_infos

    def with_catalogue(self, catalogue: Registry) -> TaskContext:
        """This context with another catalogue."""
        return replace(self, catalogue=catalogue)

    @property
    def solo(self) -> str:
        """Why lanes must run one at a time; empty if they need not."""
        return self.probe.solo

    @classmethod
    def of(
        cls,
        task: Task,
        catalogue: Registry,
        device: torch.device,
        kernel: str | None = None,
        probe: ModelProbe | None = None,
    ) -> TaskContext:
        """Probe the model once. `kernel` overrides the choice; `probe`: what another process found, in place of a probe here."""
        without_nested_notice()
        example = task.train.x[:2]
        module = build_module(task.model, 0, example)
        again = repeated_in_backward(build_module(task.model, 0, example), task.train.x[:PROBED])
        observed = observe(module, example).without(again)
        alone = left_alone(module, observed.layer_infos)
        layers = inventory(module, observed)
        net = open_net(module, example, observed)
        if probe is None:
            fresh = build_module(task.model, 0, example), build_module(task.model, 1, example)
            probe = ModelProbe.at(net, fresh, task.train.x[:PROBED], device, task.batch_size, kernel)
        elif kernel is not None:
            probe = replace(probe, kernel=kernel)
        names = tuple(spec.name for spec in net.specs().values())
        splits = device_splits(task, device)
        if task.loss is not None:
            outputs = _outputs(build_module(task.model, 0, example), task.train.x[:PROBED])
            targets = splits["train"].judged_at(slice(PROBED)).to(outputs.device)
            check_loss(task.loss, partial(task.evaluation.plain_loss, outputs, targets))
        return cls(task, catalogue, device, splits, observed, names, probe, alone, layers)


@torch.no_grad()
def _outputs(module: nn.Module, x: Tensor) -> Tensor:
    with repeatable():
        outputs: Tensor = module.eval()(x.clone())
    return outputs.unsqueeze(-1) if outputs.ndim == 1 else outputs
