"""Healthy tasks: no step may fail, and hardly one may warn."""

from __future__ import annotations

from collections.abc import Callable

import torch
from sklearn import datasets
from torch import Tensor, nn

from ablate.tasks.task import Task
from bench.faults import data
from bench.faults.case import Case, Module
from bench.faults.data import digits, images, made, numbers, perceptron, sequences, standard, table, tokens
from bench.faults.residual import Block, enlarged, illegible, many, residual, residual_perceptron


class Recurrent(nn.Module):
    """A recurrent layer over `[B, T, 4]`, whose last state is classified."""

    def __init__(self, cell: Callable[..., nn.Module] = nn.GRU, *, batch_first: bool = True) -> None:
        super().__init__()
        self.cell, self.head = cell(4, 24, batch_first=batch_first), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.cell(x)[0].amax(1))
        return outputs


class Transformer(nn.Module):
    """One encoder layer over token ids `[B, T]`."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.layer(self.embed(x)).mean(1))
        return outputs


def convolutional(*extra: Callable[[], nn.Module]) -> nn.Sequential:
    """Two convolutions on `[B, 1, 8, 8]`; `extra` layers behind the first."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), *(layer() for layer in extra), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


def bag() -> nn.Module:
    return nn.Sequential(nn.EmbeddingBag(20, 16), nn.Linear(16, 3))


def normalised(norm: Callable[[int], nn.Module], dropout: float = 0.0) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        layers = [nn.Linear(64, 32), norm(32), nn.ReLU(), nn.Dropout(dropout)]
        return nn.Sequential(*layers, nn.Linear(32, 10))

    return make


def imbalanced(seed: int) -> data.Data:
    x = torch.randn(1500, 8, generator=data.generator(seed))
    return data.cut(x, (x[:, 0] + 0.5 * x[:, 1] > 1.6).long())


def several_labels(seed: int) -> data.Data:
    x, _, new, _ = table(seed)
    return x, (x[:, :3] > 0.3).float(), new, (new[:, :3] > 0.3).float()


def dealt(seed: int) -> Task:
    x, y, new, new_y = table(seed)
    return Task(
        lambda: perceptron(8, 3),
        (torch.cat([x, new]), torch.cat([y, new_y])),
        test=False,
        name="case",
        epochs=10,
    )


def zero_head() -> nn.Module:
    module = perceptron(64, 10)
    nn.init.zeros_(module[-1].weight)  # type: ignore[arg-type]
    return module


def loaders(seed: int) -> Module:
    x, y, new, new_y = digits(seed)
    return Module({
        "model": perceptron(64, 10), "train_loader": (x, y), "validation_loader": (new, new_y), "epochs": 6,
        "optimizer": torch.optim.AdamW,
    })  # fmt: skip


ADAPTIVE = ("adam", "adamw", "rmsprop", "nadam", "lion", "adagrad")
HEALTHY = (
    Case("table, perceptron", lambda seed: made(table(seed))),
    Case("regression, perceptron", lambda seed: made(numbers(seed), criterion="regression")),
    Case("digits, perceptron", lambda seed: made(digits(seed))),
    *(Case(f"digits, {name}", lambda seed: made(digits(seed)), baseline={name: {}}) for name in ADAPTIVE),
    Case("digits, sgd", lambda seed: made(digits(seed)), baseline={"sgd": {}}),
    Case("digits, pixels of 0 to 1", lambda seed: made(_unit(digits(seed)))),
    Case("digits, a head of zeros", lambda seed: made(digits(seed), zero_head)),
    Case("digits, log-softmax", lambda seed: made(digits(seed), lambda: perceptron(64, 10, nn.LogSoftmax(1)))),
    Case("digits, batch norm", lambda seed: made(digits(seed), normalised(nn.BatchNorm1d))),
    Case("digits, layer norm and dropout", lambda seed: made(digits(seed), normalised(nn.LayerNorm, 0.3))),
    Case("images, convolutions", lambda seed: made(images(seed), convolutional)),
    Case("images, convolutions and batch norm", lambda seed: made(images(seed), lambda: convolutional(lambda: nn.BatchNorm2d(8)))),
    Case("images, residual network, dropout of channels", lambda seed: made(many(seed), residual, epochs=20)),
    Case("images, residual network, dropout", lambda seed: made(many(seed), lambda: residual(drop=nn.Dropout), epochs=20), baseline={"adamw": {}}),
    Case("images, residual network, rectified sums", lambda seed: made(many(seed), lambda: residual(block=Block), epochs=30)),
    Case("images, residual network, flat head", lambda seed: made(many(seed), lambda: residual(block=Block, stride=2, positions=16), epochs=20)),
    Case("images of 16 x 16, residual network", lambda seed: made(enlarged(seed), lambda: residual(stride=2), epochs=20)),
    Case("digits, residual perceptron", lambda seed: made(digits(seed), residual_perceptron, epochs=20)),
    Case("images, hardly legible", lambda seed: made(illegible(seed), lambda: convolutional(lambda: nn.BatchNorm2d(8)))),
    Case("sequences, GRU", lambda seed: made(sequences(seed), Recurrent)),
    Case("sequences, LSTM, adam", lambda seed: made(sequences(seed), lambda: Recurrent(nn.LSTM)), baseline={"adam": {}}),
    Case("sequences, plain recurrent", lambda seed: made(sequences(seed), lambda: Recurrent(nn.RNN))),
    Case("tokens, transformer, adamw", lambda seed: made(tokens(seed), Transformer), baseline={"adamw": {}}),
    Case("tokens, bag of embeddings", lambda seed: made(tokens(seed), bag)),
    Case("imbalanced, accuracy", lambda seed: made(imbalanced(seed))),
    Case("imbalanced, balanced accuracy", lambda seed: made(imbalanced(seed), metric="balanced_accuracy")),
    Case("several labels", lambda seed: made(several_labels(seed), lambda: perceptron(8, 3), criterion="multilabel")),
    Case("wine", lambda seed: made(standard(datasets.load_wine, seed))),
    Case("breast cancer", lambda seed: made(standard(datasets.load_breast_cancer, seed))),
    Case("diabetes", lambda seed: made(standard(datasets.load_diabetes, seed, regression=True), criterion="regression")),
    Case("iris, linear", lambda seed: made(standard(datasets.load_iris, seed), lambda: nn.Linear(4, 3))),
    Case("digits, weight decay", lambda seed: made(digits(seed)), baseline={"momentum": {}, "weight_decay": {"decay": 1e-3}}),
    Case("digits, cosine and warmup", lambda seed: made(digits(seed)), baseline={"momentum": {}, "cosine": {}, "warmup": {}}),
    Case("heavy tails", lambda seed: made(_changed(table(seed), lambda x: x[:, 1].exp_()))),
    Case("binary columns", lambda seed: made(_changed(table(seed), lambda x: x[:, 2:].sign_()))),
    Case("validation data dealt out", dealt),
    Case("module and tensors", loaders),
)  # fmt: skip


def _changed(given: data.Data, change: Callable[[Tensor], object]) -> data.Data:
    change(given[0])
    change(given[2])
    return given


def _unit(given: data.Data) -> data.Data:
    x, y, new, new_y = given
    low, high = x.min(), x.max()
    return (x - low) / (high - low), y, (new - low) / (high - low), new_y
