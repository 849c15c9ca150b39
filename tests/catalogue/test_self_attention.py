"""Self-attention against `torch.nn.MultiheadAttention`, forward and gradient."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from model_cases import MODELS, inputs, operated, random_shape, randomised, scaled_input
from sweep import sweep
from torch import Generator, nn

from ablate.catalogue.model.self_attention import SelfAttention, head_count, model
from ablate.surgery.net import open_net


@sweep("seed", range(100))
def test_equal_to_torchs_attention(seed: int) -> None:
    shape = random_shape(seed, 2)
    heads = head_count(shape[1], 1 + seed % 4)
    mine = randomised(SelfAttention(shape[1], heads, Generator().manual_seed(seed)), seed)
    other = nn.MultiheadAttention(shape[1], heads, bias=False, batch_first=True, dtype=torch.float64)
    other.in_proj_weight.data.copy_(torch.cat([mine.query, mine.key, mine.value]).detach())
    other.out_proj.weight.data.copy_(mine.output.detach())
    x = scaled_input(shape, seed) / 10
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    rows = two.flatten(2).transpose(1, 2)
    expected = two + other(rows, rows, rows, need_weights=False)[0].transpose(1, 2).reshape(shape)
    outputs = mine(one)
    torch.testing.assert_close(outputs, expected, rtol=1e-9, atol=1e-9)
    slope = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    gradients = torch.autograd.grad(
        (outputs * slope).sum(), [one, mine.query, mine.key, mine.value, mine.output]
    )
    reference = torch.autograd.grad(
        (expected * slope).sum(), [two, other.in_proj_weight, other.out_proj.weight]
    )
    torch.testing.assert_close(gradients[0], reference[0], rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(torch.cat(gradients[1:4]), reference[1], rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(gradients[4], reference[2], rtol=1e-8, atol=1e-9)


def test_it_begins_as_the_model_and_is_one_block() -> None:
    torch.manual_seed(0)
    plain, x = MODELS["cnn"][0](), inputs("cnn", 4)
    net = operated("self_attention", "cnn")
    assert torch.equal(net.module(x), plain(x))
    assert net.touched["self_attention"] == 1
    assert "self_attention" not in operated("self_attention", "mlp").touched
    (block,) = (m for m in operated("self_attention", "own_norm").module.modules() if isinstance(m, SelfAttention))  # fmt: skip
    assert block.query.shape == (6, 6), "as many as the last convolution's channels"


def test_heads_divide_the_channels() -> None:
    assert [head_count(c, 4) for c in (6, 8, 7, 2)] == [3, 4, 1, 2]


def test_projections_are_drawn_as_torch_draws_linear_layers_and_the_output_begins_at_zero() -> None:
    layer = SelfAttention(64, 4, Generator().manual_seed(0))
    drawn = (layer.query, layer.key, layer.value)
    for weight in drawn:  # uniform on ±1 / √64
        assert weight.abs().max().item() == pytest.approx(1 / 8, rel=0.01)
        assert weight.std().item() == pytest.approx(1 / 8 / 3**0.5, rel=0.03)
        assert abs(weight.mean().item()) < 0.005
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])
    assert not layer.output.any()


def test_tokens_attend_to_tokens() -> None:
    """A model whose channels come last, `[B, N, C]`, against torch's attention of its hidden layer's rows."""
    torch.manual_seed(0)
    first, last, x = nn.Linear(3, 4), nn.Linear(4, 2), torch.randn(2, 5, 3).double()
    net = open_net(nn.Sequential(first, nn.Tanh(), last), torch.zeros(2, 5, 3))
    model(net, SimpleNamespace(on=True, heads=2, generator=Generator().manual_seed(0)))
    (block,) = (m for m in net.module.modules() if isinstance(m, SelfAttention))
    net.module.double()
    block.output.data.normal_()
    rows = first(x)
    query, key, value = (
        (rows @ weight.t()).reshape(2, 5, 2, 2).transpose(1, 2)
        for weight in (block.query, block.key, block.value)
    )
    seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    torch.testing.assert_close(net.module(x), last((rows + seen @ block.output.t()).tanh()))
