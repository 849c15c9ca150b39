"""From the user's training, validation and test data to splits of tensors; missing splits are taken from the training data."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

from torch import Tensor

from ablate.records.errors import InputError
from ablate.tasks import data
from ablate.tasks.criteria.code import CriterionCode, Targets, code_of
from ablate.tasks.loaders import class_names, unwrapped
from ablate.tasks.memory_limit import GIB
from ablate.tasks.metric_table import Criterion
from ablate.tasks.split import Split, random_parts
from ablate.tasks.streamed import Streamed
from ablate.tasks.token_ids import CAST, NOTE, accepts_token_ids, integers

Kind = Literal["image", "tabular", "text", "other"]
KINDS: tuple[Kind, ...] = ("image", "tabular", "text", "other")
LETTERS = {"train": "T", "validation": "V", "test": "S"}


def splits_of(
    given: dict[str, Any], criterion: Criterion, *, text: bool, model: Any = None, workers: int | None = None
) -> tuple[dict[str, Split], tuple[str, ...], tuple[str, ...]]:
    """The splits as tensors, the classes' names, and notes on the splits that were taken from the training data.

    text: whole numbers are token ids. model: determines the kind of the inputs if the user has not.
    workers: processes that read a Dataset's items; None: none, or a DataLoader's own.
    """
    given, notes = unwrapped(given, workers)
    pairs = {where: data.pair(value, where) for where, value in given.items() if value is not None}
    if "train" not in pairs:
        raise InputError("train is missing", hint=data.PAIR)
    code = code_of(criterion)
    ys, labels, target_packing = _targets(given, {where: y for where, (_, y) in pairs.items()}, code)
    names = labels or (class_names(given["train"]) if criterion == "classification" else ())
    splits: dict[str, Split] = {}
    if model is not None and (ids := integers(pairs["train"][0])) is not None:
        text = accepts_token_ids(model, ids)
        notes.append(NOTE if text else CAST)
    for where in pairs:
        made = given[where]
        if isinstance(made, Split):
            x, packing, items = made.x, made.packing, made.items
        else:
            convert = partial(_converted, code, where)
            x, packing, items = data.examples(made, where, pairs[where], labels, convert, text=text)
        if packing is not None and where == "train" and not isinstance(made, Split):
            notes.append(f"inputs are {packing}")
        if splits and packing != splits["train"].packing:
            raise InputError(
                f"{where} x is {packing or 'one tensor'}, train x is {splits['train'].packing or 'one tensor'}",
                hint="prepare all splits in the same way",
            )
        if len(x) != len(ys[where]):
            raise InputError(
                f"{where}: x has {len(x)} rows and y has {len(ys[where])}", hint="give one y for each x"
            )
        if len(x) == 0:
            raise InputError(f"{where} is empty", hint="a split needs at least one example")
        rows = made.rows if isinstance(made, Split) else None
        splits[where] = Split(x, ys[where], rows, items, packing, target_packing)
    missing = [where for where in data.SPLITS if where in given and where not in splits]
    for where, split in splits.items():
        if not isinstance(given[where], Split):
            notes += _on_items(where, split)
    if not missing:
        return splits, names, tuple(notes)
    train = splits["train"]
    pattern = "T" + "".join(LETTERS[where] for where in missing)
    parts = random_parts(len(train), pattern.ljust(5, "T"), _strata(train, criterion))
    if not all(len(parts[LETTERS[where]]) for where in missing):
        raise InputError(
            f"train has {len(train)} examples, too few to take {' and '.join(missing)} data from",
            hint="give validation=(x, y) and test=(x, y), or more data",
        )
    for where in missing:
        splits[where] = train.take(parts[LETTERS[where]])
        how = "stratified by class" if criterion == "classification" else "at random"
        notes.append(
            f"no {where} data was given: {len(splits[where])} training examples, {how}, stand in for it"
        )
    splits["train"] = train.take(parts["T"])
    return splits, names, tuple(notes)


def _targets(given: dict[str, Any], ys: dict[str, Any], code: CriterionCode) -> Targets:
    """The splits' targets; those of Splits are tensors already, and are unchanged if they are packed."""
    ready = [split for split in given.values() if isinstance(split, Split)]
    packing = ready[0].target_packing if ready else None
    return (ys, (), packing) if packing is not None else code.targets(ys)


def _converted(code: CriterionCode, where: str, y: Any) -> Tensor:
    return code.targets({"train": y} if where == "train" else {"train": y, where: y})[0][where]


def _on_items(where: str, split: Split) -> Iterator[str]:
    """The split of a Dataset whose items differ at each read, or more than are held."""
    if split.items is None:
        return
    what = "training" if where == "train" else where
    x = split.x
    if isinstance(x, Streamed):
        size = f"{len(x)} {what} examples take {x.nbytes / GIB:.3g} GiB and are streamed"
        if where == "train":
            yield f"{size}: each epoch reads them once for all runs that train together, {min(x.window, len(x))} at a time"
        else:
            yield f"{size} at each evaluation"
    elif where == "train":
        yield "the training Dataset draws its items at random: they are read anew each epoch, once for all runs that train together"
    if split.items.varies and where != "train":
        yield f"the {where} Dataset draws its items at random: one draw is kept, so that all runs are judged by the same"
    if not split.items.exact:
        yield (
            f"the {where} Dataset draws from a generator of its own, or keeps count of its reads: runs do not repeat exactly "
            "(torch's, NumPy's and Python's global generators are seeded)"
        )


def kind_of(split: Split, given: Kind | None = None) -> Kind:
    """The kind of the inputs: `given`, or as far as their type and shape determine it. Raises InputError for images of another shape."""
    if given == "image" and split.x.ndim != 4:
        what = f"several, {split.packing}" if split.packing is not None else f"of shape {list(split.x.shape)}"
        raise InputError(
            f'kind="image" takes x of shape [N, C, H, W], and the inputs are {what}', hint="leave kind out"
        )
    if given is not None:
        return given
    if split.packing is not None and len(split.packing.leaves) > 1:
        return "other"
    if not split.x.is_floating_point():
        return "text"
    return {4: "image", 2: "tabular"}.get(split.x.ndim, "other")  # type: ignore[return-value]


def _strata(split: Split, criterion: Criterion) -> Any:
    return split.y.numpy() if criterion == "classification" else None


def positive(name: str, value: Any) -> int:
    """`value`, if it is a whole number of at least 1. Raises InputError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} must be a whole number of at least 1, not {value!r}")
    return value
