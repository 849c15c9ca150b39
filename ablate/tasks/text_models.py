"""Small models of sentences: ids of words in, logits out. Id 0 is padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TextCNN(nn.Module):
    """Convolutions of 3, 4 and 5 words over embeddings, each filter's maximum over the sentence, and a linear head.

    `[B, length]` int64 -> `[B, outputs]`. Lineage: Kim 2014 (1408.5882, section 2), with trained embeddings and without dropout, which is a trick.
    """

    def __init__(self, words: int, length: int, outputs: int, width: int = 32, filters: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.convolutions = nn.ModuleList(
            nn.Sequential(nn.Conv1d(width, filters, size), nn.ReLU()) for size in (3, 4, 5)
        )
        self.head = nn.Linear(3 * filters, outputs)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids).transpose(1, 2)
        outputs: Tensor = self.head(torch.cat([layer(x).amax(dim=2) for layer in self.convolutions], dim=1))
        return outputs


class TinyTransformer(nn.Module):
    """Two encoder layers of two heads with their norms in front, on embeddings of words and places; the head reads the mean over words.

    `[B, length]` int64 -> `[B, outputs]`. Lineage: Vaswani et al. 2017 (1706.03762); norms in front: Xiong et al. 2020 (2002.04745).
    """

    def __init__(self, words: int, length: int, outputs: int, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, ids: Tensor) -> Tensor:
        padding = ids == 0
        x = self.embedding(ids) + self.places
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
        words = (~padding).to(x.dtype)[:, :, None]
        outputs: Tensor = self.head((self.norm(x) * words).sum(dim=1) / words.sum(dim=1).clamp(min=1))
        return outputs
