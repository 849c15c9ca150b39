"""Compiled attention against torch's own in float64, and each lane alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ablate.kernels.compiled_attention import MAX_TOKENS, AttentionOp
from ablate.kernels.fused import FusedOp

CASES = ((2, 3, 24, 4, 8, False), (1, 2, 7, 3, 5, True), (3, 2, 33, 2, 16, True), (1, 1, 1, 1, 4, False), (2, 2, 64, 2, 64, False))  # fmt: skip


def expected(x: Tensor, heads: int, causal: bool) -> Tensor:
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(2, 3) for part in x.chunk(3, -1))
    y = F.scaled_dot_product_attention(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), is_causal=causal)  # fmt: skip
    return y.unflatten(0, x.shape[:2]).transpose(2, 3).flatten(3)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("lanes", "examples", "tokens", "heads", "width", "causal"), CASES)
def test_it_is_torchs_attention(lanes: int, examples: int, tokens: int, heads: int, width: int, causal: bool):
    x = (2 * drawn(lanes, examples, tokens, 3 * heads * width)).requires_grad_()
    op = AttentionOp(heads, causal)
    y = FusedOp([op])(x, [])
    slope = drawn(*y.shape)
    (gradient,) = torch.autograd.grad(y, x, slope)
    wide = x.detach().double().requires_grad_()
    for true in (expected(wide, heads, causal), op.eager(wide, [], [])):
        (slopes,) = torch.autograd.grad(true, wide, slope.double())
        torch.testing.assert_close(y.double(), true, rtol=1e-5, atol=2e-5)
        torch.testing.assert_close(gradient.double(), slopes, rtol=1e-5, atol=5e-5)
    for lane in range(lanes):
        assert torch.equal(FusedOp([op])(x[lane : lane + 1].detach(), []), y[lane : lane + 1])


def test_scores_of_any_size():
    """Of large scores only the largest counts; one that is no number spoils its own row only."""
    x = torch.zeros(1, 1, 3, 6)
    x[0, 0, :, :2], x[0, 0, 1, 2:4] = 1.0, 1e4
    x[0, 0, :, 4:] = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    attend = FusedOp([AttentionOp(1)])
    assert torch.equal(attend(x, [])[0, 0], torch.tensor([[3.0, 4.0]] * 3))
    x[0, 0, 2, 0] = torch.nan
    y = attend(x, [])[0, 0]
    assert torch.equal(y[:2], torch.tensor([[3.0, 4.0]] * 2))
    assert y[2].isnan().all()


def test_more_tokens_are_left_to_torch():
    assert AttentionOp(2).output_shape((4, MAX_TOKENS, 24), channels_last=False) == (4, MAX_TOKENS, 8)
    assert AttentionOp(2).output_shape((4, MAX_TOKENS + 1, 24), channels_last=False) is None
