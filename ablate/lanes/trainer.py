"""K lanes and one training step.

A Trainer has all state that training changes, lanes first, so that removing and adding lanes, saving and restoring take the same few lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import islice

import torch
from torch import Tensor, nn

from ablate.kernels.lower import lower
from ablate.kernels.protocol import Forward, Weights
from ablate.lanes import build, trick_state
from ablate.lanes.context import TaskContext
from ablate.lanes.group import Group, batch_size
from ablate.lanes.lane_models import lane_models
from ablate.lanes.lane_splits import LaneSplits
from ablate.lanes.loss import Loss, lane_losses, nested, share_right
from ablate.lanes.optimizer_parts import labelled, saved
from ablate.lanes.order import Order
from ablate.lanes.parameters import Absent, LaneParameters
from ablate.lanes.running_statistics import statistics_of
from ablate.lanes.sampling import sampler
from ablate.lanes.step_replay import StepReplay
from ablate.lanes.update import Optimizers, are_finite, change_gradients, project, resting, schedule_factor
from ablate.records.run import Run
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws, seed_keys, step_keys
from ablate.seams.tensors import LaneTensors, Layout
from ablate.surgery.net import without_switches
from ablate.tasks.user_code import repeatable


class Trainer:
    """K runs of one structure, trained together, one step at a time."""

    def __init__(self, context: TaskContext, runs: Sequence[Run]) -> None:
        context.clock.begin()
        self.context, task = context, context.task
        size = batch_size(runs[0], context.catalogue, task.batch_size)
        self.order = Order.of(context.splits["train"], size)
        self.epochs = runs[0].epochs
        facts = context.facts(self.total_steps, self.order.steps_per_epoch)
        self.group = Group(runs, context.catalogue, context.device, facts)
        nets = lane_models(context, self.group, runs)
        layout, names = build.layout_of(nets, context.parameters)
        self.weights = build.initial(nets, names, layout).to(context.device)
        probe = context.probe
        self.forward = lower(
            probe.kernel, nets, names, channels_last=probe.channels_last,
            reseed=repeatable if probe.reseed else None, traceable=probe.traceable,
        )  # fmt: skip
        self.leaves = self._leaves()
        self.optimizers = Optimizers(self.group, self.weights, self.leaves.frozen)
        self.data = LaneSplits(task, context.splits, runs, self.order)
        self.seeds = seed_keys([run.seed for run in runs], context.device)
        self.steps = torch.zeros(len(runs), dtype=torch.int64, device=context.device)
        self.within = 0  # step within the epoch: the same for all lanes, whatever epoch each is in
        self.stale = False
        self.alive = torch.ones(len(runs), dtype=torch.bool, device=context.device)
        self.extra = trick_state.first_state(self.group, self.weights)
        self.graph: StepReplay | None = None
        self.eager = ""  # why capturing failed, if it was tried
        context.clock.lap("build")

    @property
    def lanes(self) -> int:
        """K, the number of lanes."""
        return self.weights.lanes

    @property
    def layout(self) -> Layout:
        """The layout of the flat parameters."""
        return self.weights.layout

    @property
    def total_steps(self) -> int:
        """Steps of a whole run."""
        return self.epochs * self.order.steps_per_epoch

    def _leaves(self) -> LaneParameters:
        attached, frozen = self.forward.attach(self.weights), self.forward.frozen()
        return LaneParameters(self.weights, attached, frozen, accumulate=bool(self.context.solo))

    def index(self) -> Tensor:
        """Which examples the lanes see at this step, int64 `[K, B]`."""
        epochs = None
        if self.within == 0 or self.stale:
            epochs = self.steps // self.order.steps_per_epoch
            self.order.shuffle(self.seeds, epochs, sampler(self.group, self.data))
            numbers = torch.arange(self.order.steps_per_epoch, device=self.context.device)
            self.known = self.at(self.steps - self.within + numbers[:, None])
            self.stale = False
        self.data.begin_step(self.within, epochs)
        return self.order.at(self.within)

    def at(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """(the draws' keys, the schedules' factor) at `steps` `[…, K]`; computed for a whole epoch and looked up."""
        keys = step_keys(self.seeds, steps)
        return keys, schedule_factor(self.group, steps, self.total_steps, self.order.steps_per_epoch)

    def batch(self, index: Tensor, draws: Draws) -> Batch:
        """The batch of the examples `index`, int64 `[K, B]`, as the data tricks change it."""
        batch = Batch(*self.data.batch(index), index, draws)
        for active, change in self.group.ports("batch"):
            batch = change(batch, draws.within(active.name), active.settings)
        return batch

    def step(self, rate: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Train one step. Returns (loss `[K]`, share of examples right `[K]`; zero for regression).

        `rate` `[K]` multiplies the learning rates (for a range test). A lane whose loss or gradient is not
        finite is masked from this step on: its weights stay unchanged, and so do the other lanes.
        """
        self.context.clock.begin()
        index = self.index()
        if self.graph is None or rate is not None:
            keys, factor = (rows[self.within] for rows in self.known)
            result = self.train_on(index, (keys, factor if rate is None else factor * rate))
        else:
            result = self.graph.step(index)
        self.within = (self.within + 1) % self.order.steps_per_epoch
        return result

    def train_on(self, index: Tensor, known: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """The part of a step that runs on the device: nothing in it waits for the device or depends on the host's
        state, so that it can be captured in a graph. `known`: `at` of this step, if already looked up."""
        clock = self.context.clock
        keys, factor = known or self.at(self.steps)
        batch = self.batch(index, Draws(keys))
        clock.lap("data")
        seen: list[Tensor] = []
        evaluation = self.context.task.evaluation

        def loss(weights: Weights, batch: Batch) -> Tensor:
            outputs = self.outputs(weights, batch.x, keys, training=True)
            if not seen:
                seen.append(outputs.detach())
            return lane_losses(outputs, batch, weights, self.group, evaluation)

        objective: Loss = loss
        wraps = self.group.ports("objective")
        for active, wrap in wraps:
            objective = nested(wrap, objective, active.settings)
        # An objective may take its own gradients, with respect to the weights passed to it.
        losses = objective(dict(self.leaves) if wraps and not self.context.solo else self.leaves, batch)
        scaled = losses
        for active, scale in self.group.ports("scale"):
            scaled = scale(scaled, self.extra[active.name], active.settings)
        clock.lap("forward")
        stacked = bool(wraps or self.group.ports("penalty"))
        gradients, absent = self.leaves.gradients(scaled.sum(), stacked=stacked)
        clock.lap("backward")
        with torch.no_grad():
            if self.context.solo:
                self.forward.collect(self.weights)
            self._update(losses.detach(), gradients, absent, factor)
            right = share_right(evaluation, seen[0], batch.target)
        clock.lap("update")
        return losses.detach(), right

    def _update(self, losses: Tensor, gradients: LaneTensors, absent: Absent, factor: Tensor) -> None:
        skip = None
        for active, unscale in self.group.ports("unscale"):
            gradients, overflow = unscale(gradients, self.extra[active.name], active.settings)
            skip = overflow if skip is None else skip | overflow
        self.alive = self.alive & are_finite(losses, gradients, skip)
        absent = resting(self.group, self.within, absent, self.weights)
        moved = self.alive if skip is None else self.alive & ~skip
        gradients = change_gradients(self.group, gradients, self.weights)
        self.steps = self.steps + 1
        self.optimizers.update(self.group, self.weights, gradients, factor, self.steps, moved, absent)
        project(self.group, self.weights)
        for active, average in self.group.ports("average"):
            average(self.extra[active.name], self.weights, self.steps, active.settings)

    def outputs(
        self, weights: Weights, x: Tensor, keys: Tensor, *, training: bool, forward: Forward | None = None
    ) -> Tensor:
        """Model outputs `[K, B, …]`, float32; of some lanes only, if their `forward` is given."""
        with ExitStack() as stack:
            for active, context in self.group.ports("context"):
                stack.enter_context(context(active.settings, x.device))
            given = x.clone() if self.context.probe.writes_input else x
            outputs = (forward or self.forward)(weights, given, keys, training)
        outputs = outputs.to(torch.float32)
        return outputs.unsqueeze(-1) if outputs.ndim == 2 else outputs

    def scored_weights(self) -> LaneTensors:
        """The weights used in evaluation: the current ones, or an average."""
        weights = self.optimizers.scored(self.group, self.weights)
        for active, averaged in self.group.ports("averaged"):
            weights = averaged(self.extra[active.name], weights, active.settings)
        return weights

    @torch.no_grad()
    def predict(self, split: str, lanes: Tensor | None = None, *, views: bool = True, whole: bool = False, chunks: int | None = None) -> Tensor:  # fmt: skip
        """Outputs in evaluation mode for a whole split, `[K, N, …]`, as they are collected for metrics, or `whole`.

        `lanes` (int64): only these. `views=False`: without test-time views, as for learning curves. `chunks`: only the first ones.
        """
        chosen = torch.arange(self.lanes, device=self.context.device) if lanes is None else lanes
        forward = self.forward if lanes is None else self.forward.some(lanes)
        weights = self.scored_weights() if lanes is None else self.scored_weights().take(lanes)
        attached = bool(self.leaves.per_lane) and lanes is None and weights is self.weights
        named, keys = self.leaves if attached else dict(weights.items()), self.seeds[chosen]

        def run(x: Tensor, others: LaneTensors | None = None) -> Tensor:
            looked_at, used = (weights, named) if others is None else (others, dict(others.items()))
            with statistics_of(self, looked_at, chosen, forward):
                return self.outputs(used, x, keys, training=False, forward=forward)

        parts = []
        evaluation = self.context.task.evaluation
        examples = self.data.examples(split, chosen, evaluation.rows(self.order.batch_size))
        for x, y in islice(examples, chunks):
            outputs = run(x)
            for active, ensemble in self.group.ports("ensemble") if views else ():
                state = {name: tensor[chosen] for name, tensor in self.extra[active.name].items()}
                outputs = ensemble(run, state, weights, x, outputs, active.settings.take(chosen))
            for active, view in self.group.ports("views") if views else ():
                outputs = view(run, x, outputs, active.settings.take(chosen))
            parts.append(outputs if whole else evaluation.collect(outputs, y))
        return torch.cat(parts, dim=1)

    def state(self) -> dict[str, Tensor]:
        """Everything on the device that training changes, by name."""
        state = {"weights": self.weights.flat, "seeds": self.seeds, "steps": self.steps, "alive": self.alive}
        state |= {f"buffer/{name}": buffer for name, buffer in self.forward.buffers().items()}
        state |= saved(self.optimizers.parts, self.layout)
        return state | trick_state.named(self.extra)

    def settle(self, state: Mapping[str, Tensor]) -> None:
        """Copy the current values into the tensors of `state` (an earlier `self.state()`) and continue to use those tensors."""
        for name, tensor in self.state().items():
            if name in state and tensor is not state[name]:
                state[name].copy_(tensor)
        self.steps, self.alive = state["steps"], state["alive"]
        for label, part in labelled(self.optimizers.parts).items():
            part.state = {n: state.get(f"optimizer/{label}/{n}", tensor) for n, tensor in part.state.items()}
            part.missed = state.get(f"missed/{label}", part.missed)
        self.extra = trick_state.of_names(self.extra, state)

    def take(self, lanes: Tensor) -> None:
        """Keep the lanes at the positions `lanes` (int64), in that order."""
        self.graph = None
        self.group.take(lanes)
        self.data.take(lanes)
        self.forward.take(lanes)
        self.optimizers.take(lanes)
        self.weights = self.weights.take(lanes)
        self.leaves = self._leaves()
        self.seeds, self.steps, self.alive = self.seeds[lanes], self.steps[lanes], self.alive[lanes]
        self.stale = True
        self.extra = trick_state.take(self.extra, lanes)

    def arrange(self) -> None:
        """Put lanes that take the same branches of the model next to each other, so that they run together."""
        optimizer = {lane: part.name for part in self.optimizers.parts for lane in part.lanes.tolist()}
        order = sorted(range(self.lanes), key=lambda lane: (self.forward.branch_keys(lane), optimizer[lane]))
        if order != list(range(self.lanes)):
            self.take(torch.tensor(order, device=self.context.device))

    def extend(self, other: Trainer) -> None:
        """Append the lanes of `other` (refill). Both must be at the beginning of an epoch.

        `other` must have been built for the same structure, and with the vmap kernel for the same tricks.
        """
        if self.within or other.within:
            raise ValueError("lanes can only be joined between epochs")
        if list(self.layout.specs) != list(other.layout.specs):
            raise ValueError("the lanes' parameters differ")
        self.graph = None
        self.optimizers.extend(other.optimizers, self.lanes)
        self.data.extend(other.data, self.lanes, other.lanes)
        self.group.extend(other.group)
        self.forward.extend(other.forward)
        self.weights = self.weights.like(torch.cat([self.weights.flat, other.weights.flat]))
        self.leaves = self._leaves()
        self.seeds = torch.cat([self.seeds, other.seeds])
        self.steps = torch.cat([self.steps, other.steps])
        self.alive = torch.cat([self.alive, other.alive])
        self.stale = True
        self.extra = trick_state.join(self.extra, other.extra)

    @torch.no_grad()
    def model(self, lane: int) -> nn.Module:
        """One lane's model as an ordinary module, with the scored weights and buffers."""
        tensors = self.scored_weights()
        with statistics_of(self, tensors, torch.arange(self.lanes, device=self.seeds.device), self.forward):
            module = self.forward.module_of(lane)
        for name, common in self.forward.own_names(lane).items():
            module.get_parameter(name).copy_(tensors[common][lane])
        return without_switches(module)
