"""Attention whose dropout is drawn by counter: torch's layer in every respect but the generator."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.surgery.attention_dropout import CountedAttention, count_draws, counted
from ablate.surgery.layers import Dropout
from tests.sweep import sweep

C, HEADS, B, T, S = 8, 2, 3, 5, 7


class Fixed(Dropout):
    """The masks that are given, in turn."""

    def __init__(self, p: float, mask: Tensor) -> None:
        super().__init__(p, "fixed")
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask.view_as(x) / (1 - self.p)


def cases(seed: int) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """Settings of a layer, and of a call; whether query, key and value are one tensor."""
    g = torch.Generator().manual_seed(seed)

    def one(*of: Any) -> Any:
        return of[int(torch.randint(len(of), (), generator=g))]

    same = one(True, False)
    wide = not same and one(True, False)
    settings = {"batch_first": one(True, False), "bias": one(True, False)}
    settings |= {"kdim": 6, "vdim": 4} if wide else {}
    keys = T if same else S
    masked = torch.rand(T, keys, generator=g) < 0.3
    masked[:, 0] = False
    padded = torch.rand(B, keys, generator=g) < 0.3
    padded[:, 0] = False
    if one(True, False, False):  # an example that is nothing but padding
        padded[1] = True
    numbers = torch.zeros(B, keys, dtype=torch.float64).masked_fill(padded, -torch.inf)
    added = torch.randn(T, keys, generator=g, dtype=torch.float64)
    mask, padding = one((masked, padded), (masked.expand(B * HEADS, T, keys), padded), (added, numbers))
    call = {
        "attn_mask": one(None, mask),
        "key_padding_mask": one(None, padding),
        "need_weights": one(True, False),
        "average_attn_weights": one(True, False),
    }
    return settings, call, same


def inputs(settings: dict[str, Any], same: bool, seed: int) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    query = torch.randn(B, T, C, generator=g, dtype=torch.float64)
    key = torch.randn(B, S, settings.get("kdim", C), generator=g, dtype=torch.float64)
    value = torch.randn(B, S, settings.get("vdim", C), generator=g, dtype=torch.float64)
    tensors = [query] if same else [query, key, value]
    leaves = [(x if settings["batch_first"] else x.transpose(0, 1)).clone().requires_grad_() for x in tensors]
    return tuple(leaves * 3 if same else leaves)


def results(layer: nn.Module, given: tuple[Tensor, ...], call: dict[str, Any]) -> Iterator[Tensor]:
    y, weights = layer(*given, **call)
    yield y
    if weights is not None:
        yield weights
    slope = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = [*dict.fromkeys(given), *layer.parameters()]
    yield from torch.autograd.grad((y * slope).sum(), wanted, allow_unused=True)


@sweep("seed", range(100))
def test_without_drops_it_is_torchs_layer(seed: int) -> None:
    settings, call, same = cases(seed)
    torch.manual_seed(seed)
    layer = nn.MultiheadAttention(C, HEADS, dropout=0.0, dtype=torch.float64, **settings)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    other = copy.deepcopy(layer)
    count_draws(other, 0.0, "model/attention")
    given = inputs(settings, same, seed)
    for mine, torchs in zip(results(other, given, call), results(layer, given, call), strict=True):
        torch.testing.assert_close(mine, torchs, equal_nan=True)


def test_a_weight_is_dropped_after_the_softmax() -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(C, HEADS, dropout=0.25, dtype=torch.float64, batch_first=True)
    mask = (torch.rand(B * HEADS, T, T) < 0.75).double()
    x = torch.randn(B, T, C, dtype=torch.float64)
    q, k, v = (
        part.view(B, T, HEADS, C // HEADS).transpose(1, 2)
        for part in F.linear(x, layer.in_proj_weight, layer.in_proj_bias).chunk(3, -1)
    )
    weights = torch.softmax(q @ k.mT / (C // HEADS) ** 0.5, -1) * mask.view(B, HEADS, T, T) / 0.75
    expected = layer.out_proj((weights @ v).transpose(1, 2).reshape(B, T, C))
    count_draws(layer, 0.25, "model/attention")
    layer.weight_dropout = Fixed(0.25, mask)
    y, shown = layer(x, x, x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(shown, weights.mean(1))


def test_draws_are_of_the_key_and_the_rate_is_the_models() -> None:
    layer = nn.MultiheadAttention(C, HEADS, dropout=0.5, batch_first=True)
    count_draws(layer, layer.dropout, "model/attention")
    assert layer.dropout == 0.5
    x = torch.randn(B, T, C)
    one = [layer(x, x, x)[1] for _ in range(2)]
    assert torch.equal(*one)
    layer.weight_dropout.key.fill_(3)
    assert not torch.equal(layer(x, x, x)[1], one[0])
    shares = layer(x.expand(B, T, C), x, x, average_attn_weights=False)[1]
    assert 0.3 < (shares == 0).float().mean() < 0.7
    layer.dropout = 0.0  # as a model may change it while it trains
    assert not (layer(x, x, x)[1] == 0).any()
    layer.eval()
    assert torch.equal(layer(x, x, x)[0], layer(x, x, x)[0])


@pytest.mark.parametrize(
    ("settings", "is_counted"),
    [({}, True), ({"dropout": 0.0}, False), ({"add_bias_kv": True}, False), ({"add_zero_attn": True}, False)],
)
def test_layers_that_add_keys_stay_torchs(settings: dict[str, Any], is_counted: bool) -> None:
    model = nn.ModuleDict({"attention": nn.MultiheadAttention(C, HEADS, **{"dropout": 0.1, **settings})})
    counted(model)
    assert isinstance(model["attention"], CountedAttention) == is_counted


def test_the_hint_that_a_mask_is_causal_needs_the_mask() -> None:
    layer = nn.MultiheadAttention(C, HEADS, dropout=0.1)
    count_draws(layer, 0.1, "model/attention")
    x = torch.randn(T, C)
    with pytest.raises(RuntimeError, match="Need attn_mask"):
        layer(x, x, x, is_causal=True)
    causal = torch.ones(T, T).triu(1).bool()
    layer.dropout = 0.0
    y, weights = layer(x, x, x, attn_mask=causal, is_causal=True)
    assert y.shape == (T, C)
    assert not (weights.triu(1) > 0).any()


def test_lanes_evaluate_with_a_mask_under_vmap_without_torchs_fallback() -> None:
    """torch warns where it has no batching rule, and warnings are errors here."""
    layer = nn.MultiheadAttention(C, HEADS, dropout=0.5, batch_first=True)
    count_draws(layer, 0.5, "model/attention")
    layer.eval()
    x, padded = torch.randn(4, B, T, C), torch.arange(T) >= torch.tensor([[5], [3], [1]])
    alone = [layer(one, one, one, key_padding_mask=padded, need_weights=False)[0] for one in x]
    with torch.no_grad():
        lanes = torch.func.vmap(
            lambda one: layer(one, one, one, key_padding_mask=padded, need_weights=False)[0]
        )(x)
    torch.testing.assert_close(lanes, torch.stack(alone))
