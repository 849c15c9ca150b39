"""Small networks for sequences: tokens `[B, 6]` (int64, a vocabulary of 16) or vectors `[B, 6, 8]`."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES, WORDS, LENGTH, WIDTH = 3, 16, 6, 8


class Recurrent(nn.Module):
    """An embedding, a recurrent stack, its last state."""

    def __init__(self, kind: type[nn.RNNBase], *, bidirectional: bool = False, layers: int = 1) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.rnn = kind(WIDTH, 6, layers, batch_first=True, bidirectional=bidirectional)  # type: ignore[call-arg, arg-type]
        self.head = nn.Linear(6 * (1 + bidirectional), CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.rnn(self.embed(x))
        return self.head(output[:, -1])


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(WIDTH, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros(len(x), 6)
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
        return self.head(state)


class Attention(nn.Module):
    """Written out, as in minGPT; `causal` with a mask that is a buffer."""

    def __init__(self, *, causal: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.drop = nn.Dropout(dropout)
        mask = torch.tril(torch.ones(LENGTH, LENGTH)) if causal else torch.ones(LENGTH, LENGTH)
        self.register_buffer("mask", mask.view(1, 1, LENGTH, LENGTH))

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.size()
        q, k, v = (part.view(b, t, 2, c // 2).transpose(1, 2) for part in self.qkv(x).split(c, dim=2))
        att = (q @ k.transpose(-2, -1)) / math.sqrt(c // 2)
        att = self.drop(F.softmax(att.masked_fill(self.mask[:, :, :t, :t] == 0, float("-inf")), dim=-1))
        return self.proj((att @ v).transpose(1, 2).reshape(b, t, c))


class Block(nn.Module):
    """`first`: norms before (GPT-2, ViT), else behind (BERT)."""

    def __init__(self, *, causal: bool, first: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = Attention(causal=causal, dropout=dropout)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH), nn.Dropout(dropout)
        )
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        if self.first:
            x = x + self.attn(self.ln1(x))
            return x + self.mlp(self.ln2(x))
        x = self.ln1(x + self.attn(x))
        return self.ln2(x + self.mlp(x))


class Gpt(nn.Module):
    """`tied`: the classes' scores are read off the embedding of their tokens."""

    def __init__(self, *, tied: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList(Block(causal=True, first=True, dropout=dropout) for _ in range(2))
        self.ln_f = nn.LayerNorm(WIDTH)
        self.lm_head = nn.Linear(WIDTH, WORDS, bias=False)
        if tied:
            self.lm_head.weight = self.wte.weight

    def forward(self, x: Tensor) -> Tensor:
        h = self.wte(x) + self.wpe(torch.arange(x.shape[1]))
        for block in self.blocks:
            h = block(h)
        return self.lm_head(self.ln_f(h))[:, -1, :CLASSES]


class Bert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.word, self.position = (
            nn.Embedding(WORDS, WIDTH, padding_idx=0),
            nn.Parameter(torch.zeros(1, LENGTH, WIDTH)),
        )
        self.norm, self.drop = nn.LayerNorm(WIDTH), nn.Dropout(0.1)
        self.layers = nn.Sequential(*(Block(causal=False, first=False, dropout=0.1) for _ in range(2)))
        self.pooler, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layers(self.drop(self.norm(self.word(x) + self.position)))
        return self.head(self.drop(torch.tanh(self.pooler(h[:, 0]))))


class Vit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Linear(WIDTH, WIDTH)
        self.cls = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos = nn.Parameter(0.1 * torch.randn(1, LENGTH, WIDTH))
        self.blocks = nn.Sequential(*(Block(causal=False, first=True) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), self.patch(x)[:, 1:]], dim=1) + self.pos
        return self.head(self.norm(self.blocks(x))[:, 0])


class RmsNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class T5(nn.Module):
    """A relative bias that the layers share, norms without a mean, a gated feed-forward layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.bias = nn.Embedding(WORDS, WIDTH), nn.Embedding(2 * LENGTH, 1)
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.wi0, self.wi1 = nn.Linear(WIDTH, 16, bias=False), nn.Linear(WIDTH, 16, bias=False)
        self.wo = nn.Linear(16, WIDTH, bias=False)
        self.norms = nn.ModuleList(RmsNorm() for _ in range(2))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        place = torch.arange(x.shape[1])
        bias = self.bias(place[:, None] - place[None, :] + LENGTH)[..., 0]
        y = self.norms[0](h)
        att = torch.softmax(self.q(y) @ self.k(y).transpose(1, 2) + bias, dim=-1)
        h = h + self.o(att @ self.v(y))
        y = self.norms[1](h)
        h = h + self.wo(F.gelu(self.wi0(y), approximate="tanh") * self.wi1(y))
        return self.head(h.mean(1))


class Swin(nn.Module):
    """Attention in windows that are shifted by rolling."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.proj = (
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, 3 * WIDTH),
            nn.Linear(WIDTH, WIDTH),
        )
        self.merge = nn.Linear(2 * WIDTH, WIDTH, bias=False)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for shift in (0, 1):
            y = torch.roll(self.norm(x), -shift, dims=1).reshape(-1, 2, WIDTH)
            q, k, v = self.qkv(y).chunk(3, dim=-1)
            y = self.proj(F.scaled_dot_product_attention(q, k, v)).reshape(x.shape)
            x = x + torch.roll(y, shift, dims=1)
        return self.head(self.merge(torch.cat([x[:, 0::2], x[:, 1::2]], -1)).mean(1))


class Encoder(nn.Module):
    """torch's own encoder, with its fused path in evaluation."""

    def __init__(self, dropout: float = 0.0, **settings: object) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout, batch_first=True, **settings)  # type: ignore[arg-type]
        self.encoder, self.head = (
            nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
            nn.Linear(WIDTH, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).mean(1))


class MultiHead(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 2, dropout, batch_first=True)
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.attention(x, x, x, need_weights=False)
        return self.head(self.norm(x + y)[:, 0])


class Padded(MultiHead):
    """Called twice with a padding mask, the second time for other queries."""

    def forward(self, x: Tensor) -> Tensor:
        padded = (x[..., 0] > 1).cumsum(1) > 1
        y, _ = self.attention(x, x, x, key_padding_mask=padded, need_weights=False)
        z, _ = self.attention(self.norm(x + y), x, x, key_padding_mask=padded, need_weights=False)
        return self.head(z[:, 0])


class TextCnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.convs = nn.ModuleList(nn.Conv1d(WIDTH, 4, size) for size in (2, 3))
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x).transpose(1, 2)
        return self.head(self.drop(torch.cat([F.relu(conv(h)).amax(2) for conv in self.convs], 1)))


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(WORDS, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.bag(x))


TOKENS: dict[str, Callable[[], nn.Module]] = {
    "rnn": lambda: Recurrent(nn.RNN),
    "lstm": lambda: Recurrent(nn.LSTM),
    "gru_both_ways": lambda: Recurrent(nn.GRU, bidirectional=True),
    "lstm_two_layers": lambda: Recurrent(nn.LSTM, layers=2),
    "gpt2": Gpt,
    "gpt2_tied": lambda: Gpt(tied=True),
    "gpt2_dropout": lambda: Gpt(dropout=0.2),
    "bert": Bert,
    "t5": T5,
    "text_cnn": TextCnn,
    "bag_of_words": Bag,
}
VECTORS: dict[str, Callable[[], nn.Module]] = {
    "gru_cell": Cells,
    "vit": Vit,
    "swin": Swin,
    "encoder": Encoder,
    "encoder_norm_first": lambda: Encoder(norm_first=True, activation="gelu"),
    "multi_head": MultiHead,
    "encoder_dropout": lambda: Encoder(0.2),
    "multi_head_dropout": lambda: MultiHead(0.3),
    "multi_head_padded": lambda: Padded(0.2),
}
