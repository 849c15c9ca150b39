"""Dropout: masks, scaling, profile and places, against plain loops in float64."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from model_cases import MODELS, assert_lanes_equal_alone, context_of, inputs, operated
from sweep import diagonal
from torch import Tensor, nn

from ablate.catalogue.model.dropout import probabilities
from ablate.catalogue.registry import registry
from ablate.lanes.trainer import Trainer
from ablate.records.errors import InputError, NotApplicable
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.seams.draws import stream_keys
from ablate.surgery.layers import Dropout
from ablate.surgery.net import Net, open_net


def keyed(layer: Dropout, step: int) -> Dropout:
    layer.key.copy_(stream_keys(torch.tensor(step * 7919 + 1, dtype=torch.int32), layer.stream))
    return layer


def test_a_unit_is_kept_or_dropped_and_scaled_as_the_papers_say() -> None:
    for case in range(120):
        rng = random.Random(case)
        p, inverted = rng.uniform(0, 0.8), case % 2 == 0
        layer = keyed(Dropout(p, "here", inverted=inverted), case)
        shape = [rng.randint(1, 9) for _ in range(rng.randint(2, 4))]
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        layer.train()
        y = layer(x)
        scale = 1 / (1 - p) if inverted else 1.0
        (slope,) = torch.autograd.grad(y.sum(), x)
        for value, out, gradient in zip(
            x.flatten().tolist(), y.flatten().tolist(), slope.flatten().tolist(), strict=True
        ):
            kept = out != 0
            assert out == pytest.approx(value * scale if kept else 0, rel=1e-6)
            assert gradient == pytest.approx(scale if kept else 0, rel=1e-6)
        layer.eval()
        torch.testing.assert_close(layer(x), x if inverted else x * (1 - p), rtol=1e-6, atol=0)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_the_share_of_dropped_units_is_p_and_masks_change_with_the_step(p: float) -> None:
    layer = Dropout(p, "here")
    x = torch.ones(40, 1000)
    masks = [keyed(layer, step)(x) == 0 for step in range(5)]
    for mask in masks:
        assert mask.double().mean().item() == pytest.approx(p, abs=4 * (p * (1 - p) / x.numel()) ** 0.5)
        by_unit = (mask.double().mean(dim=0) - p).square().mean().item()  # examples are independent
        assert by_unit == pytest.approx(p * (1 - p) / 40, rel=0.2)
    agree = (masks[0] == masks[1]).double().mean().item()
    assert agree == pytest.approx(p * p + (1 - p) ** 2, abs=0.02)
    assert not torch.equal(masks[0], keyed(Dropout(p, "there"), 0)(x) == 0)


def test_training_and_evaluation_agree_on_average() -> None:
    """Section 4: the scaling makes a unit's expected input the same in both."""
    for inverted in (True, False):
        layer = keyed(Dropout(0.5, "here", inverted=inverted), 1)
        x = torch.full((100_000,), 3.0)
        train = layer(x).mean().item()
        assert train == pytest.approx(layer.eval()(x).mean().item(), rel=0.02)


def test_profile_rises_to_p() -> None:
    assert probabilities(0.4, 4, "rising") == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert probabilities(0.4, 3, "flat") == [0.4] * 3
    assert probabilities(0.3, 1, "rising") == [0.3]


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("cnn", ["2", "6", "8"]),
        ("mlp", ["2", "4", "6"]),
        ("functional", ["head"]),
        ("own_norm", ["body.3", "parts.head"]),
        ("shared", ["middle", "head"]),
    ],
)
def test_hidden_units_are_masked_and_inputs_are_not(name: str, places: list[str]) -> None:
    net = operated("dropout", name, p=0.5)
    paths = [path for path, module in net.module.named_modules() if isinstance(module, Dropout)]
    assert paths == [f"{place}.before.0" for place in places]
    assert net.touched["dropout"] == len(places)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_neutral_and_evaluation_are_the_model_bit_for_bit(name: str) -> None:
    factory, _ = MODELS[name]
    torch.manual_seed(0)
    plain, x = factory().eval(), inputs(name, 6)
    assert torch.equal(operated("dropout", name, p=0.0).module.eval()(x), plain(x))
    assert torch.equal(operated("dropout", name, p=0.7).module.eval()(x), plain(x))
    assert torch.equal(operated("dropout", name, p=0.0).module.train()(x), plain.train()(x))


def test_evaluation_scaling_multiplies_hidden_units_by_one_minus_p() -> None:
    """Srivastava et al. 2014, figure 2: at test time the weights that go out of a unit are multiplied by its probability to stay."""
    torch.manual_seed(0)
    plain, x = MODELS["mlp"][0](), inputs("mlp", 6)
    y = plain[0](x)
    for layer in (plain[2], plain[4], plain[6]):
        y = layer(0.6 * y.relu())
    scaled = operated("dropout", "mlp", p=0.4, scaling="evaluation").module.eval()
    torch.testing.assert_close(scaled(x), y)
    off = operated("dropout", "mlp", on=False, p=0.4, scaling="evaluation").module
    assert torch.equal(off.train()(x), plain(x))
    assert torch.equal(off.eval()(x), plain(x))


