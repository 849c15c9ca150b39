"""torch's transformer layers under surgery: bit for bit what torch computes, and what each trick says where it changes something."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from ablate.catalogue.registry import registry
from ablate.lanes.build import build_module
from ablate.surgery.encoder_layers import with_activation_layers
from ablate.surgery.net import Net, open_net

X = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(0))
MASK = torch.arange(6)[None] >= torch.tensor([6, 4, 3])[:, None]


class Model(nn.Module):
    def __init__(self, norm_first: bool = False, activation: str = "relu", dropout: float = 0.0) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            8, 2, 16, dropout, activation, batch_first=True, norm_first=norm_first
        )
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        mask = MASK[: len(x)]
        return self.head(self.body(x, src_key_padding_mask=mask).masked_fill(mask[..., None], 0).mean(1))


def made(**settings) -> nn.Module:
    torch.manual_seed(0)
    return Model(**settings)


def operated(trick: str, on: bool, made_with: dict, **values) -> Net:
    module = made(**made_with)
    with_activation_layers(module)
    net = open_net(module, X)
    registry().code(trick).model(net, SimpleNamespace(on=on, generator=torch.Generator(), **values))
    return net


def values_and_gradients(module: nn.Module) -> list[Tensor]:
    y = module(X)
    return [y, *torch.autograd.grad(y.square().sum(), list(module.parameters()))]


FORMS = [{"norm_first": first, "activation": name} for first in (False, True) for name in ("relu", "gelu")]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("trick", "values"),
    [("remove_skip", {}), ("stochastic_depth", {"p": 0.0}), ("activation", {"kind": "silu"})],
)
def test_switched_off_it_is_torchs_layer_bit_for_bit(form, trick, values):
    off = operated(trick, False, form, **values).module
    for mine, theirs in zip(values_and_gradients(off), values_and_gradients(made(**form)), strict=True):
        assert torch.equal(mine, theirs)
    with torch.no_grad():
        torch.testing.assert_close(off.eval()(X), made(**form).eval()(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_without_skips_each_branch_stands_alone(form):
    net = operated("remove_skip", True, form)
    assert net.touched == {"remove_skip": 4}
    reference, x = made(**form), X
    for layer in reference.body.layers:
        if form["norm_first"]:
            x = layer._sa_block(layer.norm1(x), None, MASK)
            x = layer._ff_block(layer.norm2(x))
        else:
            x = layer.norm1(layer._sa_block(x, None, MASK))
            x = layer.norm2(layer._ff_block(x))
    expected = reference.head(x.masked_fill(MASK[..., None], 0).mean(1))
    torch.testing.assert_close(net.module(X), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm_first", [False, True])
def test_another_activation_is_that_of_torchs_layer_made_with_it(norm_first):
    net = operated("activation", True, {"norm_first": norm_first, "activation": "relu"}, kind="gelu")
    assert net.touched == {"activation": 2}
    expected = made(norm_first=norm_first, activation="gelu")
    torch.testing.assert_close(net.module(X), expected(X), rtol=1e-5, atol=1e-6)


def test_all_branches_dropped_leave_the_input():
    net = operated("stochastic_depth", True, {"norm_first": True}, p=0.999999)
    assert net.touched == {"stochastic_depth": 4}
    (last,) = [
        layer for path, layer in net.module.named_modules() if path == "body.layers.1.dropped_branch_1"
    ]
    assert last.least > 30_000, "the last of four branches is dropped with probability p"


def test_a_model_is_built_with_activation_layers_and_the_parameters_of_the_user():
    module = build_module(made, 0, X)
    assert all(isinstance(layer.activation, nn.ReLU) for layer in module.body.layers)
    assert [name for name, _ in module.named_parameters()] == [name for name, _ in made().named_parameters()]


def test_a_subclass_keeps_its_forward():
    class Own(nn.TransformerEncoderLayer):
        def forward(self, src, *args, **kwargs):
            return src + self._ff_block(src)

    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(8, 8), Own(8, 2, 16, 0.0, batch_first=True), nn.Flatten(), nn.Linear(48, 3)
    )
    net = open_net(module, X)
    registry().code("remove_skip").model(net, SimpleNamespace(on=True))
    assert net.touched == {"remove_skip": 1}, "its one addition is traced"
