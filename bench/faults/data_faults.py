"""Faults of the data: what is wrong with inputs, labels and splits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ablate.tasks.task import Task
from bench.faults import data
from bench.faults.case import REFUSED, Case
from bench.faults.data import Data, digits, generator, images, made, numbers, table, tokens
from bench.faults.healthy import bag, convolutional
from bench.faults.residual import many, residual


def changed(
    change: Callable[[Tensor, Tensor, Tensor, Tensor], object],
    base: Callable[[int], Data] = table,
    **options,
) -> Callable[[int], Task]:
    """The task of `base` after `change(x, y, validation x, validation y)` in place."""

    def make(seed: int) -> Task:
        given = base(seed)
        change(*given)
        return made(given, **options)

    return make


def replaced(
    change: Callable[[Tensor, Tensor, Tensor, Tensor], Data],
    base: Callable[[int], Data] = table,
    **options,
) -> Callable[[int], Task]:
    """The task of what `change` returns for the data of `base`."""
    return lambda seed: made(change(*base(seed)), **options)


def copies(share: float, noise: float = 0.0) -> Callable[[int], Task]:
    """A share of the validation examples are training examples, up to some noise."""

    def change(x: Tensor, y: Tensor, new: Tensor, new_y: Tensor) -> None:
        count = int(share * len(new))
        new[:count] = x[:count] + noise * torch.randn(x[:count].shape, generator=generator(1))
        new_y[:count] = y[:count]

    return changed(change)


def without(x: Tensor, y: Tensor, new: Tensor, new_y: Tensor) -> Data:
    return x[y != 1], y[y != 1], new, new_y


def rare(x: Tensor, y: Tensor, new: Tensor, new_y: Tensor) -> Data:
    keep = (y != 1) | (torch.cumsum(y == 1, 0) <= 2)
    stay = (new_y != 1) | (torch.cumsum(new_y == 1, 0) <= 1)
    return x[keep], y[keep], new[stay], new_y[stay]


def other_shares(x: Tensor, y: Tensor, new: Tensor, new_y: Tensor) -> Data:
    keep = (new_y == 1) | (torch.arange(len(new_y)) % 10 == 0)
    return x, y, new[keep], new_y[keep]


def by_class(x: Tensor, y: Tensor, new: Tensor, new_y: Tensor) -> Data:
    """Sorted by class and then cut: the validation data have the last class only."""
    x, y = torch.cat([x, new]), torch.cat([y, new_y])
    order = y.argsort(stable=True)
    return data.cut(x[order], y[order])


def dominated(seed: int) -> Task:
    x = torch.randn(1500, 8, generator=generator(seed))
    return made(data.cut(x, (x[:, 0] > 2.2).long()))


def few(seed: int) -> Task:
    x, y, new, new_y = table(seed)
    return made((x[:12], y[:12], new, new_y))


def leaking(x: Tensor, y: Tensor, new: Tensor, new_y: Tensor) -> None:
    x[:, 5], new[:, 5] = y.float(), new_y.float()


def leaking_with_noise(x: Tensor, y: Tensor, new: Tensor, new_y: Tensor) -> None:
    for values, target in ((x, y), (new, new_y)):
        values[:, 5] = 2 * target + 0.1 * torch.randn(len(target), generator=generator(len(target)))


def leaking_target(x: Tensor, y: Tensor, new: Tensor, new_y: Tensor) -> None:
    x[:, 5], new[:, 5] = 3 * y - 1, 3 * new_y - 1


def collinear(x: Tensor, y: Tensor, new: Tensor, new_y: Tensor) -> None:
    """All columns are almost equal to one: what tells them apart has a deviation of 0.001."""
    for values in (x, new):
        common = torch.randn(len(values), 1, generator=generator(len(values)))
        values.copy_(common + 0.001 * values)


def permuted(labels: Tensor) -> Tensor:
    return (labels + 1) % 10


def shuffled(y: Tensor) -> Tensor:
    return y[torch.randperm(len(y), generator=generator(len(y)))]


def noisy(y: Tensor, share: float, classes: int = 10) -> Tensor:
    draw = generator(len(y))
    hit = torch.rand(len(y), generator=draw) < share
    return torch.where(hit, torch.randint(classes, y.shape, generator=draw), y)


def redrawn(base: Callable[[int], Data], share: float, **options) -> Callable[[int], Task]:
    """A share of the labels of both splits is drawn anew."""
    return replaced(lambda x, y, new, new_y: (x, noisy(y, share), new, noisy(new_y, share)), base, **options)


def conflicting(x: Tensor, y: Tensor, new: Tensor, new_y: Tensor) -> Data:
    """Every training example stands there twice, half of the copies with another label."""
    other = torch.where(torch.arange(len(y)) % 2 == 0, (y + 1) % 3, y)
    return torch.cat([x, x]), torch.cat([y, other]), new, new_y


UNRELATED = ("labels-unrelated",)
DATA_FAULTS = (
    Case("validation is training", copies(1.0), ("duplicates",), (0,)),
    Case("a tenth of validation also in training", copies(0.1), ("duplicates",), (0,)),
    Case("near-duplicates between splits", copies(0.2, 1e-3), ("near-duplicates",), (0,)),
    Case("a class missing in training", replaced(without), ("class-missing",), (0,)),
    Case("a class of two examples", replaced(rare), ("class-rare",), (0,)),
    Case("other class shares in validation", replaced(other_shares), ("labels-differ",), (0,)),
    Case("sorted by class before the cut", replaced(by_class), ("labels-differ", "class-missing"), (0,), also=("splits-differ", "class-rare")),
    Case("one class dominates", dominated, ("class-dominates",), (0,)),
    Case("twelve training examples", few, ("few-examples",), (0,), also=("class-rare",)),
    Case("inputs constant", changed(lambda x, y, new, new_y: (x.fill_(1), new.fill_(1))), ("inputs-constant",), (0,)),
    Case("one value of 1e9", changed(lambda x, y, new, new_y: x[3].fill_(1e9)), ("extreme-value",), (0,)),
    Case("a target of 1e6", changed(lambda x, y, new, new_y: y[3].fill_(1e6), numbers, criterion="regression"), ("extreme-value",), (0,)),
    Case("target constant", changed(lambda x, y, new, new_y: (y.fill_(1), new_y.fill_(1)), numbers, criterion="regression"), (REFUSED,), (0,), says="everywhere"),
    Case("validation shifted", changed(lambda x, y, new, new_y: new.add_(2)), ("splits-differ",), (0,)),
    Case("validation not scaled", changed(lambda x, y, new, new_y: new.mul_(50)), ("splits-differ",), (0,)),
    Case("one column of validation shifted", changed(lambda x, y, new, new_y: new[:, 3].sub_(1.5)), ("splits-differ",), (0,)),
    Case("validation images inverted", changed(lambda x, y, new, new_y: new.neg_(), images, model=convolutional), ("splits-differ",), (0,)),
    Case("the label is an input", changed(leaking), ("input-tells-target",), (0,)),
    Case("the label with noise is an input", changed(leaking_with_noise), ("input-tells-target",), (0,)),
    Case("the target is an input", changed(leaking_target, numbers, criterion="regression"), ("input-tells-target",), (0,)),
    Case("inputs almost collinear", changed(collinear), ("inputs-collinear",), (0,)),
    Case("the same inputs with other labels", replaced(conflicting), ("labels-conflict",), (0,)),
    Case("NaN in one example", changed(lambda x, y, new, new_y: x[7, 2].fill_(torch.nan)), (REFUSED,), (0,), says="NaN"),
    Case("infinity in one validation example", changed(lambda x, y, new, new_y: new[7, 2].fill_(torch.inf)), (REFUSED,), (0,), says="infinity"),
    Case(
        "tokens out of vocabulary", changed(lambda x, y, new, new_y: x[11, 3].fill_(99), tokens, model=bag),
        (REFUSED, "token-out-of-vocabulary"), (0,), says="vocabulary",
    ),
    Case(
        "tokens out of vocabulary in validation", changed(lambda x, y, new, new_y: new[150, 3].fill_(25), tokens, model=bag),
        (REFUSED, "token-out-of-vocabulary"), (0,), says="vocabulary",
    ),
    Case("pixels of 0 to 255", changed(lambda x, y, new, new_y: [v.add_(1.3).mul_(80) for v in (x, new)], digits), ("inputs-not-normalised",), (1,)),
    Case("one column times 10,000", changed(lambda x, y, new, new_y: [v[:, 4].mul_(1e4) for v in (x, new)]), ("inputs-not-normalised",), (1,)),
    Case("inputs times 0.0001", changed(lambda x, y, new, new_y: [v.mul_(1e-4) for v in (x, new)]), ("inputs-not-normalised",), (1,)),
    Case("inputs with a mean of 100", changed(lambda x, y, new, new_y: [v.add_(100) for v in (x, new)]), ("inputs-not-normalised",), (1,)),
    Case("labels from 1 to 10", replaced(lambda x, y, new, new_y: (x, y + 1, new, new_y + 1), digits), ("labels-shifted",), (1,)),
    Case("target of mean 150 and deviation 80", changed(lambda x, y, new, new_y: [v.mul_(80).add_(150) for v in (y, new_y)], numbers, criterion="regression"), ("target-not-standardised",), (1,)),
    Case("target of deviation 0.001", changed(lambda x, y, new, new_y: [v.mul_(1e-3) for v in (y, new_y)], numbers, criterion="regression"), ("target-not-standardised",), (1,)),
    Case("labels shuffled", replaced(lambda x, y, new, new_y: (x, shuffled(y), new, shuffled(new_y)), digits), UNRELATED, (3, 4, 5)),
    Case("labels of the row before", replaced(lambda x, y, new, new_y: (x, y.roll(1), new, new_y.roll(1)), digits), UNRELATED, (3, 4, 5)),
    Case("targets of other rows", replaced(lambda x, y, new, new_y: (x, shuffled(y), new, shuffled(new_y)), numbers, criterion="regression"), UNRELATED, (3, 4, 5)),
    Case("training labels shuffled", replaced(lambda x, y, new, new_y: (x, shuffled(y), new, new_y), digits), UNRELATED, (3, 4, 5)),
    Case("validation labels shuffled", replaced(lambda x, y, new, new_y: (x, y, new, shuffled(new_y)), digits), ("validation-labels-unrelated",), (3, 4, 5)),
    Case("validation labels shifted by one", replaced(lambda x, y, new, new_y: (x, y, new, permuted(new_y)), digits), ("labels-permuted",), (3, 4, 5)),
    Case("two validation classes exchanged", replaced(lambda x, y, new, new_y: (x, y, new, torch.where(new_y < 2, 1 - new_y, new_y)), digits), ("labels-permuted",), (3, 4, 5)),
    Case("30 % of the labels wrong", replaced(lambda x, y, new, new_y: (x, noisy(y, 0.33), new, noisy(new_y, 0.33)), digits), ("labels-noisy",), (3, 4, 5)),
    Case("30 % of the training labels wrong", replaced(lambda x, y, new, new_y: (x, noisy(y, 0.33), new, new_y), digits), ("labels-noisy",), (3, 4, 5)),
    Case("half of the training labels wrong", replaced(lambda x, y, new, new_y: (x, noisy(y, 0.55), new, new_y), digits), ("labels-noisy",), (3, 4, 5)),
    Case("40 % of the labels redrawn", redrawn(digits, 0.4), ("labels-noisy",), (3, 4, 5)),
    Case("40 % of the labels redrawn, convolutions", redrawn(images, 0.4, model=convolutional), ("labels-noisy",), (3, 4, 5)),
    Case("40 % of the labels redrawn, residual network", redrawn(many, 0.4, model=residual, epochs=20), ("labels-noisy",), (3, 4, 5)),
    Case("validation from another task", replaced(lambda x, y, new, new_y: (x, y, new.flip(1), new_y), digits), ("validation-labels-unrelated", "splits-differ"), (0, 3, 5)),
)  # fmt: skip
