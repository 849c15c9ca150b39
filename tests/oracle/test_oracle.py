"""Networks in the patterns of other people's code train as in a plain torch loop, in every kernel, beside tricks that are off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import networks_sequence
import networks_table
import networks_vision
import pytest
import torch
from plain_loop import CPU, PlainSgd, Record, trained
from torch import Tensor, nn

from ablate.catalogue.registry import registry
from ablate.kernels.protocol import KERNELS
from ablate.lanes.applicable import applicable
from ablate.lanes.context import TaskContext
from ablate.lanes.trainer import Trainer
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.tasks.task import Task

pytestmark = pytest.mark.filterwarnings(
    "ignore:There is a performance drop"
)  # torch's, of some operations under vmap
TOLERANCE = 1e-5
CATALOGUE = registry()
TRAIN, BATCH, EPOCHS = 80, 8, 2
LR, MOMENTUM, DECAY = 0.01, 0.5, 0.05
TRICKS = ("dropout", "batch_norm", "layer_norm", "group_norm", "activation", "skip_connection", "recompute")
"""Put into a neighbouring lane: of the lane that is looked at, they leave modules that are switched off."""


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
        (networks_vision.NETWORKS, images), (networks_sequence.TOKENS, tokens), (networks_sequence.VECTORS, vectors),
        (networks_table.NETWORKS, table),
    )  # fmt: skip
    return {name: Network(name, make, inputs) for found, inputs in sources for name, make in found.items()}


NETWORKS = networks()


@cache
def context_of(name: str) -> TaskContext:
    network, draw = NETWORKS[name], torch.Generator().manual_seed(7)
    x = network.inputs(TRAIN + 33, draw)
    y = torch.randint(0, 3, (len(x),), generator=draw)
    kind = "text" if x.dtype == torch.int64 else None
    task = Task(
        network.make,
        (x[:TRAIN], y[:TRAIN]),
        (x[TRAIN:], y[TRAIN:]),
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
def expected(name: str, *, exactly: bool = False) -> Record:
    context = context_of(name)

    def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        if exactly:
            return PlainSgd(parameters, LR)
        return torch.optim.SGD(parameters, LR, momentum=MOMENTUM, weight_decay=DECAY)

    look = context.look
    return trained(
        context.task, run_of(context), sgd, draws=look.reseed, channels_last=exactly and look.channels_last
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
    tensors = {
        name.replace(".otherwise.", ".").replace(".layer.", "."): tensor for name, tensor in state.items()
    }
    return {"losses": torch.tensor(record.losses), "outputs": torch.stack(record.outputs), **tensors}


def assert_equal(mine: Record, theirs: Record, tolerance: float = TOLERANCE) -> None:
    own, other = named(mine), named(theirs)
    for name, tensor in other.items():
        twin = own[name].detach().double()
        difference, size = (twin - tensor.double()).norm(), tensor.double().norm()
        assert difference <= tolerance * (size + 1e-3), f"{name}: {float(difference / (size + 1e-12)):.2g}"


def neighbour(context: TaskContext, trick: str) -> Run | None:
    """A run with the trick, if it may stand beside one without it."""
    record = CATALOGUE[trick]
    if not record.lane or applicable(context, [trick])[trick]:
        return None
    return run_of(context, 1, **{trick: record.defaults})


@pytest.mark.parametrize("name", NETWORKS)
def test_the_loop_is_a_plain_loop_bit_for_bit(name: str) -> None:
    context = context_of(name).with_kernel("loop")
    run = Run(context.task.name, Recipe.of(CATALOGUE, {"sgd": {"lr": LR}}), 0, EPOCHS)
    assert_equal(found(context, [run]), expected(name, exactly=True), tolerance=0.0)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_trains_as_in_a_plain_loop(name: str) -> None:
    """By the kernel that is chosen for it, and by one more in turn, beside a trick in turn."""
    context = context_of(name)
    number = list(NETWORKS).index(name)
    assert_equal(found(context, [run_of(context)]), expected(name))
    if context.solo:
        return
    other = neighbour(context, TRICKS[number % len(TRICKS)]) or run_of(context, 1)
    kernel = KERNELS[number % len(KERNELS)]
    assert_equal(found(context.with_kernel(kernel), [other, run_of(context)], lane=1), expected(name))


@pytest.mark.slow_oracle
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_kernel_and_every_trick_that_is_off(name: str, kernel: str) -> None:
    context = context_of(name)
    if context.solo and kernel != "loop":
        pytest.skip(context.solo)
    own = context.with_kernel(kernel)
    assert_equal(found(own, [run_of(context)]), expected(name))
    for trick in TRICKS if not context.solo else ():
        if (other := neighbour(context, trick)) is not None:
            assert_equal(found(own, [run_of(context), other]), expected(name))


def test_there_are_enough() -> None:
    assert len(NETWORKS) >= 60
