"""Small healthy tasks, and variations of them with one fault each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from sklearn import datasets
from torch import Tensor, nn

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.protocol.baseline import Baseline
from ablate.protocol.steps import Setup
from ablate.tasks.task import Task

CATALOGUE = registry()


def setup_of(task: Task) -> Setup:
    context = TaskContext.of(task, CATALOGUE, torch.device("cpu"))
    return Setup(context, lambda runs, arm: [], Baseline.default(CATALOGUE), 0, lambda line: None)


def table(seed: int = 0, count: int = 600) -> tuple[Tensor, Tensor]:
    """Eight standard normal columns `[N, 8]`; the class is a noisy function of three of them."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 8, generator=draw)
    score = x[:, 0] + x[:, 1] * x[:, 2] + 0.5 * torch.randn(count, generator=draw)
    return x, (score > 0.5).long() + (score > -0.5).long()


def perceptron(inputs: int, outputs: int, last: nn.Module | None = None) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        layers = [nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, outputs)]
        return nn.Sequential(*layers, *([] if last is None else [last]))

    return make


def task(
    x: Tensor,
    y: Tensor,
    validation: tuple[Tensor, Tensor] | None = None,
    last: nn.Module | None = None,
    **options,
) -> Task:
    outputs = 1 if options.get("criterion") == "regression" else int(y.max()) + 1
    inputs = x[0].numel()
    model = perceptron(inputs, outputs, last)
    if x.ndim > 2:
        model = lambda: nn.Sequential(nn.Flatten(), perceptron(inputs, outputs, last)())  # noqa: E731
    return Task(model=model, train=(x, y), validation=validation, test=False, name="case", **options)


def split(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, y = table(seed)
    return x[:400], y[:400], x[400:], y[400:]


def copies(seed: int, share: float, noise: float = 0.0) -> Task:
    """A share of the validation examples are training examples, up to some noise."""
    x, y, new, own = split(seed)
    count = int(share * len(new))
    draw = torch.Generator().manual_seed(seed)
    new[:count] = x[:count] + noise * torch.randn(count, 8, generator=draw)
    own[:count] = y[:count]
    return task(x, y, (new, own))


def changed(change: Callable[[Tensor, Tensor, Tensor, Tensor], object], seed: int) -> Task:
    """The task after `change(x, y, validation x, validation y)` in place."""
    x, y, new, own = split(seed)
    change(x, y, new, own)
    return task(x, y, (new, own))


def missing(seed: int) -> Task:
    x, y, new, own = split(seed)
    return task(x[y != 1], y[y != 1], (new, own))


def rare(seed: int) -> Task:
    x, y, new, own = split(seed)
    keep = (y != 1) | (torch.cumsum(y == 1, 0) <= 2)
    stay = (own != 1) | (torch.cumsum(own == 1, 0) <= 1)
    return task(x[keep], y[keep], (new[stay], own[stay]))


def other_labels(seed: int) -> Task:
    x, y, new, own = split(seed)
    keep = (own == 1) | (torch.arange(len(own)) % 10 == 0)
    return task(x, y, (new[keep], own[keep]))


def leaking(x, y, new, own) -> None:
    x[:, 5], new[:, 5] = y.float(), own.float()


def regression(seed: int, *, leak: bool = False) -> Task:
    x, _, new, _ = split(seed)
    draw = torch.Generator().manual_seed(seed + 10)
    y, own = (part[:, 0] + 0.7 * torch.randn(len(part), generator=draw) for part in (x, new))
    if leak:
        x[:, 5], new[:, 5] = 3 * y - 1, 3 * own - 1
    return task(x, y, (new, own), criterion="regression")


DATA_FAULTS: dict[str, tuple[Callable[[int], Task], str, str]] = {
    "validation is training": (lambda seed: copies(seed, 1.0), "duplicates", "fail"),
    "a tenth of validation also in training": (lambda seed: copies(seed, 0.1), "duplicates", "warn"),
    "near-duplicates": (lambda seed: copies(seed, 0.2, 1e-3), "near-duplicates", "warn"),
    "a class missing in training": (missing, "class-missing", "fail"),
    "a class of two examples": (rare, "class-rare", "warn"),
    "other class shares in validation": (other_labels, "labels-differ", "warn"),
    "constant inputs": (lambda seed: changed(lambda x, y, new, own: (x.fill_(1), new.fill_(1)), seed), "inputs-constant", "fail"),
    "one value of 1e9": (lambda seed: changed(lambda x, y, new, own: x[3].fill_(1e9), seed), "extreme-value", "warn"),
    "validation shifted": (lambda seed: changed(lambda x, y, new, own: new.add_(2), seed), "splits-differ", "warn"),
    "validation not scaled": (lambda seed: changed(lambda x, y, new, own: new.mul_(50), seed), "splits-differ", "warn"),
    "one column shifted": (lambda seed: changed(lambda x, y, new, own: new[:, 3].sub_(1.5), seed), "splits-differ", "warn"),
    "the label is a column": (lambda seed: changed(leaking, seed), "input-tells-target", "warn"),
    "the target is a column": (lambda seed: regression(seed, leak=True), "input-tells-target", "warn"),
}  # fmt: skip
"""Name -> (the task of a seed, the code of its cause, the level)."""


def _digits(shape: tuple[int, ...] = (64,)) -> Task:
    x, y = datasets.load_digits(return_X_y=True)
    x = torch.tensor(x).float()
    return task(((x - x.mean()) / x.std()).reshape(-1, *shape), torch.tensor(y))


def _standard(load: Callable[..., tuple], **options) -> Task:
    x, y = load(return_X_y=True)
    x, y = torch.tensor(x).float(), torch.tensor(y)
    return task((x - x.mean(0)) / x.std(0), y.float() if options else y, **options)


HEALTHY: dict[str, Callable[[], Task]] = {
    "table": lambda: changed(lambda *_: None, 0),
    "table, other seed": lambda: changed(lambda *_: None, 7),
    "dealt split": lambda: task(*table(3)),
    "twelve a class": lambda: task(*table(4, 60)),
    "regression": lambda: regression(0),
    "digits": _digits,
    "digits as images": lambda: _digits((1, 8, 8)),
    "iris": lambda: _standard(datasets.load_iris),
    "wine": lambda: _standard(datasets.load_wine),
    "breast cancer": lambda: _standard(datasets.load_breast_cancer),
    "diabetes": lambda: _standard(datasets.load_diabetes, criterion="regression"),
    "heavy tails": lambda: changed(lambda x, y, new, own: (x[:, 1].exp_(), new[:, 1].exp_()), 1),
    "binary columns": lambda: changed(lambda x, y, new, own: (x[:, 2:].sign_(), new[:, 2:].sign_()), 2),
    "imbalanced": lambda: task(table(5, 3000)[0], (table(5, 3000)[0][:, 0] > 1.6).long()),
}
OUTPUT_FAULTS: dict[str, tuple[Callable[[], Task], str]] = {
    "softmax before cross-entropy": (lambda: task(*table(), last=nn.Softmax(1)), "outputs-are-probabilities"),
    "sigmoid before cross-entropy": (lambda: task(*table(), last=nn.Sigmoid()), "outputs-squashed"),
    "rectified logits": (lambda: task(*table(), last=nn.ReLU()), "outputs-rectified"),
    "rectified regression": (
        lambda: task(table()[0], table()[0][:, 0], last=nn.ReLU(), criterion="regression"), "outputs-rectified",
    ),
}  # fmt: skip
