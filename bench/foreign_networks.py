"""Six networks in common styles of code, as tasks with synthetic data of three classes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.tasks.task import Task

TRAIN, VALIDATION, BATCH, EPOCHS, CLASSES = 512, 256, 32, 2, 3
WORDS, LENGTH = 500, 24


class SmallCnn(nn.Module):
    """The first network of many tutorials: two convolutions with pooling, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(16 * 4 * 4, 64), nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(torch.flatten(x, 1))))


class Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.short = nn.Sequential()
        if stride != 1 or inside != outside:
            self.short = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.short(x))


class ResNet(nn.Module):
    """A CIFAR-style residual network."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2), Block(16, 16, 1))
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.bn(self.stem(x))))
        return self.head(x.mean((2, 3)))


class Transformer(nn.Module):
    """torch's own encoder behind an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 32)
        self.position = nn.Parameter(0.02 * torch.randn(LENGTH, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x) + self.position).mean(1))


class BertLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out, self.norm1, self.norm2 = nn.Linear(width, width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.drop = nn.Dropout(0.1)

    def split(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), x.size(1), self.heads, -1).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = F.scaled_dot_product_attention(
            self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        )
        y = y.transpose(1, 2).reshape(x.size(0), x.size(1), -1)
        x = self.norm1(x + self.drop(self.out(y)))
        return self.norm2(x + self.drop(self.down(F.gelu(self.up(x)))))


class Bert(nn.Module):
    """Hand-written as in many repositories: post-norm layers, dropout, a pooler on the first token."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(WORDS, width), nn.Embedding(LENGTH, width)
        self.norm, self.drop = nn.LayerNorm(width), nn.Dropout(0.1)
        self.layers = nn.ModuleList(BertLayer(width, 4) for _ in range(2))
        self.pooler, self.head = nn.Linear(width, width), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(self.norm(self.words(x) + self.positions(torch.arange(LENGTH))))
        for layer in self.layers:
            y = layer(y)
        return self.head(torch.tanh(self.pooler(y[:, 0])))


class TextCnn(nn.Module):
    """Kim (2014): convolutions of several widths over word vectors, the largest of each."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 32)
        self.convs = nn.ModuleList(nn.Conv1d(32, 24, size) for size in (3, 4, 5))
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(72, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.embed(x).transpose(1, 2)
        return self.head(self.drop(torch.cat([F.relu(conv(y)).amax(2) for conv in self.convs], 1)))


class TabularResNet(nn.Module):
    """Gorishniy et al. (2021) for tables."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.first = nn.Linear(20, width)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(2))
        self.up = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(2))
        self.drop, self.norm, self.head = nn.Dropout(0.2), nn.BatchNorm1d(width), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for norm, up, down in zip(self.norms, self.up, self.down, strict=True):
            x = x + down(self.drop(F.relu(up(norm(x)))))
        return self.head(F.relu(self.norm(x)))


def task(name: str, model: Callable[[], nn.Module], *shape: int) -> Task:
    """`shape` of one example; none: tokens."""
    draw = torch.Generator().manual_seed(0)
    count = TRAIN + VALIDATION
    x = torch.randn(count, *shape, generator=draw) if shape else torch.randint(WORDS, (count, LENGTH), generator=draw)  # fmt: skip
    y = torch.randint(CLASSES, (count,), generator=draw)
    kind = None if shape else "text"
    return Task(
        model, (x[:TRAIN], y[:TRAIN]), (x[TRAIN:], y[TRAIN:]), False,
        name=name, batch_size=BATCH, epochs=EPOCHS, kind=kind,
    )  # fmt: skip


NETWORKS: dict[str, Callable[[], Task]] = {
    "small-cnn": lambda: task("small-cnn", SmallCnn, 1, 16, 16),
    "resnet": lambda: task("resnet", ResNet, 3, 16, 16),
    "transformer": lambda: task("transformer", Transformer),
    "bert": lambda: task("bert", Bert),
    "text-cnn": lambda: task("text-cnn", TextCnn),
    "tabular-resnet": lambda: task("tabular-resnet", TabularResNet, 20),
}
