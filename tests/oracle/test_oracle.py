"""Networks in the patterns of other people's code train as in a plain torch loop, in every kernel, beside tricks that are off.

The quick sample takes every network once, checking in turn one of three things; `-m slow_oracle` runs the full product.
"""

from __future__ import annotations

import networks_transformers
import pytest
from oracle import (
    CATALOGUE,
    EPOCHS,
    LR,
    NETWORKS,
    QUICK,
    TRAIN,
    assert_equal,
    context_of,
    expected,
    found,
    run_of,
)  # fmt: skip

from ablate.kernels.lower import KERNELS
from ablate.lanes.applicable import applicable
from ablate.lanes.context import TaskContext
from ablate.records.recipe import Recipe
from ablate.records.run import Run

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:There is a performance drop"
    ),  # torch's, of some operations under vmap
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad"),  # torch's, of checkpoints
]
TRICKS = ("dropout", "batch_norm", "layer_norm", "group_norm", "activation", "skip_connection", "recompute")
"""Put into a neighbouring lane: of the lane that is looked at, they leave modules that are switched off."""


def neighbour(context: TaskContext, trick: str) -> Run | None:
    """A run with the trick, if it may stand beside one without it."""
    record = CATALOGUE[trick]
    if not record.lane or applicable(context, [trick])[trick]:
        return None
    return run_of(context, 1, **{trick: record.defaults})


def check_the_loop(name: str, rows: int) -> None:
    """The loop kernel is a plain loop bit for bit."""
    context = context_of(name, rows).with_kernel("loop")
    run = Run(context.task.name, Recipe.of(CATALOGUE, {"sgd": {"lr": LR}}), 0, EPOCHS)
    assert_equal(found(context, [run]), expected(name, rows, exactly=True), tolerance=0.0)


def check_alone(name: str, rows: int) -> None:
    """By the kernel that is chosen for it."""
    context = context_of(name, rows)
    assert_equal(found(context, [run_of(context)]), expected(name, rows))


def check_beside(name: str, rows: int, kernel: str, trick: str) -> None:
    """By a kernel, in a lane beside one that has a trick."""
    context = context_of(name, rows)
    other = neighbour(context, trick) or run_of(context, 1)
    assert_equal(found(context.with_kernel(kernel), [other, run_of(context)], lane=1), expected(name, rows))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_trains_as_in_a_plain_loop(name: str) -> None:
    number = list(NETWORKS).index(name)
    if number % 3 == 0:
        check_the_loop(name, QUICK)
    elif number % 3 == 1 or context_of(name, QUICK).solo:
        check_alone(name, QUICK)
    else:
        turn = number // 3
        check_beside(name, QUICK, list(KERNELS)[turn % len(KERNELS)], TRICKS[turn % len(TRICKS)])


@pytest.mark.slow_oracle
@pytest.mark.parametrize("name", NETWORKS)
def test_the_loop_is_a_plain_loop_bit_for_bit(name: str) -> None:
    check_the_loop(name, TRAIN)


@pytest.mark.slow_oracle
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_kernel_and_every_trick_that_is_off(name: str, kernel: str) -> None:
    context = context_of(name)
    if context.solo and kernel != "loop":
        pytest.skip(context.solo)
    with_kernel = context.with_kernel(kernel)
    assert_equal(found(with_kernel, [run_of(context)]), expected(name))
    for trick in TRICKS if not context.solo else ():
        if (other := neighbour(context, trick)) is not None:
            assert_equal(found(with_kernel, [run_of(context), other]), expected(name))


def test_there_are_enough() -> None:
    assert len(NETWORKS) >= 60


@pytest.mark.skipif(bool(networks_transformers.MISSING), reason=networks_transformers.MISSING)
def test_networks_of_the_transformers_library_are_among_them() -> None:
    assert {"hf_bert", "hf_gpt2", "hf_t5", "hf_vit", "hf_convnext", "hf_resnet"} <= set(NETWORKS)
