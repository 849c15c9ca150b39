"""Faults of the model: outputs, initialisation, layers, modes, size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from bench.faults import models, residual
from bench.faults.case import REFUSED, Case
from bench.faults.data import Data, digits, made, numbers, perceptron, sequences, table
from bench.faults.models import altered, deep, wrapped


def on_digits(name: str, model: models.Make, codes: tuple[str, ...], *steps: int, **more) -> Case:
    options = {key: more.pop(key) for key in ("batch_size", "epochs") if key in more}
    return Case(name, lambda seed: made(digits(seed), model, **options), codes, steps, **more)


def few(given: Data, count: int) -> Data:
    """The first `count` training examples."""
    x, y, new, new_y = given
    return x[:count], y[:count], new, new_y


VANISHING, EXPLODING = ("vanishing",), ("exploding",)
SYMMETRIC = ("symmetric-initialisation",)
MIXED = ("examples-mixed",)
OVER_BATCH = ("softmax-over-batch",)
MODEL_FAULTS = (
    on_digits("softmax before cross-entropy", lambda: perceptron(64, 10, nn.Softmax(1)), ("outputs-are-probabilities",), 1),
    Case("softmax, batch norm and dropout", lambda seed: made(residual.many(seed), lambda: residual.residual(nn.Softmax(1))), ("outputs-are-probabilities",), (1, 2)),
    Case(
        "softmax, batch norm and dropout, rectified sums",
        lambda seed: made(residual.many(seed), lambda: residual.residual(nn.Softmax(1), block=residual.Block)),
        ("outputs-are-probabilities",), (1, 2),
    ),
    on_digits("softmax over the batch before cross-entropy", lambda: perceptron(64, 10, nn.Softmax(0)), OVER_BATCH, 1),
    on_digits("log-softmax over the batch", lambda: perceptron(64, 10, nn.LogSoftmax(0)), OVER_BATCH, 1),
    Case(
        "log-softmax over the batch, residual network",
        lambda seed: made(residual.many(seed), lambda: residual.OverBatch(residual.residual(), lambda y: F.log_softmax(y, dim=0))),
        OVER_BATCH, (1,),
    ),
    on_digits("sigmoid before cross-entropy", lambda: perceptron(64, 10, nn.Sigmoid()), ("outputs-squashed",), 1),
    on_digits("rectified logits", lambda: perceptron(64, 10, nn.ReLU()), ("outputs-rectified",), 1),
    Case("rectified regression", lambda seed: made(numbers(seed), lambda: perceptron(8, 1, nn.ReLU()), criterion="regression"), ("outputs-rectified",), (1,)),
    Case("regression through a sigmoid", lambda seed: made(numbers(seed), lambda: perceptron(8, 1, nn.Sigmoid()), criterion="regression"), ("outputs-squashed",), (1,)),
    on_digits("head times 100", altered(models.scaled_head(100)), ("head-scale",), 1),

    on_digits("logits times 1e-6", wrapped(lambda body, x, extra: body(x) * 1e-6), ("outputs-tiny",), 1),
    on_digits("head constant", altered(models.constant_head), SYMMETRIC, 1, 2),
    on_digits("all weights zero", altered(models.filled(0.0)), SYMMETRIC, 1, 2),
    on_digits("all weights 0.1", altered(models.filled(0.1)), SYMMETRIC, 1, 2),
    on_digits("infinity in a weight", altered(models.one_weight(torch.inf)), (REFUSED,), 0, says="weight '2.weight' is not finite"),
    on_digits("NaN in a weight", altered(models.one_weight(torch.nan)), (REFUSED,), 0, says="weight '2.weight' is not finite"),
    on_digits("logarithm of the outputs", wrapped(lambda body, x, extra: body(x).log()), (REFUSED,), 0, says="output is not finite"),
    on_digits("infinite slope", wrapped(lambda body, x, extra: body(x) + extra.abs().sqrt()), ("gradient-not-finite",), 1, 2),
    on_digits("20 sigmoid layers", deep(20, nn.Sigmoid), VANISHING, 1),
    on_digits("12 sigmoid layers", deep(12, nn.Sigmoid), VANISHING, 1),
    on_digits("30 rectified layers, torch's initialisation", deep(30, nn.ReLU), VANISHING, 1),
    on_digits("15 tanh layers, weights of 0.02", deep(15, nn.Tanh, 0.1), VANISHING, 1),
    on_digits("20 rectified layers, three times He", deep(20, nn.ReLU, 3.0), EXPLODING, 1),
    on_digits("40 rectified layers, 1.5 times He", deep(40, nn.ReLU, 1.5), EXPLODING, 1),
    Case("an exploding recurrence", lambda seed: made(sequences(seed, 40), models.Exploding), EXPLODING, (1,)),
    on_digits("first layer dead", altered(models.dead(0)), ("dead-units",), 1),
    on_digits("second layer dead", altered(models.dead(2)), ("dead-units",), 1),
    on_digits("30 of 32 units dead", altered(models.nearly_dead), ("dead-units",), 1),
    on_digits("a batch mean is subtracted", wrapped(lambda body, x, extra: body(x) - body(x).mean(0)), MIXED, 1),
    on_digits("softmax over the batch", wrapped(lambda body, x, extra: body(x).softmax(0) * 10), MIXED, 1),
    on_digits("batch and features mixed by a reshape", models.Reshaped, MIXED, 1),
    on_digits("outputs of the batch in reverse", wrapped(lambda body, x, extra: body(x).flip(0)), MIXED, 1),
    Case("batch_first forgotten", lambda seed: made(sequences(seed), models.WrongAxis), MIXED, (1,)),
    on_digits("inputs times zero", wrapped(lambda body, x, extra: body(x * 0)), ("ignores-inputs",), 1, 2),
    on_digits("head on a constant", wrapped(lambda body, x, extra: body(torch.ones_like(x))), ("ignores-inputs",), 1, 2),
    on_digits("sign of the outputs", wrapped(lambda body, x, extra: body(x).sign() + extra), ("no-gradient",), 1, 2),
    on_digits("rounded outputs", wrapped(lambda body, x, extra: (4 * body(x)).round() + extra), ("no-gradient",), 1, 2),
    on_digits("a detached layer", lambda: models.Cut(lambda h: h.detach().relu()), ("parameters-without-gradient",), 1, 2),
    on_digits("a layer that is not used", lambda: models.Cut(lambda h: h.relu(), unused=True), ("parameters-without-gradient",), 1, 2),
    on_digits("a layer frozen", altered(lambda module: module[0].requires_grad_(False)), ("parameters-frozen",), 1, 2),
    on_digits("all but the head frozen", altered(lambda module: [module[i].requires_grad_(False) for i in (0, 2)]), ("parameters-frozen",), 1, 2),
    on_digits("batch norm in evaluation mode", models.Frozen, ("batch-norm-frozen",), 1),
    on_digits("batch norm with momentum 1", models.batch_normalised(1.0), ("batch-norm-momentum",), 1),
    on_digits("batch norm with momentum 0", models.batch_normalised(0.0), ("batch-norm-momentum",), 1),
    on_digits("batch norm with momentum 0.001", models.batch_normalised(0.001), ("batch-norm-momentum",), 1),
    on_digits("batch norm whose statistics are not written", residual.stuck, ("evaluation-differs",), 2, 3),
    on_digits("batch norm that evaluation does not reach", residual.always_training, ("examples-mixed",), 1),
    on_digits("batch norm with batches of one", models.batch_normalised(0.1), (REFUSED, "batch-norm-of-one"), 0, 1, batch_size=1, says="one example"),
    on_digits("dropout 0.95", models.dropped(0.95), ("dropout-too-strong",), 1, 2),
    on_digits("dropout 0.9 behind two layers", models.dropped(0.9, 2), ("dropout-too-strong",), 1, 2),
    Case("dropout 0.95 in a residual network", lambda seed: made(residual.many(seed), lambda: residual.residual(rate=0.95)), ("dropout-too-strong",), (1, 2)),
    on_digits("dropout in evaluation too", lambda: models.Noisy(0.5), ("noise-in-evaluation",), 1),
    on_digits("noise in evaluation too", wrapped(lambda body, x, extra: body(x + torch.randn_like(x))), ("noise-in-evaluation",), 1),
    on_digits("one hidden unit", lambda: nn.Sequential(nn.Linear(64, 1), nn.Tanh(), nn.Linear(1, 10)), ("model-too-small",), 2),
    on_digits("one rectified unit", lambda: nn.Sequential(nn.Linear(64, 1), nn.ReLU(), nn.Linear(1, 10)), ("model-too-small",), 2),
    Case("a linear model of a product", lambda seed: made(numbers(seed), lambda: nn.Linear(8, 1), criterion="regression"), ("model-too-small",), (2,)),
    Case("a linear model of a table", lambda seed: made(table(seed), lambda: nn.Linear(8, 3)), ("model-too-small",), (2,)),
    Case(
        "a model far too large",
        lambda seed: made(few(table(seed), 80), lambda: perceptron(8, 3, width=128), epochs=60),
        ("wide-gap", "validation-rising"),
        (6,),
    ),
)  # fmt: skip
