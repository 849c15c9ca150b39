"""What keeps lanes apart because it draws from a global generator, and what does not."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.random_draws import drawing
from ablate.lanes.trainer import Trainer
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.surgery.attention_dropout import CountedAttention
from ablate.tasks.task import Task

CPU = torch.device("cpu")
TOKENS = torch.randint(0, 9, (48, 5), generator=torch.Generator().manual_seed(0))
LABELS = (TOKENS[:, 0] > 4).long()


class Attention(nn.Module):
    """As in many small language models: the dropout of attention is an argument."""

    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x, dropout_p=0.3 if self.training else 0.0)


class Model(nn.Module):
    """Token ids to 2 logits, through the layers given."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.embed, self.layers, self.head = nn.Embedding(9, 8), nn.Sequential(*layers), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.embed(x)).mean(1))


class Functional(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.2, self.training) + random.random()


class Twice(nn.Module):
    """One attention called twice, and again in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.2, batch_first=True)

    def both(self, x: Tensor) -> Tensor:
        x = self.attention(x, x, x, need_weights=False)[0]
        return self.attention(x, x, x, need_weights=False)[0]

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.both, x, use_reentrant=False)


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)  # dropout 0.1, that of attention included
    return Model(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))


def context_of(make) -> TaskContext:
    task = Task(make, (TOKENS, LABELS), epochs=2, batch_size=8, name="drawing")
    return TaskContext.of(task, registry(), CPU)


@pytest.mark.parametrize(
    ("layer", "what"),
    [
        (Attention, "scaled_dot_product_attention in Attention"),
        (Functional, "dropout in Functional"),
        (lambda: nn.AlphaDropout(0.2), "AlphaDropout"),
        (nn.Identity, ""),
    ],
)
def test_what_draws_is_named(layer, what: str) -> None:
    model = Model(layer())
    state = torch.get_rng_state()
    assert drawing(model, TOKENS[:4]) == what
    assert torch.equal(torch.get_rng_state(), state)
    said = context_of(lambda: Model(layer())).probe.solo
    assert said == (f"it draws from a global generator ({what})" if what else "")


def test_an_encoder_with_torchs_default_dropout_has_lanes() -> None:
    context = context_of(encoder)
    assert context.probe.solo == ""
    trainer = Trainer(context, runs_of())
    attention = [
        layer for layer in trainer.forward.module_of(0).modules() if isinstance(layer, nn.MultiheadAttention)
    ]
    assert {type(layer) for layer in attention} == {CountedAttention}
    together = trained(context, runs_of())
    for lane, run in enumerate(runs_of()):
        assert torch.equal(together[lane], trained(context, [run])[0])
    assert not torch.equal(together[0], together[1])


def runs_of() -> list[Run]:
    """The model's own dropout, none, and another rate."""
    tricks = ({}, {"remove_dropout": {}}, {"dropout": {"p": 0.4}})
    return [Run("drawing", Recipe.of(registry(), {"momentum": {"lr": 0.1}, **more}), 3, 2) for more in tricks]


def trained(context: TaskContext, runs: list[Run]) -> Tensor:
    """The flat weights of each run after three steps, `[K, P]`."""
    trainer = Trainer(context, runs)
    for _ in range(3):
        trainer.step()
    return trainer.weights.flat.detach().clone()


def test_attention_that_a_checkpoint_repeats_draws_from_torchs_generator() -> None:
    context = context_of(lambda: Model(Twice()))
    assert context.probe.solo
    assert context.observed.removed == {"layers.0.attention"}
