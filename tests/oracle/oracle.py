"""The oracle: small networks in the patterns of other people's code, what a plain torch loop makes of each, and what ablate does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import networks_corner
import networks_memory
import networks_recipes
import networks_sequence
import networks_state
import networks_table
import networks_tokens
import networks_transformers
import networks_unusual
import networks_vision
import torch
from plain_loop import CPU, PlainSgd, Record, trained
from torch import Tensor, nn

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.self_check import counted_dropouts
from ablate.lanes.trainer import Trainer
from ablate.lanes.weights import users_name
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.tasks.task import Task

TOLERANCE = 1e-5
CATALOGUE = registry()
TRAIN, QUICK, BATCH, EPOCHS = 80, 24, 8, 2
"""Training examples of the full product and of the quick sample; examples a step; epochs."""
LR, MOMENTUM, DECAY = 0.01, 0.5, 0.05


@dataclass(frozen=True)
class Network:
    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[int, torch.Generator], Tensor]


def networks() -> dict[str, Network]:
    def images(count: int, draw: torch.Generator) -> Tensor:
        return torch.randn(count, 3, 8, 8, generator=draw)

    def tokens(count: int, draw: torch.Generator) -> Tensor:
        return torch.randint(0, networks_sequence.WORDS, (count, networks_sequence.LENGTH), generator=draw)

    def vectors(count: int, draw: torch.Generator) -> Tensor:
        return torch.randn(count, networks_sequence.LENGTH, networks_sequence.WIDTH, generator=draw)

    def table(count: int, draw: torch.Generator) -> Tensor:
        return torch.randn(count, networks_table.INPUTS, generator=draw)

    sources = (
        (networks_vision.NETWORKS, images), (networks_sequence.TOKENS, tokens),
        (networks_sequence.VECTORS, vectors), (networks_table.NETWORKS, table),
        (networks_unusual.NETWORKS, table), (networks_tokens.NETWORKS, table),
        (networks_corner.NETWORKS, table), (networks_state.NETWORKS, table),
        (networks_state.IMAGES, images), (networks_transformers.TOKENS, tokens),
        (networks_transformers.IMAGES, images), (networks_memory.NETWORKS, table),
        (networks_recipes.NETWORKS, table),
    )  # fmt: skip
    return {name: Network(name, make, inputs) for makers, inputs in sources for name, make in makers.items()}


NETWORKS = networks()


@cache
def context_of(name: str, rows: int = TRAIN) -> TaskContext:
    """`rows`: training examples."""
    network, draw = NETWORKS[name], torch.Generator().manual_seed(7)
    x = network.inputs(rows + 33, draw)
    y = torch.randint(0, 3, (len(x),), generator=draw)
    kind = "text" if x.dtype == torch.int64 else None
    task = Task(
        network.make,
        (x[:rows], y[:rows]),
        (x[rows:], y[rows:]),
        False,
        name=name,
        batch_size=BATCH,
        epochs=EPOCHS,
        kind=kind,
    )
    return TaskContext.of(task, CATALOGUE, CPU)


def run_of(context: TaskContext, seed: int = 0, **tricks: dict[str, object]) -> Run:
    base = {"momentum": {"lr": LR, "momentum": MOMENTUM}, "weight_decay": {"decay": DECAY}}
    return Run(context.task.name, Recipe.of(CATALOGUE, {**base, **tricks}), seed, EPOCHS)


@cache
def expected(name: str, rows: int = TRAIN, *, exactly: bool = False) -> Record:
    """What a plain loop makes of a network; `exactly`: by SGD alone, in the memory formats of the engine."""
    context = context_of(name, rows)

    def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        if exactly:
            return PlainSgd(parameters, LR)
        return torch.optim.SGD(parameters, LR, momentum=MOMENTUM, weight_decay=DECAY)

    probe = context.probe
    return trained(
        context.task,
        run_of(context),
        sgd,
        counted=counted_dropouts(context),
        draws=probe.reseed,
        channels_last=exactly and probe.channels_last,
        contiguous=exactly,
    )


def found(context: TaskContext, runs: list[Run], lane: int = 0) -> Record:
    trainer = Trainer(context, runs)
    losses, outputs = [], []
    for _ in range(EPOCHS):
        for _ in range(trainer.order.steps_per_epoch):
            losses.append(trainer.step()[0][lane].item())
        outputs.append(trainer.predict("validation")[lane])
    return Record(trainer.model(lane), losses, outputs)


def named(record: Record) -> dict[str, Tensor]:
    """Losses, outputs, parameters and buffers, by the names of the user's own model."""
    state = record.model.state_dict()
    tensors = {users_name(record.model, name): tensor for name, tensor in state.items()}
    return {"losses": torch.tensor(record.losses), "outputs": torch.stack(record.outputs), **tensors}


def assert_equal(mine: Record, theirs: Record, tolerance: float = TOLERANCE) -> None:
    ours, other = named(mine), named(theirs)
    for name, tensor in other.items():
        exact = torch.complex128 if tensor.is_complex() else torch.float64
        twin, tensor = ours[name].detach().to(exact), tensor.to(exact)
        difference, size = (twin - tensor).norm(), tensor.norm()
        assert difference <= tolerance * (size + 1e-3), f"{name}: {float(difference / (size + 1e-12)):.2g}"
