"""Networks on tables in the patterns of published recipes: packed sequences, teachers, codebooks, fixed points, layers left out."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from networks_memory import WIDTH, Two
from networks_table import INPUTS
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint


def in_steps(x: Tensor) -> Tensor:
    """`[B, INPUTS]` as a sequence `[B, INPUTS / 2, 2]`."""
    return x.unflatten(1, (-1, 2))


class Packed(nn.Module):
    """A recurrent layer over sequences of different lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.LSTM(2, 8, batch_first=True, bidirectional=True), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        lengths = 2 + (x[:, 0] > 0).long() * 2
        packed = pack_padded_sequence(in_steps(x), lengths, batch_first=True, enforce_sorted=False)
        out, counts = pad_packed_sequence(self.body(packed)[0], batch_first=True)
        return self.head(out.sum(1) / counts[:, None])


class Projected(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = (
            nn.LSTM(2, 8, num_layers=2, proj_size=4, dropout=0.2, batch_first=True),
            nn.Linear(4, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(in_steps(x))[1][0][-1])


class KeptHidden(nn.Module):
    """The hidden state goes on from batch to batch (truncated backpropagation through time)."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.GRUCell(INPUTS, 8), nn.Linear(8, 3)
        self.hidden: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        go_on = self.training and self.hidden is not None and len(self.hidden) == len(x)
        hidden = self.body(x, self.hidden if go_on else torch.zeros(len(x), 8))
        if self.training:
            self.hidden = hidden.detach()
        return self.head(hidden)


class Masked(nn.Module):
    """torch's attention with both masks, extra keys, and weights that are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(2, 8), nn.Linear(8, 3)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True, add_zero_attn=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = in_steps(x)
        padding = torch.zeros(tokens.shape[:2]).masked_fill(tokens[..., 0] > 1, -1e4)
        causal = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        h = self.embed(tokens)
        out, weights = self.attention(
            h, h, h, key_padding_mask=padding, attn_mask=causal, average_attn_weights=False
        )
        return self.head(out.mean(1)) + weights.mean((1, 2))[:, :3]


class Across(nn.Module):
    """torch's encoder and decoder, with queries that are learned."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head, self.queries = (
            nn.Linear(2, 8),
            nn.Linear(8, 3),
            nn.Parameter(torch.randn(1, 2, 8)),
        )
        self.body = nn.Transformer(8, 2, 1, 1, 16, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.embed(in_steps(x)), self.queries.expand(len(x), -1, -1)).mean(1))


class Teacher(Two):
    """A copy of a layer follows it by exponential moving averages written to `.data`."""

    def __init__(self) -> None:
        super().__init__()
        self.copy = deepcopy(self.inner).requires_grad_(False)

    def middle(self, h: Tensor) -> Tensor:
        if self.training:
            for kept, learned in zip(self.copy.parameters(), self.inner.parameters(), strict=True):
                kept.data = kept.data * 0.9 + learned.data * 0.1
        return self.inner(h) + self.copy(h).detach()


class Averaged(Two):
    """torch's own averaged model within the model."""

    def __init__(self) -> None:
        super().__init__()
        self.average = torch.optim.swa_utils.AveragedModel(self.inner, use_buffers=True)

    def middle(self, h: Tensor) -> Tensor:
        if self.training:
            self.average.update_parameters(self.inner)
        return self.inner(h) + self.average(h).detach()


class LeftOut(Two):
    """Half of the steps leave a layer out, which then has no gradient."""

    def middle(self, h: Tensor) -> Tensor:
        return h if self.training and random.random() < 0.5 else self.inner(h)


class ScaledBackward(Two):
    """Backward hooks that scale gradients before and after a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner.register_full_backward_hook(lambda _, given, __: (given[0] * 0.5,))
        self.inner.register_full_backward_pre_hook(lambda _, given: (given[0] * 3,))


class HookWithin(Two):
    """A hook that lasts for one pass."""

    def forward(self, x: Tensor) -> Tensor:
        seen: list[Tensor] = []
        handle = self.inner.register_forward_hook(lambda _, __, out: seen.append(out))
        logits = super().forward(x)
        handle.remove()
        return logits + seen[0].mean(1, keepdim=True)


class KeywordsOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.drop = nn.Linear(INPUTS, WIDTH), nn.BatchNorm1d(WIDTH), nn.Dropout(0.2)

    def forward(self, *, given: Tensor, scale: float) -> Tensor:
        return self.drop(input=F.relu(self.norm(input=self.layer(input=given)) * scale))


class Keywords(nn.Module):
    """A block that takes keywords alone, with hooks that read and change them."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.head = KeywordsOnly(), nn.Linear(WIDTH, 3)
        self.block.register_forward_pre_hook(
            lambda _, args, names: (args, {**names, "scale": 0.5}), with_kwargs=True
        )
        self.block.register_forward_hook(lambda _, __, names, out: out * names["scale"], with_kwargs=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(given=x, scale=1.0))


class RecomputedNorm(nn.Module):
    """A recomputed segment with a batch norm, whose statistics take the batch twice."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(INPUTS, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(checkpoint(self.body, x, use_reentrant=False))


class Codebook(Two):
    """Vector quantisation: the nearest code, the gradient straight through, the codes by moving averages."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codes", torch.randn(6, WIDTH))

    def middle(self, h: Tensor) -> Tensor:
        nearest = torch.cdist(h, self.codes).argmin(1)
        if self.training:
            with torch.no_grad():
                self.codes.mul_(0.9).add_(F.one_hot(nearest, 6).float().t() @ h, alpha=0.1)
        return self.inner(h + (self.codes[nearest] - h).detach())


class FixedPoint(Two):
    """A fixed point found without gradients, then one step with (deep equilibrium)."""

    def middle(self, h: Tensor) -> Tensor:
        z = torch.zeros_like(h)
        with torch.no_grad():
            for _ in range(5):
                z = torch.tanh(self.inner(z) * 0.1 + h)
        return torch.tanh(self.inner(z) * 0.1 + h)


class Gumbel(Two):
    def middle(self, h: Tensor) -> Tensor:
        logits = self.inner(h)
        return F.gumbel_softmax(logits, hard=True) if self.training else F.softmax(logits, dim=-1)


class ThawedWithin(Two):
    """A layer that is frozen while it is called, and so gets no gradient."""

    def middle(self, h: Tensor) -> Tensor:
        self.inner.requires_grad_(False)
        out = self.inner(h)
        self.inner.requires_grad_(True)
        return out


class ScaledByData(Two):
    """The first batch scales the weights (layer-sequential unit variance)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ready", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        if not self.ready:
            with torch.no_grad():
                self.first.weight.div_(self.first(x).std())
                self.ready.fill_(True)
        return super().forward(x)


class FakeQuantised(Two):
    """torch's stub of quantisation-aware training, with a moving observer."""

    def __init__(self) -> None:
        super().__init__()
        quantisation: Any = torch.ao.quantization
        observer = quantisation.MovingAverageMinMaxObserver
        self.stub = quantisation.FakeQuantize(observer=observer, quant_min=0, quant_max=255)

    def middle(self, h: Tensor) -> Tensor:
        return self.inner(self.stub(h))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "packed": Packed, "projected": Projected, "kept_hidden": KeptHidden, "masked": Masked, "across": Across,
    "teacher_by_data": Teacher, "averaged": Averaged, "left_out": LeftOut, "scaled_backward": ScaledBackward,
    "hook_within": HookWithin, "keywords_only": Keywords, "recomputed_norm": RecomputedNorm, "codebook": Codebook,
    "fixed_point": FixedPoint, "gumbel": Gumbel, "thawed_within": ThawedWithin, "scaled_by_data": ScaledByData,
    "fake_quantised": FakeQuantised,
}  # fmt: skip
