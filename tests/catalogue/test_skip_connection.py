"""Skip connections: the sum, its gradient, where it stands, and lanes without it, against plain loops."""

from __future__ import annotations

import pytest
import torch
from model_cases import MODELS, assert_lanes_equal_alone, context_of, inputs, operated
from torch import nn

from ablate.lanes.applicable import applicable
from ablate.surgery.layers import Residual


def test_equal_to_the_sum_in_loops_forward_and_backward() -> None:
    """A dense layer W x + b + x and its gradients, written out number by number."""
    for case in range(100):
        generator = torch.Generator().manual_seed(case)
        size, batch = 1 + case % 5, 1 + case % 3
        layer, gate = nn.Linear(size, size).double(), Residual(True).double()
        x = torch.randn(batch, size, generator=generator, dtype=torch.float64, requires_grad=True)
        slope = torch.randn(batch, size, generator=generator, dtype=torch.float64)
        y = gate(x, layer(x))
        by_x, by_w = torch.autograd.grad((y * slope).sum(), [x, layer.weight])
        w, b = layer.weight.tolist(), layer.bias.tolist()
        for n in range(batch):
            for i in range(size):
                product = sum(w[i][j] * x[n, j].item() for j in range(size))
                assert y[n, i].item() == pytest.approx(product + b[i] + x[n, i].item())
                back = sum(slope[n, j].item() * w[j][i] for j in range(size)) + slope[n, i].item()
                assert by_x[n, i].item() == pytest.approx(back)
        for i in range(size):
            for j in range(size):
                expected = sum(slope[n, i].item() * x[n, j].item() for n in range(batch))
                assert by_w[i, j].item() == pytest.approx(expected)


def test_a_closed_gate_is_transparent_to_every_bit() -> None:
    gate = Residual(False)
    y = torch.tensor([-0.0, 0.0, 1.5, float("inf")])
    x = torch.tensor([1.0, float("inf"), float("nan"), 0.0])
    assert torch.equal(gate(x, y).view(torch.int32), y.view(torch.int32))


@pytest.mark.parametrize(("name", "places"), [("cnn", ["2"]), ("mlp", ["2"]), ("shared", ["middle"])])
def test_shape_preserving_hidden_layers_get_one_before_the_non_linearity(
    name: str, places: list[str]
) -> None:
    net = operated("skip_connection", name)
    assert [place.path for place, site in net.sites() if site.residual is not None] == places
    assert net.touched["skip_connection"] == len(places)
    torch.manual_seed(0)
    plain, x = MODELS[name][0](), inputs(name, 4)
    if isinstance(plain, nn.Sequential):
        h = plain[:2](x)
        expected = plain[3:](plain[2](h) + h)
        assert torch.equal(net.module(x), expected)
    assert torch.equal(operated("skip_connection", name, on=False).module(x), plain(x))


def test_not_applicable_where_no_layer_keeps_its_shape() -> None:
    assert applicable(context_of("functional"), ["skip_connection"])["skip_connection"]
    assert "skip_connection" not in operated("skip_connection", "functional").touched


def test_the_norm_is_inside_the_block() -> None:
    context = context_of("cnn")
    assert not applicable(context, ["skip_connection"])["skip_connection"]
    net = operated("skip_connection", "cnn")
    switch = [switch for switch, _, _ in net.norm_switches()][1]
    switch.add("clamped", nn.Hardtanh(-0.01, 0.01), on=True)
    torch.manual_seed(0)
    plain, x = MODELS["cnn"][0](), inputs("cnn", 4)
    h = plain[:2](x)
    assert torch.equal(net.module(x), plain[3:](plain[2](h).clamp(-0.01, 0.01) + h))


@pytest.mark.parametrize("name", ["cnn", "mlp", "shared"])
@pytest.mark.parametrize("kernel", ["loop", "vmap", "batched", "compiled"])
def test_lanes_equal_alone(name: str, kernel: str) -> None:
    recipes = [
        {"skip_connection": True},
        {},
        {"skip_connection": True, "batch_norm": True},
        {"batch_norm": True},
    ]
    assert_lanes_equal_alone(name, recipes, kernel)
