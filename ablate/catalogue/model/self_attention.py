"""Self-attention: a block in which every position of a feature map, or every token, sees all others.

    y = x + W_O concat(A₁ V₁, …, A_h V_h),    A_i = softmax(Q_i K_iᵀ / √d),  Q = x W_Q, K = x W_K, V = x W_V, each cut into h heads of width d

Shapes: x, y are one lane's activations `[B, C, …]`; a position is a row of C numbers, d = C / h; A_i is `[B, N, N]` for N positions. W_Q, W_K, W_V `[C, C]` are drawn as
`nn.Linear` draws, W_O begins at zero, so that the model begins as it was. One block, after the last hidden layer that has positions (and its norm),
where a feature map is smallest: cost and memory grow with N². Where `heads` does not divide C, the largest divisor below it is taken.
Without positional encoding: neighbourhood is what convolutions around it, or the model's own encoding, say.
Lineage: Vaswani et al. 2017, equation 1 and section 3.2.2; on feature maps, with the zero beginning, Wang et al. 2018 (non-local networks, section 4.1).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor, nn

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.surgery.layer_types import CONVOLUTIONS
from ablate.surgery.net import Net
from ablate.surgery.switch import Switch


class SelfAttention(nn.Module):
    """`[B, C, …]` -> the same shape."""

    def __init__(self, channels: int, heads: int, generator: Generator) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (_drawn(channels, generator) for _ in range(3))
        self.output = nn.Parameter(torch.zeros(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(2).transpose(1, 2).contiguous()  # [B, N, C]
        query, key, value = (self._split(rows @ weight.t()) for weight in (self.query, self.key, self.value))
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        heads = scores.softmax(dim=-1) @ value  # [B, h, N, d]
        joined: Tensor = heads.transpose(1, 2).flatten(2) @ self.output.t()
        return x + joined.transpose(1, 2).reshape(x.shape)

    def _split(self, rows: Tensor) -> Tensor:
        """`[B, N, C]` -> `[B, h, N, C / h]`."""
        return rows.reshape(*rows.shape[:2], self.heads, -1).transpose(1, 2)


def _drawn(channels: int, generator: Generator) -> nn.Parameter:
    drawn = 2 * torch.rand(channels, channels, generator=generator) - 1
    return nn.Parameter(drawn * channels**-0.5)


def head_count(channels: int, heads: int) -> int:
    """The largest divisor of `channels` that is at most `heads`."""
    return next(count for count in range(min(heads, channels), 0, -1) if channels % count == 0)


def model(net: Net, p: Any) -> None:
    info = next((info for info in reversed(net.hidden()) if len(info.output) > 2), None)
    if info is None:
        return
    channels_last = not issubclass(info.kind, CONVOLUTIONS)
    switch = Switch(nn.Identity(), channels_last=channels_last, shape=info.output)
    channels = info.output[-1 if channels_last else 1]
    switch.add("self_attention", SelfAttention(channels, head_count(channels, p.heads), p.generator), p.on)
    net.site(info).after.append(switch)
    net.count("self_attention")


TRICK = Trick(
    name="self_attention",
    title="Self-attention block",
    seam="model",
    parameters=(Parameter("heads", 4, choices=(1, 2, 4, 8), meaning="attention heads, at most"),),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="relates distant positions in one layer: better and faster to train in translation than recurrence and convolution",
            source=Source(
                "Attention Is All You Need",
                "Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin",
                2017,
                "https://arxiv.org/abs/1706.03762",
            ),
            contested="with little data and small images a convolution's locality serves better",
        ),
        Claim(
            metric="accuracy",
            direction="up",
            statement="a single block in a convolutional network raises its accuracy (video, detection)",
            source=Source(
                "Non-local Neural Networks",
                "Wang, Girshick, Gupta, He",
                2018,
                "https://arxiv.org/abs/1711.07971",
            ),
        ),
    ),
)