class Dropping(nn.Module):
    """Two dropouts of its own, and attention that drops, or none of it: dropout that surgery cannot reach, or of another kind."""

    def __init__(self, one: float = 0.2, two: float = 0.2, attention: float = 0.0, other: str = "") -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.attention = nn.MultiheadAttention(8, 2, dropout=attention, batch_first=True)
        self.one, self.two = (nn.Identity(), nn.Identity()) if other else (nn.Dropout(one), nn.Dropout(two))
        self.third = nn.AlphaDropout(0.1) if other == "kind" else nn.Identity()
        self.functional = other == "function"

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.second(self.one(self.first(x).relu())).relu())
        x = F.dropout(x, 0.1, self.training) if self.functional else self.third(x)
        return self.head(self.attention(x, x, x)[0])


def dropping(module: nn.Module, p: float, scaling: str = "training") -> Net:
    net = open_net(module, torch.zeros(2, 4, 8))
    settings = SimpleNamespace(on=True, p=p, profile="flat", scaling=scaling)
    registry().code("dropout").model(net, settings)
    assert not any(".before." in path for path, _ in net.module.named_modules()), "no further masks"
    return net


def test_the_models_own_dropouts_change_their_probability() -> None:
    for scaling in ("training", "evaluation"):
        net = dropping(Dropping(), 0.4, scaling)
        layers = [layer for layer in net.module.modules() if isinstance(layer, Dropout)]
        assert [(layer.p, layer.inverted) for layer in layers] == [(0.4, scaling == "training")] * 2
        assert net.touched == {"dropout": 2}
        assert "dropout" not in net.left
    assert dropping(Dropping(), 0.4).redundant == {"dropout": {"p": [0.2]}}
    assert dropping(Dropping(0.2, 0.3), 0.4).redundant == {}, "no one probability is the model's"
    single = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 2))
    assert dropping(single, 0.4).redundant == {"dropout": {"p": [0.3]}}


def test_dropouts_that_have_the_probability_are_left_unless_they_are_scaled_otherwise() -> None:
    net = dropping(Dropping(0.2, 0.3), 0.2)
    assert net.touched == {"dropout": 1}
    assert net.left["dropout"] == {("Dropout", "with p = 0.2 already"): 1}
    assert dropping(Dropping(), 0.2, "evaluation").touched == {"dropout": 2}


def test_attention_that_drops_gets_the_probability_too() -> None:
    net = dropping(Dropping(attention=0.1), 0.4)
    assert net.touched == {"dropout": 3}
    assert net.module.attention.dropout == 0.4
    net = dropping(Dropping(attention=0.4), 0.4)
    assert net.touched == {"dropout": 2}
    assert net.left["dropout"] == {("MultiheadAttention", "with p = 0.4 already"): 1}


@pytest.mark.parametrize("other", ["function", "kind"])
def test_other_dropout_is_left_and_no_mask_is_added_to_it(other: str) -> None:
    net = dropping(Dropping(other=other), 0.4)
    assert net.touched == {}
    assert sum(net.left["dropout"].values()) == 1


def test_a_model_without_hidden_layers_is_not_applicable() -> None:
    context = context_of("mlp")
    object.__setattr__(context.task, "model", lambda: nn.Linear(5, 3))
    object.__setattr__(context, "observed", open_net(nn.Linear(5, 3), torch.zeros(2, 5)).observed)
    recipe = Recipe.of(registry(), {"momentum": True, "dropout": True})
    with pytest.raises(NotApplicable, match="dropout"):
        Trainer(context, [Run("small", recipe, 0, 1)])


def test_dropping_everything_is_refused_before_the_model_is_touched() -> None:
    module = MODELS["mlp"][0]()
    net = open_net(module, inputs("mlp", 2))
    before = list(module.modules())
    with pytest.raises(InputError, match=r"dropout\.p must be below 1"):
        registry().code("dropout").model(
            net, SimpleNamespace(p=1.0, profile="flat", scaling="training", on=True)
        )
    assert list(module.modules()) == before


@pytest.mark.parametrize(
    ("name", "kernel"),
    diagonal(["cnn", "mlp", "own_norm", "shared"], ["loop", "vmap", "batched", "compiled"], 2),
)
def test_lanes_equal_alone(name: str, kernel: str) -> None:
    recipes = [
        {"dropout": {"p": 0.3}},
        {},
        {"dropout": {"p": 0.6, "profile": "rising"}},
        {"dropout": {"p": 0.6, "scaling": "evaluation"}},
    ]
    assert_lanes_equal_alone(name, recipes, kernel)
